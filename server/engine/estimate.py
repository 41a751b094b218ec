"""Estimates when sequences finish, from the tokens that they may still take and the measured duration of a step."""

import heapq
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.engine.request import EngineRequest
from server.engine.step_costs import StepCosts

MIN_RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 600.0
_DOUBT_SECONDS: Final = 10.0
"""How long requests are refused for the same measurements. A refused request measures nothing, so wrong ones would last
for ever."""
_LENGTH_MEMORY: Final = 32
"""How many of the latest lengths are kept."""
_DEFAULT_LENGTH_RATIOS: Final = (0.01, 0.04, 0.2, 0.75)
"""Lengths of sequences of unknown length, relative to `max_tokens`, before one has finished. They are far apart because
some sequences end soon. Their mean is more than most sequences take."""
_LN_2: Final = math.log(2)
"""Many sequences finish independently. When their probabilities of having finished sum to this, the probability that at
least one has finished is 1/2."""


class FinishEstimate:
    """Measures the duration of a step, and the lengths of sequences whose length the request does not fix.

    The engine's thread records. Any thread may read.

    Args:
        max_batch_size: maximum number of rows of one run; more active sequences take turns.
        slots: maximum number of active sequences.
    """

    def __init__(self, max_batch_size: int, slots: int) -> None:
        self._max_batch_size = max_batch_size
        self._slots = slots
        self._step_costs = StepCosts(max_batch_size)
        self._measured_at = -math.inf
        self._refused_at = -math.inf  # the first refusal since then, or since a request was allowed in spite of it
        self._length_ratios: deque[float] = deque(maxlen=_LENGTH_MEMORY)  # length / max_tokens

    def record_chunk(self, batch_size: int, steps: int, seconds: float, now: float) -> None:
        """Record the duration of a turn with a chunk of `steps` steps for `batch_size` rows, which ended now."""
        self._step_costs.record(batch_size, steps, seconds, now)
        self._measured_at = now

    def confirm_refusal(self, now: float) -> bool:
        """Whether a request may be refused because of its estimated duration.

        If requests are still refused 10 s after the first of them and no step was measured since, one is allowed. It
        shows whether the estimates are right.

        Args:
            now: seconds of a monotonic clock.
        """
        if self._refused_at <= self._measured_at:
            self._refused_at = now
        if now - self._refused_at < _DOUBT_SECONDS:
            return True
        self._refused_at = now
        return False

    def record_length(self, request: EngineRequest, tokens: int) -> None:
        """Record the length of a complete candidate."""
        if not _has_exact_length(request):
            self._length_ratios.append(tokens / request.max_tokens)

    def expected_tokens(self, request: EngineRequest) -> float:
        """Estimate the length of one candidate in tokens."""
        return request.max_tokens * (1.0 if _has_exact_length(request) else fmean(self._known_length_ratios()))

    def token_seconds(self, rows: int, *, least: bool = False) -> float:
        """Estimate how long a row needs for a token.

        Args:
            rows: rows that run or wait, itself included.
            least: whether chunks are as long as is best, instead of as long as those of late.
        """
        return float(self._token_seconds(np.array([rows]), least=least)[0])

    def tokens_left(self, request: EngineRequest, token_count: int) -> float:
        """Estimate how many tokens that take time each row of a sequence still gets, at least 1.

        Args:
            request: its request.
            token_count: tokens that each of its rows has.
        """
        return max(self.expected_tokens(request) - _tokens_done(request, token_count), 1.0)

    def least_seconds(self, tokens: float, rows: int, others: Iterable[tuple[float, int]]) -> float:
        """Estimate how long a sequence takes at least, if none comes after it.

        The batch becomes smaller whenever another sequence finishes.

        Args:
            tokens: number of tokens that each of its rows gets.
            rows: number of its rows.
            others: of each sequence that runs beside it, the tokens left and the rows.
        """
        ordered = sorted(others)
        ends = np.array([0.0, *(min(left, tokens) for left, _ in ordered), tokens])
        leaving = np.array([0, *(count for _, count in ordered)], np.int64)
        batch_sizes = rows + leaving.sum() - leaving.cumsum()  # (periods,)
        return float(np.diff(ends) @ self._token_seconds(batch_sizes, least=True))

    def _token_seconds(self, rows: NDArray[np.int64], *, least: bool) -> NDArray[np.float64]:
        """The seconds of a token, (n,), for each number of rows, (n,). More rows than fit in one run take turns."""
        active = np.minimum(rows, self._slots)
        batch_sizes = np.minimum(active, self._max_batch_size)
        costs = self._step_costs
        step_seconds = costs.least_seconds(batch_sizes) if least else costs.present_seconds(batch_sizes)
        return step_seconds * np.maximum(active / self._max_batch_size, 1.0)

    def seconds_to_first_finish(self, candidates: Collection[tuple[EngineRequest, int]], rows: int) -> float:
        """Estimate when the first of some sequences finishes; 0 if there are none.

        Of many sequences of unknown length, the first one finishes long before a mean one. So each sequence gets a
        distribution of lengths: the recorded lengths that are greater than its present length, with equal probability.
        The result is the median of the time to the first finish.

        Args:
            candidates: the request of each sequence, and the number of tokens that each of its rows has.
            rows: rows that run or wait.
        """
        if not candidates:
            return 0.0
        ratios = np.sort(self._known_length_ratios())  # (ratios,)
        exact = np.array([_has_exact_length(request) for request, _ in candidates])  # (candidates,)
        max_tokens = np.array([float(request.max_tokens) for request, _ in candidates])
        done = np.array([_tokens_done(request, token_count) for request, token_count in candidates])
        left = max_tokens[:, None] * np.where(exact[:, None], 1.0, ratios) - done[:, None]  # (candidates, ratios)
        possible = left > 0
        possible[:, -1] |= ~possible.any(axis=1)  # a sequence longer than all recorded ones: it finishes soon
        probability = (possible / possible.sum(axis=1, keepdims=True))[possible]
        left = np.maximum(left[possible], 1.0)
        order = np.argsort(left)
        first = order[np.searchsorted(np.cumsum(probability[order]), _LN_2)]
        return float(left[first]) * self.token_seconds(rows)

    def _known_length_ratios(self) -> list[float]:
        return list(self._length_ratios or _DEFAULT_LENGTH_RATIOS)  # a copy: another thread may append


