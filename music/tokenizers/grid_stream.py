"""Turns the tokens of a partly given grid into notes: those that were given come as they were given."""

import heapq
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from music.composition.guide import SAMPLED
from music.composition.plan import NoteStream
from music.score import NOTE_ORDER, Note
from music.tokenizers.grid_given import GivenGrid
from music.tokenizers.grid_vocabulary import END, FIRST_PITCH, HOLD, VELOCITY

if TYPE_CHECKING:
    from music.tokenizers.grid import GridTokenizer


class GridStream(NoteStream):
    """See `NoteStream`. A given note comes when all voices have reached its end.

    Args:
        tokenizer: of the model.
        given: which steps are given.
        kept: given notes that come back, in the order of `NOTE_ORDER`.
    """

    def __init__(self, tokenizer: "GridTokenizer", given: GivenGrid, kept: Sequence[Note]) -> None:
        self._tokenizer = tokenizer
        self._given = given
        self._kept = list(reversed(kept))  # notes that have not begun, the next one last
        self._begun: list[tuple[int, Note]] = []  # kept notes that have begun; a heap, by end
        self._written: dict[int, tuple[int, int, int]] = {}  # step of onset, pitch, step of end so far, by voice
        self._count = 0
        self._ended = False

    def feed(self, tokens: Iterable[int]) -> list[Note]:
        """See `NoteStream.feed`."""
        notes: list[Note] = []
        for token in tokens:
            if self._ended or token == END:
                self._ended = True
                break
            self._decode(int(token), notes)
        self._begin_kept()
        while self._begun and self._begun[0][0] <= self.watermark_ticks:
            notes.append(heapq.heappop(self._begun)[1])
        return sorted(notes, key=_end)

    def finish(self) -> list[Note]:
        """See `NoteStream.finish`."""
        self._ended = True
        steps = self.length_ticks // self._tokenizer.step_ticks
        notes = [self._note(voice, steps) for voice in list(self._written)]
        notes += [note for _, note in self._begun]
        self._begun.clear()
        return sorted(notes, key=_end)

    @property
    def length_ticks(self) -> int:
        """Length of the piece so far, in ticks."""
        return -(-self._count // self._tokenizer.voices) * self._tokenizer.step_ticks

    @property
    def watermark_ticks(self) -> int:
        """See `NoteStream.watermark_ticks`: the end of the last step that is complete in all voices."""
        return self._count // self._tokenizer.voices * self._tokenizer.step_ticks

    @property
    def sounding(self) -> Sequence[Note]:
        """See `NoteStream.sounding`. Given notes have their whole durations."""
        written = [self._written_note(voice, end) for voice, (_, _, end) in self._written.items()]
        return sorted([*written, *(note for _, note in self._begun)], key=NOTE_ORDER)

    def _decode(self, token: int, notes: list[Note]) -> None:
        step, place = divmod(self._count, self._tokenizer.voices)
        voice = self._tokenizer.voice_order[place]
        self._count += 1
        forced = self._given.forced
        is_given = step < len(forced) and forced[step, voice] != SAMPLED
        if token != HOLD or is_given:
            if voice in self._written:
                notes.append(self._note(voice, step))
            if token >= FIRST_PITCH and not is_given:
                pitch = token - FIRST_PITCH + self._tokenizer.lowest_pitch
                self._written[voice] = step, pitch, step + 1
        elif voice in self._written:
            onset, pitch, _ = self._written[voice]
            self._written[voice] = onset, pitch, step + 1
        following = step + 1
        is_certain = following == len(forced) or (following < len(forced) and forced[following, voice] != SAMPLED)
        if is_certain and voice in self._written:
            notes.append(self._note(voice, following))

    def _begin_kept(self) -> None:
        while self._kept and self._kept[-1].onset < self.length_ticks:
            note = self._kept.pop()
            heapq.heappush(self._begun, (note.end, note))

    def _note(self, voice: int, end: int) -> Note:
        """Complete the written note of a voice; `end` is the step after it."""
        note = self._written_note(voice, end)
        del self._written[voice]
        return note

    def _written_note(self, voice: int, end: int) -> Note:
        onset, pitch, _ = self._written[voice]
        ticks = self._tokenizer.step_ticks
        last = self._given.early_onsets.get((end, voice), end * ticks)
        return Note(onset * ticks, last - onset * ticks, pitch, VELOCITY, voice)


def _end(note: Note) -> int:
    return note.end
