"""Counts what comes in and goes out."""

import threading
from collections import Counter as Tally
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Ledger(Collector):
    """Things that come in and go out, such that every scrape sees in = out by outcome + in flight.

    All three are read under one lock; counters of their own would be read one after the other.

    Args:
        what: the things, for the help texts, such as `Requests`.
        entered: metric of what came in, such as `fantasia_requests_received`, and so on.
        label: what sorts the things, such as `method`.
        outcome_label: what sorts how they left, such as `code`.
    """

    def __init__(self, what: str, *, entered: str, left: str, in_flight: str, label: str, outcome_label: str) -> None:
        self._what = what
        self._names = (entered, left, in_flight)
        self._labels = (label, outcome_label)
        self._lock = threading.Lock()
        self._entered: Tally[str] = Tally()
        self._left: Tally[tuple[str, str]] = Tally()
        self._in_flight: Tally[str] = Tally()

    def show(self, sort: str, outcomes: Iterable[str] = ()) -> None:
        """Show zeros before the first of this sort comes, so that a rate can be taken from the start."""
        with self._lock:
            self._entered[sort] += 0
            self._in_flight[sort] += 0
            for outcome in outcomes:
                self._left[sort, outcome] += 0

    def enter(self, sort: str) -> None:
        """One came in."""
        with self._lock:
            self._entered[sort] += 1
            self._in_flight[sort] += 1

    def leave(self, sort: str, outcome: str) -> int:
        """One went out; how many of its sort are still in flight."""
        with self._lock:
            self._left[sort, outcome] += 1
            self._in_flight[sort] -= 1
            return self._in_flight[sort]

    def collect(self) -> Iterator[Metric]:
        """The three metrics at one moment."""
        entered_name, left_name, in_flight_name = self._names
        label, outcome_label = self._labels
        verb = entered_name.rpartition("_")[2]
        entered = CounterMetricFamily(entered_name, f"{self._what} {verb}, by {label}.", labels=[label])
        left = CounterMetricFamily(
            left_name, f"{self._what} finished, by {label} and {outcome_label}.", labels=[label, outcome_label]
        )
        in_flight = GaugeMetricFamily(
            in_flight_name, f"{self._what} {verb} and not finished yet, by {label}.", labels=[label]
        )
        with self._lock:
            for sort, count in self._entered.items():
                entered.add_metric([sort], count)
            for (sort, outcome), count in self._left.items():
                left.add_metric([sort, outcome], count)
            for sort, count in self._in_flight.items():
                in_flight.add_metric([sort], count)
        yield from (entered, left, in_flight)
