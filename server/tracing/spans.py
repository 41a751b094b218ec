"""The spans of a request in the engine: queue, prefill, decode."""

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode, Tracer

from server.engine.listener import SequenceListener, Timeline
from server.engine.observer import Outcome
from server.engine.snapshot import Snapshot

_ERRORS: Final = {Outcome.FAILED, Outcome.CONSTRAINTS, Outcome.DISPLACED}
_NANOSECONDS: Final = 1_000_000_000


class SpanListener(SequenceListener):
    """Makes the spans of one request when it is finished, from the times that the engine has noted.

    Args:
        tracer: makes the spans.
        parent: the context with the span of the call.
        model: the model's name.
        listener: what else is to be told; None for nothing.
    """

    def __init__(self, tracer: Tracer, parent: Context, model: str, listener: SequenceListener | None) -> None:
        self._tracer = tracer
        self._parent = parent
        self._model = model
        self._listener = listener
        # Spans have times since 1970. The difference is taken once, so that an adjusted clock makes no span negative.
        self._epoch = time.time_ns() - round(time.perf_counter() * _NANOSECONDS)

    def tokens(self, tokens: NDArray[np.int32], snapshot: Snapshot | None) -> None:
        """See `SequenceListener`."""
        if self._listener is not None:
            self._listener.tokens(tokens, snapshot)

    def finished(self, timeline: Timeline, outcome: Outcome, tokens: int) -> None:
        """See `SequenceListener`."""
        end = timeline.finished_at
        parts = [("queue", timeline.submitted_at, timeline.admitted_at)]
        if timeline.prefill_began_at is not None:
            parts.append(("prefill", timeline.prefill_began_at, timeline.prefill_ended_at))
        if parts[-1][2] is not None:  # it was admitted, and prefilled if it had a primer
            parts.append(("decode", parts[-1][2], None))
        for name, began, ended in parts:
            span = self._tracer.start_span(name, self._parent, start_time=self._at(began))
            span.set_attribute("fantasia.model", self._model)
            if ended is None:  # its last part
                span.set_attributes({"fantasia.outcome": outcome.value, "fantasia.tokens": tokens})
                if outcome in _ERRORS:
                    span.set_status(Status(StatusCode.ERROR, outcome.value))
            if name == "decode" and timeline.first_token_at is not None:
                span.add_event("first token", timestamp=self._at(timeline.first_token_at))
            span.end(self._at(end if ended is None else ended))
        if self._listener is not None:
            self._listener.finished(timeline, outcome, tokens)

    def _at(self, seconds: float) -> int:
        return self._epoch + round(seconds * _NANOSECONDS)
