"""The metrics of one engine."""

import time

from server.engine.observer import EngineObserver, Outcome
from server.metrics.metrics import Metrics


class EngineMetrics(EngineObserver):
    """Observes the engine of one version of a model and updates the metrics."""

    def __init__(self, metrics: Metrics, model: str, version: int) -> None:
        self._labels = labels = (model, str(version))
        self._sequences = metrics.sequences
        self._sequences.initialize(labels, [outcome.value for outcome in Outcome])
        self._refused = metrics.refused.labels(*labels)
        self._queue_duration = metrics.queue_duration.labels(*labels)
        self._first_token_duration = metrics.first_token_duration.labels(*labels)
        self._sequence_duration = metrics.sequence_duration.labels(*labels)
        self._step_duration = metrics.step_duration.labels(*labels)
        self._chunk_duration = metrics.chunk_duration.labels(*labels)
        self._chunk_interval = metrics.chunk_interval.labels(*labels)
        self._first_step_duration = metrics.first_step_duration.labels(*labels)
        self._prefill_duration = metrics.prefill_duration.labels(*labels)
        self._prefill_tokens = metrics.prefill_tokens.labels(*labels)
        self._cancellation_duration = metrics.cancellation_duration.labels(*labels)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._tokens = metrics.tokens.labels(*labels)
        self._last_chunk_at: float | None = None

    def submitted(self) -> None:
        """See `EngineObserver`."""
        self._sequences.received(self._labels)

    def refused(self) -> None:
        """See `EngineObserver`."""
        self._refused.inc()

    def started(self, queue_seconds: float) -> None:
        """See `EngineObserver`."""
        self._queue_duration.observe(queue_seconds)

    def first_token(self, seconds: float) -> None:
        """See `EngineObserver`."""
        self._first_token_duration.observe(seconds)

    def chunk(self, batch_size: int, steps: int, seconds: float) -> None:
        """See `EngineObserver`."""
        now = time.perf_counter()
        if self._last_chunk_at is not None:
            self._chunk_interval.observe(now - self._last_chunk_at)
        self._last_chunk_at = now
        self._chunk_duration.observe(seconds)
        self._step_duration.observe(seconds / steps)
        self._batch_size.observe(batch_size)

    def first_step(self, batch_size: int, steps: int, seconds: float) -> None:
        """See `EngineObserver`."""
        self._first_step_duration.observe(seconds)

    def prefill(self, tokens: int, seconds: float) -> None:
        """See `EngineObserver`."""
        self._prefill_duration.observe(seconds)
        self._prefill_tokens.inc(tokens)

    def freed_after_cancel(self, seconds: float) -> None:
        """See `EngineObserver`."""
        self._cancellation_duration.observe(seconds)

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        """See `EngineObserver`."""
        self._sequence_duration.observe(total_seconds)
        self._tokens.inc(tokens)
        if outcome is Outcome.DISPLACED:  # its caller got the answer of a refused one
            self._refused.inc()
        if self._sequences.finished(self._labels, outcome.value) == 0:
            self._last_chunk_at = None  # no sequence waits for the next chunk
