"""What Prometheus is told. Base units; labels from closed sets only: methods, codes, outcomes, models."""

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.engine.observer import EngineObserver, Outcome
from server.errors import StartupError
from server.rpc.observer import CallObserver

# An LSTM step takes tens of microseconds to a few milliseconds.
_STEP_SECONDS: Final = tuple(
    microseconds / 1e6
    for microseconds in (20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000, 50_000)
)
_CHUNK_SECONDS: Final = (*_STEP_SECONDS[2:], 0.1, 0.5)
_WAIT_SECONDS: Final = (
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
_CALL_SECONDS: Final = (*_WAIT_SECONDS[2:], 60.0, 120.0)
_WIDTHS: Final = tuple(2.0**power for power in range(11))


class Ledger(Collector):
    """Things that come in and go out, such that every scrape sees in = out by outcome + in flight.

    All three are read under one lock; counters of their own would be read one after the other.

    Args:
        entered: metric of what came in, such as `fantasia_requests_received`, and so on.
        label: what sorts the things, such as `method`.
        outcome_label: what sorts how they left, such as `code`.
    """

    def __init__(self, *, entered: str, left: str, in_flight: str, label: str, outcome_label: str) -> None:
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
        entered = CounterMetricFamily(entered_name, "What came in.", labels=[label])
        left = CounterMetricFamily(left_name, "What went out, by how.", labels=[label, outcome_label])
        in_flight = GaugeMetricFamily(in_flight_name, "What is in between.", labels=[label])
        with self._lock:
            for sort, count in self._entered.items():
                entered.add_metric([sort], count)
            for (sort, outcome), count in self._left.items():
                left.add_metric([sort, outcome], count)
            for sort, count in self._in_flight.items():
                in_flight.add_metric([sort], count)
        yield from (entered, left, in_flight)


class Metrics(CallObserver):
    """All metrics of one server, and the observer of its calls.

    Args:
        methods: names of the methods that calls are counted for.
    """

    def __init__(self, methods: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._calls = Ledger(
            entered="fantasia_requests_received",
            left="fantasia_requests_finished",
            in_flight="fantasia_requests_in_flight",
            label="method",
            outcome_label="code",
        )
        self.sequences = Ledger(
            entered="fantasia_sequences_admitted",
            left="fantasia_sequences_finished",
            in_flight="fantasia_sequences_in_flight",
            label="model",
            outcome_label="outcome",
        )
        self.registry.register(self._calls)
        self.registry.register(self.sequences)
        for method in methods:
            self._calls.show(method, ["OK"])
        self._call_seconds = self._histogram(
            "fantasia_request_duration", "Calls from arrival to answer.", _CALL_SECONDS, label="method"
        )
        self.queue = self._histogram("fantasia_queue_duration", "Waiting for a slot.", _WAIT_SECONDS)
        self.first_token = self._histogram(
            "fantasia_first_token_duration", "Admission to the first sampled token.", _WAIT_SECONDS
        )
        self.sequence = self._histogram(
            "fantasia_sequence_duration", "Admission to the last token, or to being given up.", _CALL_SECONDS
        )
        self.step = self._histogram("fantasia_step_duration", "One step of all rows.", _STEP_SECONDS)
        self.chunk = self._histogram("fantasia_chunk_duration", "One run of the graph.", _CHUNK_SECONDS)
        self.chunk_interval = self._histogram(
            "fantasia_chunk_interval",
            "End of a chunk to the end of the next while there is work.",
            _CHUNK_SECONDS,
        )
        self.cancelled_to_freed = self._histogram(
            "fantasia_cancelled_to_freed",
            "Cancelling a running sequence to its slot being free.",
            _WAIT_SECONDS,
        )
        self.width = Histogram(
            "fantasia_batch_width", "Sequences in a run.", ["model"], buckets=_WIDTHS, registry=self.registry
        )
        self.tokens = self._counter("fantasia_tokens", "Tokens of the sequences that left the engine.")
        self._notes = self._counter("fantasia_notes", "Notes of the pieces sent.")
        self._slots = self._gauge("fantasia_slots", "Sequences that can run at once.")
        self._slots_used = self._gauge("fantasia_slots_used", "Sequences that run.")
        self._queue_length = self._gauge("fantasia_queue_length", "Sequences that wait for a slot.")
        self._queue_limit = self._gauge("fantasia_queue_limit", "Sequences that may wait for a slot.")
        self._bundle = Info("fantasia_bundle", "The bundles loaded.", ["model"], registry=self.registry)

    def received(self, method: str) -> None:
        """See `CallObserver`."""
        self._calls.enter(method)

    def finished(self, method: str, code: str, seconds: float) -> None:
        """See `CallObserver`."""
        self._call_seconds.labels(method).observe(seconds)
        self._calls.leave(method, code)

    def wrote(self, model: str, notes: int) -> None:
        """See `CallObserver`."""
        self._notes.labels(model).inc(notes)

    def describe_bundle(self, model: str, **facts: str) -> None:
        """Show the model's bundle, with labels such as `digest`."""
        self._notes.labels(model)
        self._bundle.labels(model).info(facts)

    def watch_capacity(
        self,
        model: str,
        *,
        slots: int,
        queue_limit: int,
        running: Callable[[], int],
        waiting: Callable[[], int],
    ) -> None:
        """Show the model's capacity and what is taken of it; the functions are called at each scrape."""
        self._slots.labels(model).set(slots)
        self._queue_limit.labels(model).set(queue_limit)
        self._slots_used.labels(model).set_function(running)
        self._queue_length.labels(model).set_function(waiting)

    def listen(self, host: str, port: int) -> "MetricsEndpoint":
        """Answer scrapes on a thread of its own.

        Raises:
            StartupError: the address cannot be listened on.
        """
        return MetricsEndpoint(self.registry, host, port)

    def _histogram(self, name: str, text: str, buckets: Iterable[float], label: str = "model") -> Histogram:
        return Histogram(name, text, [label], unit="seconds", buckets=tuple(buckets), registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["model"], registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["model"], registry=self.registry)


class EngineMetrics(EngineObserver):
    """The observer of one model's engine."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._model = model
        self._sequences = metrics.sequences
        self._sequences.show(model, [outcome.value for outcome in Outcome])
        self._queue = metrics.queue.labels(model)
        self._first_token = metrics.first_token.labels(model)
        self._sequence = metrics.sequence.labels(model)
        self._step = metrics.step.labels(model)
        self._chunk = metrics.chunk.labels(model)
        self._chunk_interval = metrics.chunk_interval.labels(model)
        self._cancelled_to_freed = metrics.cancelled_to_freed.labels(model)
        self._width = metrics.width.labels(model)
        self._tokens = metrics.tokens.labels(model)
        self._last_chunk: float | None = None

    def admitted(self) -> None:
        """See `EngineObserver`."""
        self._sequences.enter(self._model)

    def started(self, queue_seconds: float) -> None:
        """See `EngineObserver`."""
        self._queue.observe(queue_seconds)

    def first_token(self, seconds: float) -> None:
        """See `EngineObserver`."""
        self._first_token.observe(seconds)

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """See `EngineObserver`."""
        now = time.perf_counter()
        last, self._last_chunk = self._last_chunk, now
        if last is not None:
            self._chunk_interval.observe(now - last)
        self._chunk.observe(seconds)
        self._step.observe(seconds / steps)
        self._width.observe(width)

    def freed_after_cancel(self, seconds: float) -> None:
        """See `EngineObserver`."""
        self._cancelled_to_freed.observe(seconds)

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        """See `EngineObserver`."""
        self._sequence.observe(total_seconds)
        self._tokens.inc(tokens)
        if self._sequences.leave(self._model, outcome.value) == 0:
            self._last_chunk = None  # the time until the next chunk is nobody's waiting


class MetricsEndpoint:
    """The port that Prometheus scrapes; listens from the start.

    Args:
        registry: what to show.
        host: address to listen on.
        port: 0 takes a free one.

    Raises:
        StartupError: the address cannot be listened on.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise StartupError(f"cannot listen on {host}:{port} for metrics: {error.strerror}") from error

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening and join the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
