"""Counts what was received, what was finished and what is in flight, consistently."""

import threading
from collections import Counter as Tally
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]
"""Values of the labels."""


class InFlightCollector(Collector):
    """Three metrics for which every scrape sees received = finished (all outcomes) + in flight.

    One lock covers all three. Separate counters would be read one after the other, and the sum could be wrong.

    Args:
        noun: what is counted, for the help texts, such as `Requests`.
        received: name of the counter of received items, such as `fantasia_requests_received`.
        finished: name of the counter of finished items.
        in_flight: name of the gauge of items in flight.
        labels: names of the labels of all three metrics, such as `method`.
        outcome_label: name of the further label of finished items, such as `code`.
    """

    def __init__(
        self, noun: str, *, received: str, finished: str, in_flight: str, labels: tuple[str, ...], outcome_label: str
    ) -> None:
        self._noun = noun
        self._names = (received, finished, in_flight)
        self._labels = labels
        self._outcome_label = outcome_label
        self._lock = threading.Lock()
        self._received: Tally[Labels] = Tally()
        self._finished: Tally[tuple[Labels, str]] = Tally()
        self._in_flight: Tally[Labels] = Tally()

    def initialize(self, labels: Labels, outcomes: Iterable[str] = ()) -> None:
        """Export zeros for these values of the labels, so that rates are right from the first item on."""
        with self._lock:
            self._received[labels] += 0
            self._in_flight[labels] += 0
            for outcome in outcomes:
                self._finished[labels, outcome] += 0

    def remove(self, labels: Labels) -> None:
        """Export these values of the labels no more. No item with them may be in flight."""
        with self._lock:
            assert not self._in_flight[labels], labels
            del self._received[labels], self._in_flight[labels]
            for key in [key for key in self._finished if key[0] == labels]:
                del self._finished[key]

    def received(self, labels: Labels) -> None:
        """Count one received item."""
        with self._lock:
            self._received[labels] += 1
            self._in_flight[labels] += 1

    def finished(self, labels: Labels, outcome: str) -> int:
        """Count one finished item, and return how many items with these labels are still in flight."""
        with self._lock:
            self._finished[labels, outcome] += 1
            self._in_flight[labels] -= 1
            return self._in_flight[labels]

    def collect(self) -> Iterator[Metric]:
        """The three metrics at one moment."""
        received_name, finished_name, in_flight_name = self._names
        labels, by = list(self._labels), " and ".join(self._labels)
        verb = received_name.rpartition("_")[2]
        received = CounterMetricFamily(received_name, f"{self._noun} {verb}, by {by}.", labels=labels)
        finished = CounterMetricFamily(
            finished_name,
            f"{self._noun} finished, by {', '.join(labels)} and {self._outcome_label}.",
            labels=[*labels, self._outcome_label],
        )
        in_flight = GaugeMetricFamily(
            in_flight_name, f"{self._noun} {verb} and not finished yet, by {by}.", labels=labels
        )
        with self._lock:
            for values, count in self._received.items():
                received.add_metric(list(values), count)
            for (values, outcome), count in self._finished.items():
                finished.add_metric([*values, outcome], count)
            for values, count in self._in_flight.items():
                in_flight.add_metric(list(values), count)
        yield from (received, finished, in_flight)
