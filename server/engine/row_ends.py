"""Where rows end: at their end token, at their last stop token, or at their maximum length."""

import numpy as np
from numpy.typing import NDArray

from server.engine.request import EngineRequest

_NO_TOKEN = -1


class RowEnds:
    """What ends the row of each slot.

    Args:
        slots: number of slots.
    """

    def __init__(self, slots: int) -> None:
        self._max_tokens = np.zeros(slots, np.int64)
        self._end_token = np.full(slots, _NO_TOKEN, np.int64)
        self._stop_token = np.full(slots, _NO_TOKEN, np.int64)
        self._stops_left = np.zeros(slots, np.int64)
        self.select(np.zeros(0, np.intp))

    def start(self, slot: int, request: EngineRequest, tokens: NDArray[np.integer]) -> None:
        """Start a row that has the tokens (n,)."""
        self._max_tokens[slot] = request.max_tokens
        self._end_token[slot] = _NO_TOKEN if request.end_token is None else request.end_token
        self._stop_token[slot] = _NO_TOKEN if request.stop_token is None else request.stop_token
        self._stops_left[slot] = request.stop_count - np.count_nonzero(tokens == self._stop_token[slot])

    def copy(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        """Copy what changes with the tokens, from sources (n,) to targets (n,) of the same request."""
        self._stops_left[targets] = self._stops_left[sources]

    def take_back(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Take back the tokens (steps,) that the last `find` counted for a slot."""
        if self._stop_token[slot] != _NO_TOKEN:
            self._stops_left[slot] += np.count_nonzero(tokens == self._stop_token[slot])

    def select(self, rows: NDArray[np.intp]) -> None:
        """Gather the values of the rows of the next chunks, (rows,)."""
        self._rows = rows
        self._max_tokens_rows = self._max_tokens[rows]
        self._end_token_rows = self._end_token[rows, None]
        stop_tokens = self._stop_token[rows, None]
        self._stop_token_rows = stop_tokens if (stop_tokens != _NO_TOKEN).any() else None

    def remaining(self, count: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many tokens the selected rows may still get if they have `count` (rows,)."""
        remaining: NDArray[np.int64] = self._max_tokens_rows - count
        return remaining

    def find(
        self, tokens: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], list[int], list[int]]:
        """Find the ends of the selected rows in a chunk.

        Args:
            tokens: (rows, steps), of the chunk.
            columns: (rows, steps), number of tokens before each.

        Returns:
            Number of tokens of each row without those past its end, (rows,); the slots that got their end token; the
            slots that got their last token otherwise.
        """
        before, steps = columns[:, 0], tokens.shape[1]
        after = before + steps
        limit = self._max_tokens_rows
        if self._stop_token_rows is not None:
            left = self._stops_left[self._rows, None] - np.cumsum(tokens == self._stop_token_rows, axis=1)
            self._stops_left[self._rows] = left[:, -1]
            stops = (left <= 0) & (self._stop_token_rows != _NO_TOKEN)
            limit = np.where(stops.any(axis=1), np.minimum(before + stops.argmax(axis=1) + 1, limit), limit)
        at_limit = after >= limit
        ends = tokens == self._end_token_rows
        ended = []
        if np.count_nonzero(ends):
            ends &= columns < limit[:, None]
            has_ended = ends.any(axis=1)
            after = np.where(has_ended, before + ends.argmax(axis=1) + 1, after)
            at_limit &= ~has_ended
            ended = self._rows[has_ended].tolist()
        return np.minimum(after, limit), ended, self._rows[at_limit].tolist()
