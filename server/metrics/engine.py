"""What an engine tells, as metrics."""

import time

from server.engine.observer import EngineObserver, Outcome
from server.metrics.metrics import Metrics


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
        self._opening = metrics.opening.labels(model)
        self._prefill = metrics.prefill.labels(model)
        self._prefill_tokens = metrics.prefill_tokens.labels(model)
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

    def opening(self, width: int, steps: int, seconds: float) -> None:
        """See `EngineObserver`."""
        self._opening.observe(seconds)

    def prefill(self, tokens: int, seconds: float) -> None:
        """See `EngineObserver`."""
        self._prefill.observe(seconds)
        self._prefill_tokens.inc(tokens)

    def freed_after_cancel(self, seconds: float) -> None:
        """See `EngineObserver`."""
        self._cancelled_to_freed.observe(seconds)

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        """See `EngineObserver`."""
        self._sequence.observe(total_seconds)
        self._tokens.inc(tokens)
        if self._sequences.leave(self._model, outcome.value) == 0:
            self._last_chunk = None  # the time until the next chunk is nobody's waiting
