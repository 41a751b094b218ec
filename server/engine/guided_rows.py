"""The rows of requests with a guide: where each stands in its instructions."""

from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import Cursor, Guide, Instructions
from music.grammar import FORBIDDEN
from server.engine.bias_table import BiasTable

_NO_STEPS = np.zeros(0, np.int64)


def without_token(bias: NDArray[np.float32], token: int | None) -> NDArray[np.float32]:
    """Return a bias row (vocabulary,) that also forbids a token; the row itself for None."""
    if token is None:
        return bias
    bias = bias.copy()
    bias[token] = FORBIDDEN
    return bias


def check_instructions(instructions: Instructions, vocabulary: int) -> None:
    """Check what would make a run fail for all rows.

    Raises:
        ValueError: there is no step, a step has no bias, or a token or a bias row does not exist.
    """
    steps = len(instructions.forced)
    if not steps or len(instructions.bias) != steps or max(instructions.forced.tolist()) >= vocabulary:
        raise ValueError("a guide gave no step, a step without a bias, or a token that is not in the vocabulary")


class RowOutcome(Enum):
    """Where a row stands after a chunk."""

    GOES_ON = auto()
    """It goes on."""
    AT_RESAMPLING = auto()
    """It goes on, and particles may be resampled first."""
    COMPLETE = auto()
    """Its piece is complete."""
    REJECTED = auto()
    """A guess was wrong: the chunk does not count, and the row runs again from where it stood before."""


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """Instructions, with the rows of the bias table."""

    forced: NDArray[np.int64]
    bias_index: NDArray[np.int64]
    resample: bool
    extra: list[int]
    """Rows of the bias table that these instructions alone use."""
    guessed: int = 0
    """How many of the last steps are guesses."""

    @property
    def steps(self) -> int:
        return len(self.forced)


_NOTHING = _Told(_NO_STEPS, _NO_STEPS, resample=False, extra=[])


@dataclass(slots=True, eq=False)
class _SharedGuide:
    """What all rows of one guide share."""

    guide: Guide
    banned: int | None
    table_index: NDArray[np.int64]
    """(rows of the guide,): its rows in the bias table."""
    users: int = 0
    step: int = -1
    """The step of `told`."""
    told: _Told = _NOTHING
    """The latest shared instructions."""


@dataclass(slots=True, eq=False)
class _Row:
    """One row, and the instructions that it has not used up."""

    cursor: Cursor
    shared: _SharedGuide
    step: int
    """Number of tokens that the cursor has passed."""
    told: _Told = _NOTHING
    used: int = 0
    """Steps of the instructions that the row has passed."""
    ahead: int = 0
    """Number of tokens that the cursor has passed and the row has not: the right ones of a rejected chunk."""


