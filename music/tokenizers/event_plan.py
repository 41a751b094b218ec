"""Plans tasks for `events`, and turns the tokens into the finished piece."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from music.composition.checks import check_consistent, check_supported, kept_notes
from music.composition.plan import NoteStream, WritingPlan
from music.composition.task import WritingTask
from music.errors import ContradictionError
from music.score import NOTE_ORDER, Note, Score
from music.tokenizers.event_decoder import EventDecoder
from music.tokenizers.event_guide import EventGuide
from music.tokenizers.event_layout import EventLayout, lay_out
from music.tokenizers.event_placement import Place
from music.tokenizers.event_vocabulary import BAR, END

if TYPE_CHECKING:
    from music.tokenizers.events import EventsTokenizer


class EventStream(NoteStream):
    """Turns the tokens of a task into notes.

    Given notes come as they were given. Written notes that last longer than the piece end with it.

    Args:
        decoder: a new decoder.
        given: the given notes.
        given_places: step, voice and pitch of the given notes as the model sees them.
        step_ticks: length of a step.
        max_ticks: maximum length of the piece.
    """

    def __init__(
        self,
        decoder: EventDecoder,
        given: Sequence[Note],
        given_places: frozenset[Place],
        step_ticks: int,
        max_ticks: int,
    ) -> None:
        self._decoder = decoder
        self._given = sorted(given, key=lambda note: note.end)
        self._given_places = given_places
        self._step_ticks = step_ticks
        self._max_ticks = max_ticks

    @property
    def length_ticks(self) -> int:
        """Length of the piece so far, in ticks."""
        return min(self._decoder.length_ticks, self._max_ticks)

    @property
    def watermark_ticks(self) -> int:
        """See `NoteStream.watermark_ticks`."""
        return self.length_ticks

    @property
    def sounding(self) -> list[Note]:
        """See `NoteStream.sounding`: with the whole durations, because the tokens state them."""
        now = self.length_ticks
        begun = [note for note in self._given if note.onset <= now < note.end]
        begun += self._written(self._decoder.sounding, self._max_ticks)
        return sorted(begun, key=NOTE_ORDER)

    def feed(self, tokens: Iterable[int]) -> list[Note]:
        """See `NoteStream.feed`."""
        notes = self._written(self._decoder.feed(tokens), self._max_ticks)
        now = self.length_ticks
        ended = [note for note in self._given if note.end <= now]
        self._given = self._given[len(ended) :]
        return sorted(notes + ended, key=lambda note: note.end)

    def finish(self) -> list[Note]:
        """See `NoteStream.finish`."""
        decoded = self._decoder.finish()
        length = self.length_ticks
        notes = self._written(decoded, length) + [note for note in self._given if note.onset < length]
        self._given = []
        return sorted(notes, key=lambda note: note.end)

    def _written(self, decoded: Iterable[Note], end_ticks: int) -> list[Note]:
        """The decoded notes that are not given, cut at the end of the piece."""
        written: list[Note] = []
        for note in decoded:
            is_given = (note.onset // self._step_ticks, note.voice, note.pitch) in self._given_places
            if not is_given and note.onset < end_ticks:
                written.append(note._replace(duration=min(note.end, end_ticks) - note.onset))
        return written


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EventPlan(WritingPlan):
    """How a sequence of `events` writes a task."""

    task: WritingTask
    tokenizer: "EventsTokenizer"
    layout: EventLayout

    def stream(self) -> EventStream:
        """See `WritingPlan.stream`."""
        return EventStream(
            self.tokenizer.decoder(),
            self.kept,
            self.layout.given_places,
            self.tokenizer.step_ticks,
            self.task.length.max_ticks,
        )

    def score(self, tokens: NDArray[np.integer[Any]]) -> Score:
        """See `WritingPlan.score`."""
        stream = self.stream()
        notes = stream.feed(tokens.tolist()) + stream.finish()
        ends = (note.end for note in notes)  # given notes may last longer than the piece
        attributes = self.task.attributes
        return Score(
            notes=tuple(sorted(notes, key=NOTE_ORDER)),
            length_ticks=max([stream.length_ticks, *ends]),
            meter=attributes.meter,
            pickup_ticks=attributes.pickup_ticks,
            tempo_bpm=attributes.tempo_bpm,
            key_sharps=attributes.key_sharps,
            program=attributes.program,
            has_dynamics=self.layout.has_dynamics,
        )

    def note_steps(self, tokens: NDArray[np.integer[Any]]) -> int:
        """See `WritingPlan.note_steps`: the number of tokens, because that of a step varies."""
        return max(len(tokens) - int(END in tokens) - len(self.primer), 1)


def plan_events(task: WritingTask, tokenizer: "EventsTokenizer") -> EventPlan:
    """Plan a task; see `EventsTokenizer.plan`.

    Raises:
        UnsupportedTaskError: see `Tokenizer.plan`.
        ContradictionError: see `Tokenizer.plan`.
    """
    check_supported(task, tokenizer.writing, tokenizer.name)
    ranges = [(tokenizer.lowest_pitch, tokenizer.highest_pitch)] * tokenizer.voices
    kept = kept_notes(task, tokenizer.step_ticks)
    check_consistent(task, ranges, kept)
    layout = lay_out(task, tokenizer, kept)
    if layout.last_open < 0 and layout.least_end is None:
        raise ContradictionError("length", "nothing is written: add a length, or regions to rewrite")
    guide = EventGuide(tokenizer, layout, task.controls)
    after = guide.primer.after
    return EventPlan(
        position_index=0,
        primer=tuple(guide.primer.tokens.tolist()),
        guide=guide if guide.is_needed else None,
        max_tokens=layout.max_tokens(tokenizer.bar_tokens),
        may_end=task.length.is_open,
        stop_token=BAR,
        stop_count=layout.bars,
        is_observed=layout.has_given_after(after.bar, after.index),
        given_ticks=layout.given_steps * tokenizer.step_ticks,
        kept=kept,
        changed_notes=layout.changed_notes,
        task=task,
        tokenizer=tokenizer,
        layout=layout,
    )
