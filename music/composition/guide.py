"""Instructions for each step of a sequence: the forced token, or the biases of the tokens to sample from.

Given notes, ranges, scales, chords, endings and densities are all the same to the engine: at every step a token is
forced or sampled, and a sampled one has a bias. A finite number in a bias makes a token more or less likely;
`music.grammar.FORBIDDEN` forbids it. The grammar of the tokenizer applies as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAMPLED: Final = -1
"""In place of a forced token: the token is sampled."""
NO_BIAS: Final = 0
"""Index of the bias row of zeros."""


@dataclass(frozen=True, slots=True, eq=False)
class Instructions:
    """What a sequence is told for its next steps."""

    forced: NDArray[np.int64]
    """(steps,), at least one: the forced token, or `SAMPLED`."""
    bias: NDArray[np.int64]
    """(steps,): index of a row of `Guide.biases`; from its length on, of `extra`."""
    extra: Sequence[NDArray[np.float32]] = field(default=())
    """Rows (vocabulary,) that only these instructions use."""
    resample: bool = False
    """Whether particles may be resampled after the last of these steps: it is forced, and sampled tokens follow."""
    is_shared: bool = False
    """Whether every cursor of the guide gets these instructions after as many tokens, whatever these are. Only without
    `extra`. The engine then asks one cursor for all candidates that are at the same step."""
    guessed: int = 0
    """How many of the last steps are guesses: their biases depend on tokens that are not known yet. `Cursor.advance`
    finds out whether a guess was right. Less than all, and 0 unless `Cursor.guesses`."""


class Guide(ABC):
    """The instructions of a request. It does not change; all candidates of the request share it."""

    biases: NDArray[np.float32]
    """(rows, vocabulary): the bias rows; row `NO_BIAS` is all zeros."""

    @abstractmethod
    def cursor(self) -> "Cursor":
        """A new cursor before the first step, the forced tokens at the start of the sequence included."""


class Cursor(ABC):
    """One candidate's place in its instructions."""

    resampling: bool = True
    """Whether instructions must end at a step after which particles may be resampled. The engine sets it to False at
    the start if it never resamples, so that it gets more steps at once."""
    guesses: bool = False
    """Whether instructions may end with guesses. The engine sets it to True where it can repeat steps."""

    @abstractmethod
    def instructions(self, limit: int) -> Instructions:
        """The instructions for the next steps: as many as are known now, at least one and at most `limit`.

        If `resampling`, they end at a step after which particles may be resampled. If `guesses`, steps that are not
        known yet may follow. After the end of the piece, steps are free.

        Raises:
            NoTokenLeftError: the tokens so far leave no token for the next step that satisfies all constraints.
        """

    @abstractmethod
    def advance(self, tokens: NDArray[np.integer[Any]]) -> int:
        """Move past the tokens (n,) that the next n steps gave, n at most the number of steps told before.

        Returns:
            How many tokens it moved past: those before the first step whose guess was wrong, n if none was. The same
            instructions give these tokens again. The others do not count.
        """

    @abstractmethod
    def copy(self) -> "Cursor":
        """A cursor at the same place, which moves on its own."""

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether the piece is complete. A piece of a fixed number of tokens may leave that to `max_tokens`."""

    def replay(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Move past tokens (n,) that the sequence has already; return which of them are forced, (n,).

        Raises:
            NoTokenLeftError: see `instructions`.
        """
        forced = np.zeros(len(tokens), np.bool_)
        place = 0
        while place < len(tokens):
            told = self.instructions(len(tokens) - place).forced
            passed = self.advance(tokens[place : place + len(told)])
            forced[place : place + passed] = told[:passed] != SAMPLED
            place += passed
        return forced