class GuidedRows:
    """The cursors of guided rows and the instructions for their next steps, by slot.

    A guide is code of a tokenizer. An exception that it raises concerns its own request alone, so methods return it.

    Args:
        biases: takes the bias rows of guides.
        vocabulary: number of token ids.
        longest_chunk: most steps to ask a cursor for.
    """

    def __init__(self, biases: BiasTable, vocabulary: int, longest_chunk: int) -> None:
        self._biases = biases
        self._vocabulary = vocabulary
        self._longest_chunk = longest_chunk
        self._rows: dict[int, _Row] = {}
        self._guides: dict[tuple[int, int | None], _SharedGuide] = {}  # by the guide's id and the banned token

    def __contains__(self, slot: int) -> bool:
        return slot in self._rows

    def start(
        self,
        slot: int,
        guide: Guide,
        banned: int | None,
        tokens: NDArray[np.integer],
        later: NDArray[np.integer],
        *,
        resampling: bool = True,
    ) -> NDArray[np.bool_] | Exception:
        """Start a row.

        Args:
            slot: a slot without one.
            guide: of the row's request.
            banned: a token that is never sampled.
            tokens: (n,), the tokens that the row already has.
            later: (m,), tokens that it will take before it samples the next one; they must not complete the piece.
            resampling: whether the row is a particle. All rows of a guide are, or none is.

        Returns:
            (n,), which of the tokens the guide forces; or why the row cannot start.
        """
        try:
            cursor = guide.cursor()
            cursor.resampling = resampling
            given = cursor.replay(tokens)
            if len(later):
                ahead = cursor.copy()
                ahead.replay(later)
                complete = ahead.complete
            else:
                complete = cursor.complete
            if complete:
                raise ValueError("the tokens that a row starts with complete its piece")
        except Exception as error:
            return error
        cursor.guesses = True
        self._rows[slot] = _Row(cursor, self._register(guide, banned), len(tokens))
        failure = self._fetch(self._rows[slot])
        if failure is not None:
            self.remove(slot)
            return failure
        return given

    def remove(self, slot: int) -> None:
        """Remove the row of a slot. It must be there."""
        row = self._rows.pop(slot)
        self._release(row.told.extra)
        shared = row.shared
        shared.users -= 1
        if not shared.users:
            del self._guides[id(shared.guide), shared.banned]
            self._release(shared.table_index.tolist())

    def known_steps(self, slot: int) -> int:
        """Return for how many steps the row has instructions, guesses included, at least 1."""
        row = self._rows[slot]
        return row.told.steps - row.used

    def fill(self, slot: int, forced: NDArray[np.int64], bias_index: NDArray[np.int64]) -> None:
        """Write the instructions for the next steps into the inputs of a chunk, each (steps,)."""
        row = self._rows[slot]
        begin, end = row.used, row.used + len(forced)
        forced[:] = row.told.forced[begin:end]
        bias_index[:] = row.told.bias_index[begin:end]

    def advance(self, slot: int, tokens: NDArray[np.int64], *, goes_on: bool = True) -> RowOutcome | Exception:
        """Move past the tokens (n,) of a chunk.

        Args:
            slot: of the row.
            tokens: (n,).
            goes_on: whether the row needs instructions for another chunk, if its piece is not complete and no guess
                was wrong.

        Returns:
            Where the row stands; or why it cannot go on, such as a `NoTokenLeftError`.
        """
        row = self._rows[slot]
        count, known = len(tokens), min(row.ahead, len(tokens))
        try:
            passed = known + row.cursor.advance(tokens[known:])
            row.step += passed - known
            if passed < count:
                self._go_back(row, passed)
                return RowOutcome.REJECTED
            row.used += count
            row.ahead -= known
            if row.cursor.complete:
                return RowOutcome.COMPLETE
        except Exception as error:
            return error
        if row.used < row.told.steps - row.told.guessed or not goes_on:
            return RowOutcome.GOES_ON
        resample = row.used == row.told.steps and row.told.resample
        failure = self._fetch(row)
        if failure is not None:
            return failure
        return RowOutcome.AT_RESAMPLING if resample else RowOutcome.GOES_ON

    def completing_tokens(self, slot: int, before: NDArray[np.integer], tokens: NDArray[np.integer]) -> int:
        """Return how many of the tokens (steps,) that the row just passed complete its piece.

        A guide may tell steps past the end, so the piece may be complete in the middle of a chunk.

        Args:
            slot: of the row, whose piece is complete.
            before: (n,), its tokens before these.
            tokens: (steps,).
        """
        if len(tokens) <= 1:
            return len(tokens)
        cursor = self._rows[slot].shared.guide.cursor()
        cursor.replay(before)
        for count in range(1, len(tokens)):
            cursor.replay(tokens[count - 1 : count])
            if cursor.complete:
                return count
        return len(tokens)

    def copy(self, source: int, target: int) -> None:
        """Give a row the place of another one of the same request."""
        row, copied = self._rows[source], self._rows[target]
        unused, told = copied.told.extra, row.told
        if told.extra:  # each row refers to them once
            told = replace(told, extra=[self._biases.add(self._biases.rows[index]) for index in told.extra])
        self._release(unused)
        copied.cursor, copied.told, copied.used, copied.step = row.cursor.copy(), told, row.used, row.step
        copied.ahead = row.ahead

    def _go_back(self, row: _Row, passed: int) -> None:
        """Tell a row whose chunk does not count its first `passed` tokens again, and what follows them."""
        told, again = row.told, slice(row.used, row.used + passed)
        try:
            after = self._ask(row)
        except Exception:  # it is raised again when the row has these tokens
            after = _NOTHING
        row.told = _Told(
            np.concatenate([told.forced[again], after.forced]),
            np.concatenate([told.bias_index[again], after.bias_index]),
            after.resample,
            [*told.extra, *after.extra],
            after.guessed,
        )
        row.used, row.ahead = 0, passed

    def _fetch(self, row: _Row) -> Exception | None:
        """Take the next instructions: the shared ones, or those of the cursor."""
        unused, shared = row.told.extra, row.shared
        row.told, row.used = _NOTHING, 0
        try:
            row.told = shared.told if shared.step == row.step else self._ask(row)
        except Exception as error:
            return error
        finally:
            if unused:
                self._release(unused)  # after the new ones are added, for equal rows keep their place
        return None

    def _ask(self, row: _Row) -> _Told:
        instructions, shared = row.cursor.instructions(self._longest_chunk), row.shared
        check_instructions(instructions, self._vocabulary)
        index, extra = shared.table_index, [self._add(bias, shared.banned) for bias in instructions.extra]
        if extra:
            index = np.concatenate([index, np.array(extra, np.int64)])
        try:
            bias_index = index[instructions.bias]
        except IndexError:
            self._release(extra)
            raise
        told = _Told(instructions.forced, bias_index, instructions.resample, extra, instructions.guessed)
        if instructions.is_shared and not extra:
            shared.step, shared.told = row.step, told
        return told

    def _register(self, guide: Guide, banned: int | None) -> _SharedGuide:
        key = (id(guide), banned)
        if key not in self._guides:
            index = np.array([self._add(bias, banned) for bias in guide.biases], np.int64)
            self._guides[key] = _SharedGuide(guide, banned, index)
        self._guides[key].users += 1
        return self._guides[key]

    def _add(self, bias: NDArray[np.float32], banned: int | None) -> int:
        return self._biases.add(without_token(bias, banned))

    def _release(self, table_rows: list[int]) -> None:
        for index in table_rows:
            self._biases.release(index)
