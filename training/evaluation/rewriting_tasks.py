"""Real pieces of which a part is taken away, to be written anew by a model."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from music.composition.task import Constraints, Length, Region, WritingTask
from music.score import Meter
from music.tokenizers import GridTokenizer, Tokenizer
from music.tokenizers.grid_plan import GridPlan, plan_grid
from training.errors import CorpusError
from training.evaluation.pieces import TokenizedPiece

_INFILLED_BARS = 2


class Part(StrEnum):
    """What of a piece is given."""

    SOPRANO = "soprano"
    """The highest voice; the others are written."""
    BASS = "bass"
    """The lowest voice; the others are written."""
    UPPER = "upper"
    """All voices but the lowest, which is written."""
    INFILL = "infill"
    """All but two bars in the middle."""

    @property
    def description(self) -> str:
        """A heading for a table."""
        return {
            Part.SOPRANO: "Soprano given, the other voices written",
            Part.BASS: "Bass given, the other voices written",
            Part.UPPER: "Upper voices given, the bass written",
            Part.INFILL: "Two bars of all voices written, the rest given",
        }[self]


@dataclass(frozen=True, slots=True, eq=False)
class RewritingTask:
    """A real piece, and the plan to write a part of it anew."""

    piece: TokenizedPiece
    plan: GridPlan
    given: NDArray[np.bool_]
    """(n,): which tokens are given."""
    after: NDArray[np.bool_]
    """(n,): given tokens of the bar after the infilled ones; none if no bars are infilled."""

    @property
    def tokens(self) -> NDArray[np.int32]:
        """The tokens of the real piece, (n,), without the end token."""
        return self.piece.encoding.tokens[:-1]

    @property
    def written_cells(self) -> NDArray[np.bool_]:
        """(steps, voices): where tokens are written."""
        return self.plan.given.sampled


def parts_of(tokenizer: Tokenizer) -> list[Part]:
    """The parts that can be given to models with this tokenizer.

    Raises:
        CorpusError: the tokenizer does not keep voices apart.
    """
    if not isinstance(tokenizer, GridTokenizer):
        raise CorpusError(f"partly given pieces are evaluated for grid tokenizers alone, not for {tokenizer.name}")
    if tokenizer.voices == 1:
        return [Part.INFILL]
    return [part for part in Part if part is not Part.UPPER or tokenizer.voices > 2]


def rewriting_tasks(
    tokenizer: Tokenizer, pieces: list[TokenizedPiece], part: Part, *, no_parallels: bool = False
) -> list[RewritingTask]:
    """The tasks of all pieces that are long enough: to infill, a piece needs a bar before and after the two bars.

    Args:
        tokenizer: of the model.
        pieces: real pieces.
        part: what of them is given.
        no_parallels: whether parallel fifths and octaves are forbidden.

    Raises:
        CorpusError: the part cannot be given to models with this tokenizer, or no piece is long enough.
    """
    if part not in parts_of(tokenizer):
        raise CorpusError(f"{part} cannot be evaluated: the model has too few voices")
    assert isinstance(tokenizer, GridTokenizer)
    constraints = Constraints(no_parallels=no_parallels)
    regions = ((piece, _region(tokenizer, piece, part)) for piece in pieces)
    tasks = [_task(tokenizer, piece, region, part, constraints) for piece, region in regions if region is not None]
    if not tasks:
        raise CorpusError("no piece is long enough to infill two bars")
    return tasks


def _region(tokenizer: GridTokenizer, piece: TokenizedPiece, part: Part) -> Region | None:
    """What is written anew; None if the piece is too short."""
    voices, length = tokenizer.voices, piece.score.length_ticks
    given = {Part.SOPRANO: {0}, Part.BASS: {voices - 1}, Part.UPPER: set(range(voices - 1))}.get(part)
    if given is not None:
        return Region(0, length, frozenset(range(voices)) - given)
    bar_ticks, pickup = _bar_ticks(piece), piece.attributes.pickup_ticks
    bars = (length - pickup) // bar_ticks
    if bars < _INFILLED_BARS + 2:
        return None
    start = pickup + (bars - _INFILLED_BARS) // 2 * bar_ticks
    return Region(start, start + _INFILLED_BARS * bar_ticks)


def _task(
    tokenizer: GridTokenizer, piece: TokenizedPiece, region: Region, part: Part, constraints: Constraints
) -> RewritingTask:
    task = WritingTask(piece.attributes, Length(piece.score.length_ticks), piece.score, (region,), constraints)
    plan = plan_grid(tokenizer, task)
    order = list(tokenizer.voice_order)
    given = ~plan.given.sampled[:, order].reshape(-1)
    after = np.zeros_like(given)
    if part is Part.INFILL:
        first, last = (
            ticks // tokenizer.step_ticks * len(order)
            for ticks in (region.end_ticks, region.end_ticks + _bar_ticks(piece))
        )
        after[first:last] = given[first:last]
    return RewritingTask(piece, plan, given, after)


def _bar_ticks(piece: TokenizedPiece) -> int:
    return (piece.attributes.meter or Meter()).bar_ticks
