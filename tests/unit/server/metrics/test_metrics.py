import re
from pathlib import Path

import pytest
from prometheus_client.core import Metric

from fantasia import __version__
from server.metrics import AccessMetrics, Metrics


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


@pytest.mark.parametrize("code", ["OK", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "DATA_LOSS"])
def test_faults_are_exported_as_zero_before_the_first_one(code: str) -> None:
    get = Metrics(["Generate"]).registry.get_sample_value
    assert get("fantasia_requests_finished_total", {"method": "Generate", "code": code}) == 0


def test_capacity_is_read_at_each_scrape() -> None:
    metrics = Metrics()
    running = [0]
    metrics.set_capacity("quartet", slots=4, queue_limit=8, running=lambda: running[0], waiting=lambda: 2)
    running[0] = 3
    get = metrics.registry.get_sample_value

    assert get("fantasia_slots", {"model": "quartet"}) == 4
    assert get("fantasia_slots_used", {"model": "quartet"}) == 3
    assert get("fantasia_queue_length", {"model": "quartet"}) == 2
    assert get("fantasia_queue_limit", {"model": "quartet"}) == 8


def test_the_bundle_is_exported_and_notes_are_counted() -> None:
    metrics = Metrics()
    metrics.set_bundle_info("quartet", digest="abc", provider="CPUExecutionProvider")
    get = metrics.registry.get_sample_value

    labels = {"model": "quartet", "digest": "abc", "provider": "CPUExecutionProvider"}
    assert get("fantasia_bundle_info", labels) == 1
    assert get("fantasia_notes_total", {"model": "quartet"}) == 0
    metrics.notes_written("quartet", 40)
    assert get("fantasia_notes_total", {"model": "quartet"}) == 40


def test_first_notes_are_measured_by_model_from_the_start_on() -> None:
    metrics = Metrics()
    metrics.set_bundle_info("quartet", digest="abc")
    get = metrics.registry.get_sample_value

    assert get("fantasia_first_note_duration_seconds_count", {"model": "quartet"}) == 0
    metrics.first_note("quartet", 0.25)
    assert get("fantasia_first_note_duration_seconds_sum", {"model": "quartet"}) == 0.25


def test_the_expected_and_the_actual_provider_are_exported_and_so_is_the_version() -> None:
    metrics = Metrics()
    metrics.set_execution_provider("quartet", requested="auto", expected="CUDAExecutionProvider", actual="CPU")
    get = metrics.registry.get_sample_value

    labels = {"model": "quartet", "requested": "auto", "expected": "CUDAExecutionProvider", "actual": "CPU"}
    assert get("fantasia_execution_provider_info", labels) == 1
    assert get("fantasia_server_info", {"version": __version__}) == 1


def test_every_metric_has_the_prefix_and_a_base_unit() -> None:
    names = {family.name for family in Metrics(["Generate"]).registry.collect()}
    ours = {name for name in names if not name.startswith("process_")}

    assert len(ours) > 15
    assert all(name.startswith("fantasia_") for name in ours)
    assert not any(word in name for name in ours for word in ("_ms", "milli", "micro", "minutes"))


# Words that belong to no metric's help text. `tests/unit/test_vocabulary.py` has those that belong nowhere.
OWN_WORDS = ("opening", " come", " came", "who ", "those", "in between", "went out")


def every_family() -> list[Metric]:
    metrics = Metrics(["Generate"])
    AccessMetrics(metrics)
    return [family for family in metrics.registry.collect() if family.name.startswith("fantasia_")]


def test_every_help_text_is_a_plain_sentence() -> None:
    for family in every_family():
        text = family.documentation
        assert len(text) > 25, family.name
        assert text[0].isupper(), family.name
        assert text.endswith("."), family.name
        assert not any(word in text.lower() for word in OWN_WORDS), family.name
        assert ("in seconds" in text) == (family.unit == "seconds"), family.name


def test_the_docs_list_every_metric_with_its_help_text() -> None:
    text = (Path(__file__).parents[4] / "docs" / "deploy.md").read_text()
    rows = re.findall(r"^\| `(fantasia_\w+)` \| (\w+) \| (.+) \|$", text, re.MULTILINE)
    suffixes = {"counter": "_total", "info": "_info"}
    families = every_family()

    assert sorted(rows) == sorted(
        (family.name + suffixes.get(family.type, ""), family.type, family.documentation) for family in families
    )


def test_help_texts_name_what_is_counted() -> None:
    texts = {family.name: family.documentation for family in Metrics(["Generate"]).registry.collect()}

    assert texts["fantasia_requests_received"] == "Requests received, by method."
    assert texts["fantasia_requests_finished"] == "Requests finished, by method and code."
    assert texts["fantasia_requests_in_flight"] == "Requests received and not finished yet, by method."
    assert texts["fantasia_sequences_submitted"] == "Sequences (one for each piece) submitted, by model."
