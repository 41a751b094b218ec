"""Plans tasks for `notechord`: new pieces and continued ones."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from music.composition.checks import check_consistent, check_supported, given_length_ticks
from music.composition.guide import NO_BIAS, SAMPLED, Cursor, Guide, Instructions
from music.composition.plan import NoteStream, WritingPlan
from music.composition.task import WritingTask
from music.errors import ContradictionError, UnsupportedTaskError
from music.grammar import FORBIDDEN
from music.score import NOTE_ORDER, Note, Score, ScoreAttributes

if TYPE_CHECKING:
    from music.tokenizers.notechord import NoteChordTokenizer


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NoteChordPlan(WritingPlan):
    """See `WritingPlan`. The written notes follow the end of the given piece, rounded up to a step."""

    tokenizer: "NoteChordTokenizer"
    attributes: ScoreAttributes

    def score(self, tokens: NDArray[np.integer[Any]]) -> Score:
        """See `WritingPlan.score`. All given notes are part of it."""
        written = self.tokenizer.decode(tokens[len(self.primer) :], self.attributes)
        notes = [*self.kept, *(note._replace(onset=note.onset + self.given_ticks) for note in written.notes)]
        return Score(
            tuple(sorted(notes, key=NOTE_ORDER)),
            self.given_ticks + written.length_ticks,
            self.attributes.meter,
            self.attributes.pickup_ticks,
            self.attributes.tempo_bpm,
            self.attributes.key_sharps,
            self.attributes.program,
            has_dynamics=False,
        )

    def stream(self) -> "NoteChordStream":
        """See `WritingPlan.stream`."""
        return NoteChordStream(self)

    def note_steps(self, tokens: NDArray[np.integer[Any]]) -> int:
        """See `WritingPlan.note_steps`: one for each token."""
        return max(len(tokens) - int(self.tokenizer.end_token in tokens) - len(self.primer), 1)


class NoteChordStream(NoteStream):
    """See `NoteStream`. The given notes come together, before the first written ones."""

    def __init__(self, plan: NoteChordPlan) -> None:
        self._decoder = plan.tokenizer.decoder()
        self._given_ticks = plan.given_ticks
        self._primer_left = len(plan.primer)
        self._given = sorted(plan.kept, key=lambda note: note.end)

    def feed(self, tokens: Iterable[int]) -> list[Note]:
        """See `NoteStream.feed`."""
        written = list(tokens)
        skipped = min(self._primer_left, len(written))
        self._primer_left -= skipped
        notes = self._decoder.feed(written[skipped:])
        return [*([] if self._primer_left else self._all_given()), *map(self._moved, notes)]

    def finish(self) -> list[Note]:
        """See `NoteStream.finish`."""
        return [*self._all_given(), *map(self._moved, self._decoder.finish())]

    @property
    def watermark_ticks(self) -> int:
        """See `NoteStream.watermark_ticks`."""
        return 0 if self._given else self._given_ticks + self._decoder.watermark_ticks

    @property
    def sounding(self) -> Sequence[Note]:
        """See `NoteStream.sounding`: none, because every token completes its notes."""
        return ()

    def _all_given(self) -> list[Note]:
        given, self._given = self._given, []
        return given

    def _moved(self, note: Note) -> Note:
        return note._replace(onset=note.onset + self._given_ticks)


class OpenLengthGuide(Guide):
    """Forces a primer, and forbids the end token up to a number of tokens.

    Args:
        primer: forced tokens.
        least: number of tokens before the end token may occur.
        end_token: the token.
        vocabulary: number of token ids.
    """

    def __init__(self, primer: tuple[int, ...], least: int, end_token: int, vocabulary: int) -> None:
        self.primer = np.array(primer, np.int64)
        self.least = least
        self.end_token = end_token
        self.biases = np.zeros((2, vocabulary), np.float32)
        self.biases[1, end_token] = FORBIDDEN

    def cursor(self) -> "OpenLengthCursor":
        """See `Guide.cursor`."""
        return OpenLengthCursor(self)


class OpenLengthCursor(Cursor):
    """See `Cursor`."""

    def __init__(self, guide: OpenLengthGuide, index: int = 0, *, ended: bool = False) -> None:
        self._guide = guide
        self._index = index
        self._ended = ended

    def instructions(self, limit: int) -> Instructions:
        """See `Cursor.instructions`."""
        index = np.arange(self._index, self._index + limit)
        forced = np.full(limit, SAMPLED, np.int64)
        primer = self._guide.primer[self._index : self._index + limit]
        forced[: len(primer)] = primer
        is_early = (index < self._guide.least) & (forced == SAMPLED)
        return Instructions(forced, np.where(is_early, 1, NO_BIAS))

    def advance(self, tokens: NDArray[np.integer[Any]]) -> int:
        """See `Cursor.advance`."""
        self._index += len(tokens)
        self._ended = self._ended or self._guide.end_token in tokens
        return len(tokens)

    def copy(self) -> "OpenLengthCursor":
        """See `Cursor.copy`."""
        return OpenLengthCursor(self._guide, self._index, ended=self._ended)

    @property
    def complete(self) -> bool:
        """See `Cursor.complete`."""
        return self._ended


def plan_notechord(tokenizer: "NoteChordTokenizer", task: WritingTask) -> NoteChordPlan:
    """Plan a task; see `Tokenizer.plan`."""
    check_supported(task, tokenizer.writing, tokenizer.name)
    if task.regions:
        raise UnsupportedTaskError("rewrite", f"models with the tokenizer {tokenizer.name} cannot do this")
    kept = () if task.given is None else task.given.notes
    check_consistent(task, ((0, 127),), kept)
    step, length = tokenizer.step_ticks, task.length
    given_steps = -(-given_length_ticks(task) // step)
    primer: tuple[int, ...] = ()
    changed: Counter[str] = Counter()
    if task.given is not None:
        encoding = tokenizer.encode(task.given)
        primer, changed = tuple(encoding.tokens[:-1].tolist()), encoding.dropped
    steps = -(-length.max_ticks // step) - given_steps
    if steps < 1:
        raise ContradictionError("length", "nothing is left to write: the given piece is as long")
    least = len(primer) + -(-length.min_ticks // step) - given_steps if length.is_open else 0
    is_guided = least > len(primer)
    return NoteChordPlan(
        position_index=0,
        primer=primer,
        guide=OpenLengthGuide(primer, least, tokenizer.end_token, tokenizer.vocabulary_size) if is_guided else None,
        max_tokens=len(primer) + steps,
        may_end=length.is_open,
        given_ticks=given_steps * step,
        kept=kept,
        changed_notes=changed,
        tokenizer=tokenizer,
        attributes=task.attributes,
    )
