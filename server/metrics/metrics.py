"""The metrics. Base units; labels from closed sets only: methods, codes, outcomes, models."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from server.metrics.ledger import Ledger
from server.rpc.observer import CallObserver

# An LSTM step takes tens of microseconds to a few milliseconds.
_STEP_SECONDS: Final = tuple(
    microseconds / 1e6
    for microseconds in (20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000, 50_000)
)
_CHUNK_SECONDS: Final = (*_STEP_SECONDS[2:], 0.1, 0.5)
_WAIT_SECONDS: Final = tuple(
    milliseconds / 1e3
    for milliseconds in (0.2, 0.5, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000)
)
_CALL_SECONDS: Final = (*_WAIT_SECONDS[2:], 60.0, 120.0)
_WIDTHS: Final = tuple(2.0**power for power in range(11))


class Metrics(CallObserver):
    """All metrics of one server, and the observer of its calls.

    Args:
        methods: names of the methods that calls are counted for.
    """

    def __init__(self, methods: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._calls = Ledger(
            "Requests",
            entered="fantasia_requests_received",
            left="fantasia_requests_finished",
            in_flight="fantasia_requests_in_flight",
            label="method",
            outcome_label="code",
        )
        self.sequences = Ledger(
            "Sequences (one for each piece)",
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
            "fantasia_request_duration",
            "Time from the arrival of a request to its answer, in seconds; refused requests are included.",
            _CALL_SECONDS,
            label="method",
        )
        self.queue = self._histogram(
            "fantasia_queue_duration", "Time that a sequence waited for a slot, in seconds.", _WAIT_SECONDS
        )
        self.first_token = self._histogram(
            "fantasia_first_token_duration",
            "Time from the admission of a sequence to its first sampled token, in seconds.",
            _WAIT_SECONDS,
        )
        self.sequence = self._histogram(
            "fantasia_sequence_duration",
            "Time from the admission of a sequence to its last token or its cancellation, in seconds.",
            _CALL_SECONDS,
        )
        self.step = self._histogram(
            "fantasia_step_duration",
            "Duration of one step (one token for every sequence of the batch), in seconds.",
            _STEP_SECONDS,
        )
        self.chunk = self._histogram(
            "fantasia_chunk_duration",
            "Duration of one chunk (one run of the decode graph, one or more steps long), in seconds.",
            _CHUNK_SECONDS,
        )
        self.opening = self._histogram(
            "fantasia_opening_duration",
            "Duration of the first step of new sequences, outside the main batch (CPU only), in seconds.",
            _CHUNK_SECONDS,
        )
        self.chunk_interval = self._histogram(
            "fantasia_chunk_interval",
            "Time from the end of a chunk to the end of the next one while sequences are running, in seconds.",
            _CHUNK_SECONDS,
        )
        self.prefill = self._histogram(
            "fantasia_prefill_duration",
            "Duration of one prefill run (one slice of a primer), in seconds.",
            _CHUNK_SECONDS,
        )
        self.cancelled_to_freed = self._histogram(
            "fantasia_cancelled_to_freed",
            "Time from the cancellation of a running sequence until its slot is free, in seconds.",
            _WAIT_SECONDS,
        )
        self.width = Histogram(
            "fantasia_batch_width",
            "Batch size: number of sequences that one chunk advances.",
            ["model"],
            buckets=_WIDTHS,
            registry=self.registry,
        )
        self.tokens = self._counter(
            "fantasia_tokens", "Tokens decoded for finished sequences, cancelled and failed ones included."
        )
        self.prefill_tokens = self._counter("fantasia_prefill_tokens", "Primer tokens processed by prefill.")
        self._notes = self._counter("fantasia_notes", "Notes in the pieces returned to callers.")
        self._slots = self._gauge("fantasia_slots", "Maximum number of running sequences.")
        self._slots_used = self._gauge("fantasia_slots_used", "Number of running sequences; each holds a slot.")
        self._queue_length = self._gauge("fantasia_queue_length", "Number of sequences that are waiting for a slot.")
        self._queue_limit = self._gauge(
            "fantasia_queue_limit",
            "Maximum number of sequences that may wait for a slot; requests beyond it are refused.",
        )
        self._bundle = Info(
            "fantasia_bundle",
            "Loaded model bundles: digest, tokenizer, execution provider and precision; the value is always 1.",
            ["model"],
            registry=self.registry,
        )

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

    def _histogram(self, name: str, text: str, buckets: Iterable[float], label: str = "model") -> Histogram:
        return Histogram(name, text, [label], unit="seconds", buckets=tuple(buckets), registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["model"], registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["model"], registry=self.registry)
