"""Counts what was received, what was finished and what is in flight, consistently."""

import threading
from collections import Counter as Tally
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class InFlightCollector(Collector):
    """Three metrics for which every scrape sees received = finished (all outcomes) + in flight.

    One lock covers all three. Separate counters would be read one after the other, and the sum could be wrong.

    Args:
        noun: what is counted, for the help texts, such as `Requests`.
        received: name of the counter of received items, such as `fantasia_requests_received`.
        finished: name of the counter of finished items.
        in_flight: name of the gauge of items in flight.
        label: name of the label of all three metrics, such as `method`.
        outcome_label: name of the further label of finished items, such as `code`.
    """

    def __init__(
        self, noun: str, *, received: str, finished: str, in_flight: str, label: str, outcome_label: str
    ) -> None:
        self._noun = noun
        self._names = (received, finished, in_flight)
        self._labels = (label, outcome_label)
        self._lock = threading.Lock()
        self._received: Tally[str] = Tally()
        self._finished: Tally[tuple[str, str]] = Tally()
        self._in_flight: Tally[str] = Tally()

    def initialize(self, label: str, outcomes: Iterable[str] = ()) -> None:
        """Export zeros for this value of the label, so that rates are right from the first item on."""
        with self._lock:
            self._received[label] += 0
            self._in_flight[label] += 0
            for outcome in outcomes:
                self._finished[label, outcome] += 0

    def received(self, label: str) -> None:
        """Count one received item."""
        with self._lock:
            self._received[label] += 1
            self._in_flight[label] += 1

    def finished(self, label: str, outcome: str) -> int:
        """Count one finished item, and return how many items with this label are still in flight."""
        with self._lock:
            self._finished[label, outcome] += 1
            self._in_flight[label] -= 1
            return self._in_flight[label]

    def collect(self) -> Iterator[Metric]:
        """The three metrics at one moment."""
        received_name, finished_name, in_flight_name = self._names
        label, outcome_label = self._labels
        verb = received_name.rpartition("_")[2]
        received = CounterMetricFamily(received_name, f"{self._noun} {verb}, by {label}.", labels=[label])
        finished = CounterMetricFamily(
            finished_name, f"{self._noun} finished, by {label} and {outcome_label}.", labels=[label, outcome_label]
        )
        in_flight = GaugeMetricFamily(
            in_flight_name, f"{self._noun} {verb} and not finished yet, by {label}.", labels=[label]
        )
        with self._lock:
            for value, count in self._received.items():
                received.add_metric([value], count)
            for (value, outcome), count in self._finished.items():
                finished.add_metric([value, outcome], count)
            for value, count in self._in_flight.items():
                in_flight.add_metric([value], count)
        yield from (received, finished, in_flight)
