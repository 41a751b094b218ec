"""The running sequences as arrays, a row for each slot, so that a turn costs no Python per sequence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.engine.draws import Draws
from server.engine.request import EngineRequest
from server.engine.rota import Rota
from server.engine.runner import Chunk, Runner

_NO_TOKEN = -1
_NOBODY = np.zeros(0, np.int64)
_FIRST_CAPACITY = 1024  # tokens a slot; grows with the longest request


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """What a chunk brought."""

    width: int
    """How many sequences it had; 0 where none ran."""
    steps: int
    """How many steps it had; 0 where none ran."""
    spoke: list[int]
    """Slots whose first sampled token it held (the last forced one, if none is sampled)."""
    ended: list[int]
    """Slots whose end token it held."""
    full: list[int]
    """Slots that have all the tokens they asked for, or all the stop tokens, and no end token."""


class Batch:
    """What every sequence that decodes is doing, and what it has produced.

    A sequence that has taken k tokens is at step k: its next token uses draw k of its seed. Where more decode than one
    run takes, they take turns; whoever still awaits its first sampled token goes first.
    """

    def __init__(self, runner: Runner) -> None:
        slots, longest_chunk = runner.slots, runner.chunk_sizes[-1]
        self._longest_chunk = longest_chunk
        self._draws = Draws(slots, longest_chunk)
        self._forced: dict[int, NDArray[np.int64]] = {}  # only of slots that still have some to take
        self._taken = np.zeros(slots, np.int64)
        self._limit = np.zeros(slots, np.int64)
        self._silent = np.zeros(slots, np.int64)  # tokens before the first one that somebody awaits
        self._end_token = np.full(slots, _NO_TOKEN, np.int64)
        self._stop_token = np.full(slots, _NO_TOKEN, np.int64)
        self._stops_left = np.zeros(slots, np.int64)
        self._temperature = np.ones(slots, np.float32)
        self._top_k = np.zeros(slots, np.int64)
        self._top_p = np.ones(slots, np.float32)
        self._allowed = np.ones((slots, runner.vocabulary), np.bool_)
        self._tokens = np.zeros((slots, _FIRST_CAPACITY), np.int32)
        self._steps = np.arange(longest_chunk)
        self._rota = Rota(runner.width)
        self._turn: list[int] = []  # who runs in the next chunk
        self._mute: set[int] = set()  # those whose first sampled token is still to come
        self._gather()

    @property
    def width(self) -> int:
        """Number of sequences that decode, whoever's turn it is."""
        return len(self._rota)

    @property
    def awaited(self) -> bool:
        """Whether somebody has no sampled token yet."""
        return bool(self._mute)

    def join(self, slot: int, request: EngineRequest, *, taken: NDArray[np.integer] = _NOBODY) -> None:
        """Begin a sequence in a free slot.

        Args:
            slot: where.
            request: what was asked.
            taken: (n,), the tokens that it has already, forced or sampled; they do not finish it.
        """
        count = len(taken)
        assert count < request.max_tokens
        self._rota.enter(slot)
        self._draws.open(slot, request.seed)
        self._taken[slot] = count
        self._limit[slot] = request.max_tokens
        self._silent[slot] = min(len(request.forced), request.max_tokens - 1)
        self._temperature[slot] = request.sampling.temperature
        self._top_k[slot] = request.sampling.top_k
        self._top_p[slot] = request.sampling.top_p
        self._allowed[slot] = request.allowed(self._allowed.shape[1])
        self._end_token[slot] = _NO_TOKEN if request.end_token is None else request.end_token
        self._stop_token[slot] = _NO_TOKEN if request.stop_token is None else request.stop_token
        self._stops_left[slot] = request.stop_count
        self._reserve(request.max_tokens)
        self._tokens[slot, :count] = taken
        self._stops_left[slot] -= np.count_nonzero(taken == self._stop_token[slot])
        if count < len(request.forced):
            self._forced[slot] = np.array(request.forced, np.int64)
        if count <= self._silent[slot]:
            self._mute.add(slot)

    def leave(self, slot: int) -> None:
        """Forget a sequence."""
        self._rota.leave(slot)
        self._mute.discard(slot)
        self._taken[slot] = 0
        self._forced.pop(slot, None)

    def clear(self) -> None:
        """Forget every sequence."""
        self._rota.clear()
        self._mute.clear()
        self._taken[:] = 0
        self._forced.clear()

    def taken(self, slot: int) -> int:
        """Count the tokens that the slot's sequence has produced; 0 if none runs in it."""
        return int(self._taken[slot])

    def tokens(self, slot: int) -> NDArray[np.int32]:
        """Copy what the slot's sequence has produced, (n,); before it leaves."""
        return self._tokens[slot, : self._taken[slot]].copy()

    def turn(self) -> None:
        """Settle who runs in the next chunk; at least one sequence must decode."""
        turn = self._rota.turn(self._mute)
        if turn is not self._turn:
            self._turn = turn
            self._gather()

    def remaining(self) -> NDArray[np.int64]:
        """Count the tokens that each of those whose turn it is has yet to take at most, (rows,), each at least 1."""
        left: NDArray[np.int64] = self._limit_rows - self._taken[self._rows]
        return left

    def until_first_token(self) -> NDArray[np.int64]:
        """Count the steps to the first sampled token of those whose turn it is and who have none yet, (n,), from 1."""
        if not self._mute:  # as it mostly is
            return _NOBODY
        mute = [slot for slot in self._turn if slot in self._mute]
        left: NDArray[np.int64] = self._silent[mute] + 1 - self._taken[mute]
        return left

    def chunk(self, steps: int) -> Chunk:
        """Gather what the runner needs for the next `steps` steps of those whose turn it is."""
        return Chunk(
            rows=self._rows,
            uniforms=self._draws.take(self._rows, self._taken[self._rows], steps),
            forced=self._next_forced(steps),
            temperature=self._temperature_rows,
            top_k=self._top_k_rows,
            top_p=self._top_p_rows,
            allowed=self._allowed_rows,
        )

    def take(self, tokens: NDArray[np.int64]) -> Progress:
        """Keep the tokens (rows, steps) of the chunk just run, up to each sequence's end."""
        rows, steps = self._rows, tokens.shape[1]
        assert tokens.shape == (len(rows), steps), f"tokens came in the shape {tokens.shape}"
        before = self._taken[rows]
        columns = before[:, None] + self._steps[:steps]
        self._tokens[rows[:, None], columns] = tokens
        after = before + steps
        limit = self._limit_rows
        if self._stop_token_rows is not None:
            left = self._stops_left[rows, None] - np.cumsum(tokens == self._stop_token_rows, axis=1)
            self._stops_left[rows] = left[:, -1]
            stops = (left <= 0) & (self._stop_token_rows != _NO_TOKEN)
            limit = np.where(stops.any(axis=1), np.minimum(before + stops.argmax(axis=1) + 1, limit), limit)
        full = after >= limit
        ends = tokens == self._end_token_rows
        ended = []
        if np.count_nonzero(ends):
            ends &= columns < limit[:, None]
            has_ended = ends.any(axis=1)
            after = np.where(has_ended, before + ends.argmax(axis=1) + 1, after)
            full &= ~has_ended
            ended = rows[has_ended].tolist()
        self._taken[rows] = np.minimum(after, limit)
        filled: list[int] = rows[full].tolist()
        # A stop token among the forced ones may fill a sequence before it samples any.
        spoke = [slot for slot in sorted(self._mute) if self._taken[slot] > self._silent[slot] or slot in filled]
        self._mute.difference_update(spoke)
        return Progress(len(rows), steps, spoke, ended, filled)

    def _next_forced(self, steps: int) -> NDArray[np.int64]:
        forced = np.full((len(self._rows), steps), _NO_TOKEN, np.int64)
        if not self._forced:  # as it mostly is
            return forced
        for place, slot in enumerate(self._turn):
            told = self._forced.get(slot)
            if told is None:
                continue
            now = told[self._taken[slot] : self._taken[slot] + steps]
            if len(now):
                forced[place, : len(now)] = now
            else:
                del self._forced[slot]
        return forced

    def _reserve(self, max_tokens: int) -> None:
        """Make room for the tokens, and for those past the end that a chunk may bring."""
        slots, capacity = self._tokens.shape
        needed = max_tokens + self._longest_chunk
        if needed > capacity:
            wider = np.zeros((slots, max(needed, 2 * capacity)), np.int32)
            wider[:, :capacity] = self._tokens
            self._tokens = wider

    def _gather(self) -> None:
        """Gather what changes only when others run than ran before."""
        self._rows = np.array(self._turn, np.intp)
        self._temperature_rows = self._temperature[self._rows]
        self._top_k_rows = self._top_k[self._rows]
        self._top_p_rows = self._top_p[self._rows]
        self._allowed_rows = self._allowed[self._rows]
        for lent in (self._rows, self._temperature_rows, self._top_k_rows, self._top_p_rows, self._allowed_rows):
            lent.setflags(write=False)
        self._limit_rows = self._limit[self._rows]
        self._end_token_rows = self._end_token[self._rows, None]
        stop_tokens = self._stop_token[self._rows, None]
        self._stop_token_rows = stop_tokens if (stop_tokens != _NO_TOKEN).any() else None
