from server.metrics import Metrics


def test_calls_are_counted_by_code() -> None:
    metrics = Metrics(["Generate"])
    metrics.received("Generate")
    metrics.received("Generate")
    metrics.finished("Generate", "OK", 0.25)
    get = metrics.registry.get_sample_value

    assert get("fantasia_requests_received_total", {"method": "Generate"}) == 2
    assert get("fantasia_requests_finished_total", {"method": "Generate", "code": "OK"}) == 1
    assert get("fantasia_requests_in_flight", {"method": "Generate"}) == 1
    assert get("fantasia_request_duration_seconds_sum", {"method": "Generate"}) == 0.25


def test_capacity_is_read_at_each_scrape() -> None:
    metrics = Metrics()
    running = [0]
    metrics.watch_capacity("quartet", slots=4, queue_limit=8, running=lambda: running[0], waiting=lambda: 2)
    running[0] = 3
    get = metrics.registry.get_sample_value

    assert get("fantasia_slots", {"model": "quartet"}) == 4
    assert get("fantasia_slots_used", {"model": "quartet"}) == 3
    assert get("fantasia_queue_length", {"model": "quartet"}) == 2
    assert get("fantasia_queue_limit", {"model": "quartet"}) == 8


def test_the_bundle_is_shown_and_its_notes_are_counted() -> None:
    metrics = Metrics()
    metrics.describe_bundle("quartet", digest="abc", provider="CPUExecutionProvider")
    get = metrics.registry.get_sample_value

    labels = {"model": "quartet", "digest": "abc", "provider": "CPUExecutionProvider"}
    assert get("fantasia_bundle_info", labels) == 1
    assert get("fantasia_notes_total", {"model": "quartet"}) == 0
    metrics.wrote("quartet", 40)
    assert get("fantasia_notes_total", {"model": "quartet"}) == 40


def test_every_metric_of_ours_bears_our_name_and_a_base_unit() -> None:
    names = {family.name for family in Metrics(["Generate"]).registry.collect()}
    ours = {name for name in names if not name.startswith("process_")}

    assert len(ours) > 15
    assert all(name.startswith("fantasia_") for name in ours)
    assert not any(word in name for name in ours for word in ("_ms", "milli", "micro", "minutes"))
