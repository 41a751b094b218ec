"""How much of a piece is left: counted down token by token, and the features of it that the network sees."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

UNKNOWN: Final = -1
"""In place of a remaining length: the network is not told when the piece ends."""
MAX_BARS: Final = 32
"""Longer remaining lengths share a feature value."""
MAX_SINGLE_STEPS: Final = 96
"""The same for the feature that counts steps."""


@dataclass(frozen=True, slots=True, eq=False)
class RemainingLength:
    """Counts how much of a piece is left before each token, and makes features of it.

    The unit is a token. If the number of tokens of a bar varies, the unit is a bar: each bar token ends one, and the
    end token or the last bar token ends the last one. Before the first token, the remaining length is that of the whole
    piece, the end token not counted.

    A feature is a number of steps or bars, the present one included, up to a limit: the remaining length plus an
    offset, divided by a divisor, rounded up. The position index gives offset and divisor. Each feature is embedded on
    its own. Value 0 stands for an unknown length, value 1 + n for n.
    """

    unit_token: int | None
    """The token that ends a unit; None: every token is one."""
    offsets: NDArray[np.int64]
    """(positions, features): units since the beginning of the present bar, for a feature that counts bars; else 0."""
    divisors: NDArray[np.int64]
    """(positions, features): units of a step or of a bar, each at least 1."""
    limits: tuple[int, ...]
    """Greatest quotient of each feature that has a value of its own."""

    @classmethod
    def in_tokens(
        cls, step_tokens: int, bar_tokens: NDArray[np.int64], tokens_into_bar: NDArray[np.int64], *, single_steps: int
    ) -> "RemainingLength":
        """Count tokens; the features are steps near the end, and bars.

        Args:
            step_tokens: tokens of a step.
            bar_tokens: (positions,), tokens of a bar at each position index.
            tokens_into_bar: (positions,), tokens of the present bar before each position index.
            single_steps: number of last steps that each have a value of their own.
        """
        positions = len(bar_tokens)
        return cls(
            None,
            np.stack([np.zeros(positions, np.int64), tokens_into_bar], axis=1),
            np.stack([np.full(positions, step_tokens), bar_tokens], axis=1),
            (min(single_steps, MAX_SINGLE_STEPS), MAX_BARS),
        )

    @classmethod
    def in_bars(cls, bar_token: int) -> "RemainingLength":
        """Count bars, at a single position index."""
        return cls(bar_token, np.zeros((1, 1), np.int64), np.ones((1, 1), np.int64), (MAX_BARS,))

    @property
    def feature_sizes(self) -> tuple[int, ...]:
        """Number of values of each feature."""
        return tuple(limit + 2 for limit in self.limits)

    def of_piece(self, tokens: NDArray[np.integer[Any]]) -> int:
        """The length of a whole piece (n,) tokens, of which the last one is the end token."""
        return len(tokens) - 1 if self.unit_token is None else 1 + int(np.count_nonzero(tokens == self.unit_token))

    def before(self, start: int, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The remaining length before each of the tokens (n,) and after the last one, (n + 1,).

        Args:
            start: the remaining length before the first token, or `UNKNOWN`.
            tokens: from then on.
        """
        if start == UNKNOWN:
            return np.full(len(tokens) + 1, UNKNOWN, np.int64)
        ended = np.ones(len(tokens), np.int64) if self.unit_token is None else tokens == self.unit_token
        left: NDArray[np.int64] = np.maximum(start - np.cumsum([0, *ended]), 0)
        return left

    def features(self, remaining: NDArray[np.int64], position_indices: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The features (..., features) of remaining lengths (...) at position indices (...)."""
        divisors = self.divisors[position_indices]
        quotients = (remaining[..., None] + self.offsets[position_indices] + divisors - 1) // divisors
        values = 1 + np.minimum(quotients, np.array(self.limits))
        found: NDArray[np.int64] = np.where(remaining[..., None] == UNKNOWN, 0, values)
        return found
