"""The tokens of the running sequences: arrays with one row for each slot."""

import numpy as np
from numpy.typing import NDArray

from runtime.runner import Decoded

_INITIAL_CAPACITY = 1024  # tokens for each slot; grows with the longest request


class TokenStore:
    """Tokens, their log-probabilities, and which of them are given.

    Args:
        slots: number of slots.
        longest_chunk: most steps of a chunk.
    """

    def __init__(self, slots: int, longest_chunk: int) -> None:
        self._longest_chunk = longest_chunk
        self._steps = np.arange(longest_chunk)
        self._tokens = np.zeros((slots, _INITIAL_CAPACITY), np.int32)
        self._log_probabilities = np.zeros((slots, _INITIAL_CAPACITY), np.float32)
        self._given = np.zeros((slots, _INITIAL_CAPACITY), np.bool_)
        self.count = np.zeros(slots, np.int64)
        """(slots,): number of tokens; 0 if no sequence runs in the slot."""

    def start(
        self,
        slot: int,
        max_tokens: int,
        tokens: NDArray[np.integer],
        log_probabilities: NDArray[np.float32] | None,
        given: NDArray[np.bool_],
    ) -> None:
        """Replace what a slot contains.

        Args:
            slot: a slot.
            max_tokens: maximum number of its tokens.
            tokens: (n,), its first tokens.
            log_probabilities: (n,); None if they are not known.
            given: (n,).
        """
        count = len(tokens)
        self._reserve(max_tokens)
        self.count[slot] = count
        self._tokens[slot, :count] = tokens
        self._log_probabilities[slot, :count] = np.nan if log_probabilities is None else log_probabilities
        self._given[slot, :count] = given

    def write(self, rows: NDArray[np.intp], decoded: Decoded, given: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Write the tokens of a chunk behind those of its rows, without counting them.

        Returns:
            (rows, steps), the number of tokens before each of them.
        """
        columns: NDArray[np.int64] = self.count[rows, None] + self._steps[: decoded.tokens.shape[1]]
        # One index into flat arrays takes half the time of an index with rows and columns.
        places = columns + (rows * self._tokens.shape[1])[:, None]
        self._tokens.reshape(-1)[places] = decoded.tokens
        self._log_probabilities.reshape(-1)[places] = decoded.log_probabilities
        self._given.reshape(-1)[places] = given
        return columns

    def copy(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        """Give the targets (n,) the tokens of the sources (n,), none of which is a target."""
        longest = int(self.count[sources].max(initial=0))
        self.count[targets] = self.count[sources]
        for values in (self._tokens, self._log_probabilities, self._given):
            values[targets, :longest] = values[sources, :longest]

    def tokens(self, slot: int, begin: int = 0) -> NDArray[np.int32]:
        """Copy the tokens of a slot from the token `begin` on, (n - begin,)."""
        return self._tokens[slot, begin : self.count[slot]].copy()

    def log_probabilities(self, slot: int, begin: int = 0) -> NDArray[np.float32]:
        """Copy the log-probabilities of these tokens, (n - begin,), as in `Decoded`. NaN where they are not known."""
        return self._log_probabilities[slot, begin : self.count[slot]].copy()

    def given(self, slot: int, begin: int = 0) -> NDArray[np.bool_]:
        """Copy which of these tokens are given, (n - begin,)."""
        return self._given[slot, begin : self.count[slot]].copy()

    def given_sums(self, slots: NDArray[np.intp], begins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum the log-probabilities of the given tokens of some slots, each from its token `begins` on, (n,)."""
        begin, end = int(begins.min()), int(self.count[slots].max())
        columns = np.arange(begin, end)
        counts = self._given[slots, begin:end] & (columns >= begins[:, None]) & (columns < self.count[slots, None])
        sums: NDArray[np.float64] = np.where(counts, self._log_probabilities[slots, begin:end], 0).sum(
            axis=1, dtype=np.float64
        )
        return sums

    def _reserve(self, max_tokens: int) -> None:
        """Make room for the tokens, and for those that a chunk adds past the end."""
        capacity = self._tokens.shape[1]
        needed = max_tokens + self._longest_chunk
        if needed > capacity:
            padding = ((0, 0), (0, max(needed, 2 * capacity) - capacity))
            self._tokens = np.pad(self._tokens, padding)
            self._log_probabilities = np.pad(self._log_probabilities, padding)
            self._given = np.pad(self._given, padding)
