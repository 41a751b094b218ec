"""All metrics of the server: base units, and labels from closed sets only (methods, codes, outcomes, loaded models)."""

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from fantasia import __version__
from server.metrics.engine_use import EngineUse
from server.metrics.in_flight_collector import InFlightCollector
from server.metrics.repository import RepositoryMetrics
from server.rpc.logging_interceptor import CallObserver

# Seconds. An LSTM step takes tens of microseconds to a few milliseconds.
_STEP_BUCKETS: Final = tuple(
    microseconds / 1e6
    for microseconds in (20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000, 50_000)
)
_CHUNK_BUCKETS: Final = (*_STEP_BUCKETS[2:], 0.1, 0.5)
_LATENCY_BUCKETS: Final = tuple(
    milliseconds / 1e3
    for milliseconds in (0.2, 0.5, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000)
)
_CALL_BUCKETS: Final = (*_LATENCY_BUCKETS[2:], 60.0, 120.0)
_FAULT_CODES: Final = ("DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN")
"""Codes of calls that the server should have answered. They are exported as zero at the start: a rate misses the first
call of a time series that begins with it."""
_MODEL_LABELS: Final = ("model", "version")
_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)
_BATCH_SIZES: Final = tuple(2.0**power for power in range(11))


class Metrics(CallObserver):
    """The metrics of one server. It observes the calls itself; `EngineMetrics` observes the engines.

    Args:
        methods: methods whose requests are exported as zero before the first one arrives.
    """

    def __init__(self, methods: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._made: list[Counter | Gauge | Histogram] = []
        ProcessCollector(registry=self.registry)
        self._requests = InFlightCollector(
            "Requests",
            received="fantasia_requests_received",
            finished="fantasia_requests_finished",
            in_flight="fantasia_requests_in_flight",
            labels=("method",),
            outcome_label="code",
        )
        self.sequences = InFlightCollector(
            "Sequences (one for each piece)",
            received="fantasia_sequences_submitted",
            finished="fantasia_sequences_finished",
            in_flight="fantasia_sequences_in_flight",
            labels=_MODEL_LABELS,
            outcome_label="outcome",
        )
        self.registry.register(self._requests)
        self.registry.register(self.sequences)
        for method in methods:
            self._requests.initialize((method,), ["OK", *_FAULT_CODES])
        self._request_duration = self._histogram(
            "fantasia_request_duration",
            "Time from the arrival of a request to its response, in seconds; refused requests are included.",
            _CALL_BUCKETS,
            labels=("method",),
        )
        self.refused = self._counter(
            "fantasia_sequences_refused",
            "Sequences refused, or displaced from the queue, because all slots were taken and the queue was full.",
        )
        self.queue_duration = self._histogram(
            "fantasia_queue_duration", "Time that a sequence waited for a slot, in seconds.", _LATENCY_BUCKETS
        )
        self.first_token_duration = self._histogram(
            "fantasia_first_token_duration",
            "Time from the submission of a sequence to its first sampled token, in seconds.",
            _LATENCY_BUCKETS,
        )
        self._first_note_duration = self._histogram(
            "fantasia_first_note_duration",
            "Time from the arrival of a StreamGenerate call to its first message with a note, in seconds.",
            _LATENCY_BUCKETS,
        )
        self.sequence_duration = self._histogram(
            "fantasia_sequence_duration",
            "Time from the submission of a sequence to its last token or its cancellation, in seconds.",
            _CALL_BUCKETS,
        )
        self.step_duration = self._histogram(
            "fantasia_step_duration",
            "Duration of one step (one token for every sequence of the batch), in seconds.",
            _STEP_BUCKETS,
        )
        self.chunk_duration = self._histogram(
            "fantasia_chunk_duration",
            "Duration of one chunk (one run of the decode graph, one or more steps long), in seconds.",
            _CHUNK_BUCKETS,
        )
        self.first_step_duration = self._histogram(
            "fantasia_first_step_duration",
            "Duration of the first decode step of new sequences, outside the main batch (CPU only), in seconds.",
            _CHUNK_BUCKETS,
        )
        self.chunk_interval = self._histogram(
            "fantasia_chunk_interval",
            "Time from the end of a chunk to the end of the next one while sequences are running, in seconds.",
            _CHUNK_BUCKETS,
        )
        self.prefill_duration = self._histogram(
            "fantasia_prefill_duration",
            "Duration of one prefill run (one slice of a primer), in seconds.",
            _CHUNK_BUCKETS,
        )
        self.cancellation_duration = self._histogram(
            "fantasia_cancellation_duration",
            "Time from the cancellation of a running sequence until its slot is free, in seconds.",
            _LATENCY_BUCKETS,
        )
        self.batch_size = Histogram(
            "fantasia_batch_size",
            "Batch size: number of sequences that one chunk advances.",
            _MODEL_LABELS,
            buckets=_BATCH_SIZES,
            registry=self.registry,
        )
        self.tokens = self._counter(
            "fantasia_tokens", "Tokens decoded for finished sequences, cancelled and failed ones included."
        )
        self.prefill_tokens = self._counter("fantasia_prefill_tokens", "Primer tokens processed by prefill.")
        self._notes = self._counter("fantasia_notes", "Notes in the pieces returned to callers.")
        self._evaluated_pieces = self._counter("fantasia_evaluated_pieces", "Pieces evaluated for callers.")
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
            _MODEL_LABELS,
            registry=self.registry,
        )
        self._provider = Info(
            "fantasia_execution_provider",
            "Execution provider of each model: requested by the settings, expected on this machine, actual; "
            "the value is always 1.",
            _MODEL_LABELS,
            registry=self.registry,
        )
        Info("fantasia_server", "Version of the server; the value is always 1.", registry=self.registry).info(
            {"version": __version__}
        )
        self.repository = RepositoryMetrics(self.registry)
        """Of the model repository."""
        self._by_model = (self._bundle, self._provider, self.batch_size, *self._made)
        self._lock = threading.Lock()
        self._engines: dict[tuple[str, str], list[EngineUse]] = {}

    def received(self, method: str) -> None:
        """See `CallObserver`."""
        self._requests.received((method,))

    def finished(self, method: str, code: str, seconds: float) -> None:
        """See `CallObserver`."""
        self._request_duration.labels(method).observe(seconds)
        self._requests.finished((method,), code)

    def first_note(self, model: str, version: int, seconds: float) -> None:
        """See `CallObserver`."""
        self._first_note_duration.labels(model, str(version)).observe(seconds)

    def notes_written(self, model: str, version: int, notes: int) -> None:
        """See `CallObserver`."""
        self._notes.labels(model, str(version)).inc(notes)

    def pieces_evaluated(self, model: str, version: int, pieces: int) -> None:
        """See `CallObserver`."""
        self._evaluated_pieces.labels(model, str(version)).inc(pieces)

    def set_bundle_info(self, model: str, version: int, **info: str) -> None:
        """Export what a version is, as labels such as `digest`."""
        labels = (model, str(version))
        self._notes.labels(*labels)
        self._evaluated_pieces.labels(*labels)
        self._first_note_duration.labels(*labels)
        self._bundle.labels(*labels).info(info)

    def set_execution_provider(self, model: str, version: int, *, requested: str, expected: str, actual: str) -> None:
        """Export what runs a version, and what should.

        Args:
            model: name of the model.
            version: its number.
            requested: the operator's choice, such as `auto`.
            expected: the provider that this choice means on this machine, such as `CUDAExecutionProvider`.
            actual: the provider that runs the model.
        """
        labels = {"requested": requested, "expected": expected, "actual": actual}
        self._provider.labels(model, str(version)).info(labels)

    def add_engine(self, model: str, version: int) -> EngineUse:
        """Export the use of an engine, from before the engine exists until `remove_engine`.

        A version has two engines while one of them finishes its sequences. Both count together.
        """
        labels, use = (model, str(version)), EngineUse()
        with self._lock:
            uses = self._engines.setdefault(labels, [])
            uses.append(use)
            for gauge, value in (
                (self._slots, EngineUse.slots),
                (self._queue_limit, EngineUse.queue_limit),
                (self._slots_used, EngineUse.running),
                (self._queue_length, EngineUse.waiting),
            ):
                gauge.labels(*labels).set_function(partial(_total, uses, value))
        return use

    def remove_engine(self, model: str, version: int, use: EngineUse) -> None:
        """Count an engine no more. What it has counted is exported until `forget_version`."""
        with self._lock:
            self._engines[model, str(version)].remove(use)

    def forget_version(self, model: str, version: int) -> None:
        """Export a version no more, unless it has an engine (again)."""
        labels = (model, str(version))
        with self._lock:
            if labels not in self._engines or self._engines[labels]:
                return
            del self._engines[labels]
            self.sequences.remove(labels)
            for metric in self._by_model:
                with suppress(KeyError):  # it has counted nothing
                    metric.remove(*labels)

    def _histogram(
        self, name: str, text: str, buckets: Iterable[float], labels: tuple[str, ...] = _MODEL_LABELS
    ) -> Histogram:
        metric = Histogram(name, text, labels, unit="seconds", buckets=tuple(buckets), registry=self.registry)
        return self._kept(metric, labels)

    def _counter(self, name: str, text: str) -> Counter:
        return self._kept(Counter(name, text, _MODEL_LABELS, registry=self.registry))

    def _gauge(self, name: str, text: str) -> Gauge:
        return self._kept(Gauge(name, text, _MODEL_LABELS, registry=self.registry))

    def _kept(self, metric: _Metric, labels: tuple[str, ...] = _MODEL_LABELS) -> _Metric:
        """The metric, kept in the list of those whose series end with a version."""
        if labels == _MODEL_LABELS:
            self._made.append(metric)
        return metric


def _total(uses: Sequence[EngineUse], value: Callable[[EngineUse], int]) -> int:
    return sum(map(value, tuple(uses)))
