"""When running sequences will finish, from the tokens that they may still take and the measured time of a step."""

import math
from collections.abc import Callable, Iterable
from typing import Final

from server.engine.request import EngineRequest

MIN_RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 600.0
_STEPS_REMEMBERED: Final = 1024
"""About so many of the latest steps decide what a step takes: a few seconds of them, since a flood of calls takes the
processor away for a moment."""
_WARM_UP_STEPS: Final = 256
"""So many steps does the run count for that was measured at the start."""
_PIECES_REMEMBERED: Final = 16
_ESTIMATE_SECONDS: Final = 0.02
"""Calls that are refused within this time share an estimate: in a flood there are thousands in a second."""
_FIRST_GUESS_SECONDS: Final = 0.001
"""A step's time while none was measured."""
_FIRST_GUESS_SHARE: Final = 0.25
"""Share of `max_tokens` that sequences of unknown length take, while none has finished: more than most of them do."""


class FinishEstimate:
    """Measures the time of a step, and how long sequences become whose length is not known before.

    Args:
        width: the most rows of one run; if more sequences decode, they take turns.
        slots: the most sequences that decode.
    """

    def __init__(self, width: int, slots: int) -> None:
        self._width = width
        self._slots = slots
        self._steps = _Mean(_STEPS_REMEMBERED)  # seconds a step, of runs of any width
        self._full_steps = _Mean(_STEPS_REMEMBERED)  # the same, of runs of full width alone
        self._share = _Mean(_PIECES_REMEMBERED)  # of `max_tokens`, that sequences of unknown length took
        self._estimated_at = -math.inf
        self._room_at = 0.0  # when a sequence has finished, as estimated last

    def ran(self, width: int, steps: int, seconds: float) -> None:
        """Learn what a run took, with what had to be done before and after it."""
        self._steps.add(seconds / steps, steps)
        if width == self._width:
            self._full_steps.add(seconds / steps, steps)

    def warmed_up(self, steps: int, seconds: float) -> None:
        """Learn what a run of full width takes, before anything else runs."""
        self._full_steps.add(seconds / steps, _WARM_UP_STEPS)

    def finished(self, request: EngineRequest, tokens: int) -> None:
        """Learn how many tokens a sequence took."""
        if not _is_exact(request):
            self._share.add(tokens / request.max_tokens, 1)

    def tokens(self, request: EngineRequest) -> float:
        """Tokens that a sequence will probably have when it finishes."""
        return request.max_tokens * (1.0 if _is_exact(request) else self._share.value(_FIRST_GUESS_SHARE))

    def seconds(self, tokens: float, sequences: int) -> float:
        """Time in which a sequence takes so many tokens while `sequences` of them run or wait, itself included."""
        running = min(sequences, self._slots)
        step = self._steps.value(_FIRST_GUESS_SECONDS)
        if running >= self._width:
            step = self._full_steps.value(step)
        return tokens * step * max(running / self._width, 1.0)

    def seconds_to_first(self, sequences: Iterable[tuple[EngineRequest, int]], count: int) -> float:
        """Time until the first of some sequences finishes; 0 if there are none.

        Args:
            sequences: what was asked for each, and how many tokens it has.
            count: sequences that run or wait in all.
        """
        left = (
            max(self.tokens(request) - max(taken, len(request.forced)), 1.0)  # forced ones take next to no time
            for request, taken in sequences
        )
        return self.seconds(min(left, default=0.0), count)

    def retry_after_seconds(self, seconds_to_first: Callable[[], float], now: float) -> float:
        """When a refused caller should come back: as soon as a sequence has finished, within bounds.

        Args:
            seconds_to_first: time until the first of those that run finishes; called once in a while.
            now: in seconds of a monotonic clock.
        """
        if now - self._estimated_at >= _ESTIMATE_SECONDS:
            self._estimated_at = now
            self._room_at = now + seconds_to_first()
        return min(max(self._room_at - now, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)


class _Mean:
    """A mean in which the latest `memory` units of weight count most."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._weight = 0.0
        self._mean = 0.0

    def add(self, value: float, weight: int) -> None:
        self._weight = min(self._weight + weight, max(self._memory, weight))
        self._mean += (value - self._mean) * weight / self._weight

    def value(self, otherwise: float) -> float:
        return self._mean if self._weight else otherwise


def _is_exact(request: EngineRequest) -> bool:
    """Whether the sequence takes `max_tokens` tokens, no fewer."""
    return request.stop_token is None and (request.end_token is None or not request.may_end)
