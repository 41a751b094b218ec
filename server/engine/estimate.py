"""When running sequences will finish, from the tokens that they may still take and the measured time of a step."""

import math
from collections import deque
from collections.abc import Callable, Collection
from statistics import fmean
from typing import Final

import numpy as np

from server.engine.request import EngineRequest

MIN_RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 600.0
_STEPS_REMEMBERED: Final = 1024
"""About so many of the latest steps decide what a step takes: a few seconds of them, since a flood of calls takes the
processor away for a moment."""
_WARM_UP_STEPS: Final = 256
"""So many steps does the run count for that was measured at the start."""
_PIECES_REMEMBERED: Final = 32
_FIRST_GUESS_SECONDS: Final = 0.001
"""A step's time while none was measured."""
_FIRST_GUESS_SHARES: Final = (0.01, 0.04, 0.2, 0.75)
"""Shares of `max_tokens` that sequences of unknown length take, while none has finished. They are far apart, since some
sequences end soon; their mean is more than most take."""
_MEDIAN: Final = math.log(2)
"""Many sequences finish independently: when their probabilities of having finished sum to this, one has with 1/2."""


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
        self._shares: deque[float] = deque(maxlen=_PIECES_REMEMBERED)  # the same as `_FIRST_GUESS_SHARES`, measured

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
            self._shares.append(tokens / request.max_tokens)

    def tokens(self, request: EngineRequest) -> float:
        """Tokens that a sequence will probably have when it finishes."""
        return request.max_tokens * (1.0 if _is_exact(request) else fmean(self._known_shares()))

    def seconds(self, tokens: float, sequences: int) -> float:
        """Time in which a sequence takes so many tokens while `sequences` of them run or wait, itself included."""
        running = min(sequences, self._slots)
        step = self._steps.value(_FIRST_GUESS_SECONDS)
        if running >= self._width:
            step = self._full_steps.value(step)
        return tokens * step * max(running / self._width, 1.0)

    def seconds_left(self, request: EngineRequest, taken: int, count: int) -> float:
        """Time until a sequence finishes.

        Args:
            request: what was asked for it.
            taken: tokens that it has.
            count: sequences that run or wait in all.
        """
        return self.seconds(max(self.tokens(request) - _done(request, taken), 1.0), count)

    def seconds_to_first(self, sequences: Collection[tuple[EngineRequest, int]], count: int) -> float:
        """Time until the first of some sequences finishes; 0 if there are none.

        Of many sequences of unknown length the first finishes long before the mean one. So each is taken to become as
        long as one of the latest such sequences that were longer than it is now, all with the same probability, and the
        median of the time to the first is given.

        Args:
            sequences: what was asked for each, and how many tokens it has.
            count: sequences that run or wait in all.
        """
        if not sequences:
            return 0.0
        shares = np.sort(self._known_shares())  # (shares,)
        exact = np.array([_is_exact(request) for request, _ in sequences])  # (sequences,)
        most = np.array([float(request.max_tokens) for request, _ in sequences])
        done = np.array([_done(request, taken) for request, taken in sequences])
        left = most[:, None] * np.where(exact[:, None], 1.0, shares) - done[:, None]  # (sequences, shares)
        possible = left > 0
        possible[:, -1] |= ~possible.any(axis=1)  # one that is longer than all before finishes soon
        probability = (possible / possible.sum(axis=1, keepdims=True))[possible]
        left = np.maximum(left[possible], 1.0)
        order = np.argsort(left)
        first = order[np.searchsorted(np.cumsum(probability[order]), _MEDIAN)]
        return self.seconds(float(left[first]), count)

    def _known_shares(self) -> list[float]:
        return list(self._shares or _FIRST_GUESS_SHARES)  # a copy, since another thread may add to them


class RetryHint:
    """When refused callers should come back, estimated once in a while: in a flood thousands are refused in a second.

    Args:
        shared_seconds: calls that are refused within this time share an estimate.
    """

    def __init__(self, shared_seconds: float) -> None:
        self._shared_seconds = shared_seconds
        self._estimated_at = -math.inf
        self._room_at = 0.0  # when there is room, as estimated last

    def seconds(self, seconds_to_room: Callable[[], float], now: float) -> float:
        """Time until there is room, within bounds.

        Args:
            seconds_to_room: estimates it; called if the last estimate is too old.
            now: in seconds of a monotonic clock.
        """
        if now - self._estimated_at >= self._shared_seconds:
            self._estimated_at = now
            self._room_at = now + seconds_to_room()
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


def _done(request: EngineRequest, taken: int) -> int:
    """Tokens that cost no time any more: those taken, and forced ones, which take next to none."""
    return max(taken, len(request.forced))


def _is_exact(request: EngineRequest) -> bool:
    """Whether the sequence takes `max_tokens` tokens, no fewer."""
    return request.stop_token is None and (request.end_token is None or not request.may_end)