def time_until_free(
    slots: int, running: Iterable[tuple[float, int]], waiting: Iterable[tuple[float, int]], wanted: int
) -> float:
    """Estimate when slots are free for a request behind a queue, first come, first served.

    Args:
        slots: number of slots.
        running: the time left of each running sequence, in any unit, and the slots that it holds.
        waiting: the time that each waiting sequence will run, and its slots; the oldest first.
        wanted: slots of the request, at most `slots`.
    """
    ends = list(running)  # a heap of when slots become free
    heapq.heapify(ends)
    free = slots - sum(held for _, held in ends)
    now = 0.0
    for duration, rows in [*waiting, (0.0, wanted)]:
        while free < rows:
            end, freed = heapq.heappop(ends)
            now = max(now, end)
            free += freed
        free -= rows
        heapq.heappush(ends, (now + duration, rows))
    return now


class RetryHint:
    """When refused callers should retry.

    Callers share an estimate, because under overload the engine refuses thousands of them in a second.

    Args:
        shared_seconds: how long an estimate is used.
    """

    def __init__(self, shared_seconds: float) -> None:
        self._shared_seconds = shared_seconds
        self._estimated_at = -math.inf
        self._room_at = 0.0  # the latest estimate, as a time

    def seconds(self, seconds_to_room: Callable[[], float], now: float) -> float:
        """Return the time until there is room, from 0.1 to 600 s.

        Args:
            seconds_to_room: makes an estimate; called if the latest one is too old.
            now: seconds of a monotonic clock.
        """
        if now - self._estimated_at >= self._shared_seconds:
            self._estimated_at = now
            self._room_at = now + seconds_to_room()
        return min(max(self._room_at - now, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)


def _tokens_done(request: EngineRequest, token_count: int) -> int:
    """Count the tokens that need no more time: those it has, and forced ones, which take next to none."""
    return max(token_count, request.known_count)


def _has_exact_length(request: EngineRequest) -> bool:
    """Whether the sequence always becomes `max_tokens` long."""
    return request.stop_token is None and (request.end_token is None or not request.may_end)
