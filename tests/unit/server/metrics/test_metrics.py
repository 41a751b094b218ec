import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from fantasia import __version__
from server.engine.engine import Engine
from server.engine.observer import Outcome
from server.metrics import AccessMetrics, EngineMetrics, Metrics
from server.metrics.engine_use import EngineUse
from server.metrics.repository import RepositoryMetrics


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


QUARTET = {"model": "quartet", "version": "2"}


def engine(running: int) -> Engine:
    """A stand-in for an engine."""
    return cast(Engine, SimpleNamespace(slots=4, queue_limit=8, running=running, waiting=2))


def test_the_use_of_an_engine_is_read_at_each_scrape() -> None:
    metrics = Metrics()
    busy = engine(0)
    use = metrics.add_engine("quartet", 2)
    get = metrics.registry.get_sample_value
    assert get("fantasia_slots", QUARTET) == 0

    use.attach(busy)
    busy.running = 3  # type: ignore[misc]  # a property of real engines
    assert get("fantasia_slots", QUARTET) == 4
    assert get("fantasia_slots_used", QUARTET) == 3
    assert get("fantasia_queue_length", QUARTET) == 2
    assert get("fantasia_queue_limit", QUARTET) == 8


def test_two_engines_of_a_version_count_together_until_one_is_removed() -> None:
    metrics = Metrics()
    old, new = metrics.add_engine("quartet", 2), metrics.add_engine("quartet", 2)
    old.attach(engine(3))
    new.attach(engine(1))
    get = metrics.registry.get_sample_value
    assert (get("fantasia_slots", QUARTET), get("fantasia_slots_used", QUARTET)) == (8, 4)

    metrics.remove_engine("quartet", 2, old)
    assert (get("fantasia_slots", QUARTET), get("fantasia_slots_used", QUARTET)) == (4, 1)


def test_the_bundle_is_exported_and_notes_are_counted() -> None:
    metrics = Metrics()
    metrics.set_bundle_info("quartet", 2, digest="abc", provider="CPUExecutionProvider")
    get = metrics.registry.get_sample_value

    assert get("fantasia_bundle_info", {**QUARTET, "digest": "abc", "provider": "CPUExecutionProvider"}) == 1
    assert get("fantasia_notes_total", QUARTET) == 0
    metrics.notes_written("quartet", 2, 40)
    metrics.pieces_evaluated("quartet", 2, 3)
    assert get("fantasia_notes_total", QUARTET) == 40
    assert get("fantasia_evaluated_pieces_total", QUARTET) == 3


def samples(metrics: Metrics, version: str) -> int:
    """Number of samples of a version."""
    return sum(
        sample.labels.get("version") == version for family in metrics.registry.collect() for sample in family.samples
    )


def serve(metrics: Metrics, version: int) -> EngineUse:
    use = metrics.add_engine("quartet", version)
    observer = EngineMetrics(metrics, "quartet", version)
    metrics.set_bundle_info("quartet", version, digest="abc")
    observer.submitted()
    observer.chunk(batch_size=1, steps=1, seconds=0.1)
    observer.finished(Outcome.LENGTH, 0.1, tokens=3)
    return use


def test_a_forgotten_version_leaves_no_sample_and_others_stay() -> None:
    metrics = Metrics()
    first = serve(metrics, 1)
    expected = samples(metrics, "1")
    second = serve(metrics, 2)
    assert samples(metrics, "2") == expected > 100

    metrics.forget_version("quartet", 1)
    assert samples(metrics, "1") == expected, "its engine still runs"
    metrics.remove_engine("quartet", 1, first)
    assert samples(metrics, "1") == expected, "the last values are scraped later"
    metrics.forget_version("quartet", 1)
    metrics.forget_version("quartet", 1)
    assert (samples(metrics, "1"), samples(metrics, "2")) == (0, expected)

    again = serve(metrics, 1)
    assert samples(metrics, "1") == expected
    metrics.remove_engine("quartet", 1, again)
    metrics.remove_engine("quartet", 2, second)


def test_the_default_versions_are_those_of_the_last_call() -> None:
    registry = CollectorRegistry()
    repository = RepositoryMetrics(registry)
    repository.set_default_versions({"piano": 2, "folk": 1})
    repository.set_default_versions({"piano": 3})

    assert registry.get_sample_value("fantasia_default_version", {"model": "piano"}) == 3
    assert registry.get_sample_value("fantasia_default_version", {"model": "folk"}) is None


def test_first_notes_are_measured_by_model_from_the_start_on() -> None:
    metrics = Metrics()
    metrics.set_bundle_info("quartet", 2, digest="abc")
    get = metrics.registry.get_sample_value

    assert get("fantasia_first_note_duration_seconds_count", QUARTET) == 0
    metrics.first_note("quartet", 2, 0.25)
    assert get("fantasia_first_note_duration_seconds_sum", QUARTET) == 0.25


def test_the_expected_and_the_actual_provider_are_exported_and_so_is_the_version() -> None:
    metrics = Metrics()
    metrics.set_execution_provider("quartet", 2, requested="auto", expected="CUDAExecutionProvider", actual="CPU")
    get = metrics.registry.get_sample_value

    labels = {**QUARTET, "requested": "auto", "expected": "CUDAExecutionProvider", "actual": "CPU"}
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
    assert texts["fantasia_sequences_submitted"] == "Sequences (one for each piece) submitted, by model and version."
