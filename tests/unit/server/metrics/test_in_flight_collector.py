import threading

import pytest
from prometheus_client import CollectorRegistry

from server.metrics.in_flight_collector import InFlightCollector


@pytest.fixture
def calls() -> InFlightCollector:
    return InFlightCollector(
        "Calls",
        received="calls_received",
        finished="calls_finished",
        in_flight="calls_in_flight",
        labels=("method",),
        outcome_label="code",
    )


@pytest.fixture
def registry(calls: InFlightCollector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(calls)
    return registry


def test_received_items_that_are_not_finished_are_in_flight(
    calls: InFlightCollector, registry: CollectorRegistry
) -> None:
    for _ in range(3):
        calls.received(("Generate",))

    assert calls.finished(("Generate",), "OK") == 2
    assert registry.get_sample_value("calls_received_total", {"method": "Generate"}) == 3
    assert registry.get_sample_value("calls_finished_total", {"method": "Generate", "code": "OK"}) == 1
    assert registry.get_sample_value("calls_in_flight", {"method": "Generate"}) == 2


def test_an_initialized_label_is_exported_as_zero(calls: InFlightCollector, registry: CollectorRegistry) -> None:
    calls.initialize(("Generate",), ["OK"])

    assert registry.get_sample_value("calls_received_total", {"method": "Generate"}) == 0
    assert registry.get_sample_value("calls_finished_total", {"method": "Generate", "code": "OK"}) == 0
    assert registry.get_sample_value("calls_in_flight", {"method": "Generate"}) == 0


def test_every_scrape_adds_up_while_threads_count(calls: InFlightCollector) -> None:
    def count(code: str) -> None:
        for _ in range(3000):
            calls.received(("Generate",))
            calls.finished(("Generate",), code)

    threads = [threading.Thread(target=count, args=(code,)) for code in ("OK", "CANCELLED")]
    for thread in threads:
        thread.start()
    scrapes = 0
    while any(thread.is_alive() for thread in threads) or not scrapes:
        received, finished, in_flight = (sum(sample.value for sample in metric.samples) for metric in calls.collect())
        assert received == finished + in_flight
        scrapes += 1
    for thread in threads:
        thread.join()
    assert [sum(sample.value for sample in metric.samples) for metric in calls.collect()] == [6000, 6000, 0]


def test_removed_labels_are_not_exported_and_others_stay(calls: InFlightCollector, registry: CollectorRegistry) -> None:
    for method in ("Generate", "Evaluate"):
        calls.received((method,))
        calls.finished((method,), "OK")
    calls.remove(("Generate",))

    for name in ("calls_received_total", "calls_finished_total"):
        found = {
            sample.labels["method"] for metric in calls.collect() for sample in metric.samples if sample.name == name
        }
        assert found == {"Evaluate"}
    assert registry.get_sample_value("calls_in_flight", {"method": "Generate"}) is None
