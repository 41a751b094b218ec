"""Decodes events to notes while they arrive."""

import heapq
from collections.abc import Sequence

from music.score import DEFAULT_VELOCITY, NOTE_ORDER, Note, ScoreAttributes
from music.tokenizers.base import IncrementalDecoder
from music.tokenizers.event_vocabulary import BAR, END, FIRST_POSITION, TIE, EventVocabulary


class EventDecoder(IncrementalDecoder):
    """Decodes `events`. A note is returned when the piece has reached the end of the note.

    A note that lasts longer than the piece keeps its duration. So two different sequences never decode to equal scores.
    """

    def __init__(self, vocabulary: EventVocabulary, step_ticks: int) -> None:
        super().__init__(END)
        self._vocabulary = vocabulary
        self._step_ticks = step_ticks
        self._tempo_bpm, self._program = ScoreAttributes().tempo_bpm, ScoreAttributes().program
        self._has_dynamics = ScoreAttributes().has_dynamics
        self._meter = len(vocabulary.meters) - 1
        self._first: int | None = None  # position in the bar at which the piece starts
        self._bar = 0
        self._now = 0  # in steps from the start of the piece
        self._placed = False  # whether the last token was a POSITION
        self._pitch = 0
        self._duration = 0
        self._sounding: list[tuple[int, Note]] = []  # a heap, by end

    @property
    def length_ticks(self) -> int:
        """See `IncrementalDecoder.length_ticks`."""
        return self._now * self._step_ticks

    @property
    def watermark_ticks(self) -> int:
        """See `IncrementalDecoder.watermark_ticks`."""
        return self.length_ticks

    @property
    def sounding(self) -> Sequence[Note]:
        """See `IncrementalDecoder.sounding`."""
        return sorted((note for _, note in self._sounding), key=NOTE_ORDER)

    @property
    def attributes(self) -> ScoreAttributes:
        """See `IncrementalDecoder.attributes`."""
        pickup = -(self._first or 0) % self._bar_steps * self._step_ticks
        meter = self._vocabulary.meters[self._meter]
        return ScoreAttributes(meter, pickup, self._tempo_bpm, None, self._program, self._has_dynamics)

    @property
    def _bar_steps(self) -> int:
        return self._vocabulary.bar_steps[self._meter]

    def _decode(self, token: int, notes: list[Note]) -> None:
        v = self._vocabulary
        if token >= v.first_pitch:
            self._pitch, self._duration = token - v.first_pitch, 0
            self._placed = False
        elif token >= v.first_meter:
            self._meter = token - v.first_meter
        elif token >= v.first_dynamics:
            self._has_dynamics = v.has_dynamics(token)
        elif token >= v.first_program:
            self._program = v.programs[token - v.first_program]
        elif token >= v.first_tempo:
            self._tempo_bpm = v.tempos[token - v.first_tempo]
        elif token >= v.first_velocity:
            self._sound(v.velocities[token - v.first_velocity])
        elif token >= v.first_duration:
            self._duration += token - v.first_duration + 1
            if not self._has_dynamics:
                self._sound(DEFAULT_VELOCITY)
        elif token >= FIRST_POSITION:
            self._place(token - FIRST_POSITION, notes)
        elif token == TIE:
            self._duration += v.durations
        elif token == BAR:
            self._bar += 1
            self._placed = False
            self._advance(self._bar * self._bar_steps, notes)

    def _finish(self, notes: list[Note]) -> None:
        """End the piece at its last token if that is a POSITION, else with the bar."""
        if self._first is not None and not self._placed:
            self._advance((self._bar + 1) * self._bar_steps, notes)
        notes += [note for _, note in sorted(self._sounding)]
        self._sounding.clear()

    def _place(self, position: int, notes: list[Note]) -> None:
        if self._first is None:
            self._first = position
        else:
            self._placed = True
            self._advance(self._bar * self._bar_steps + position, notes)

    def _advance(self, step: int, notes: list[Note]) -> None:
        """Move to a step, counted from the bar line at or before the start; append the notes that end by then."""
        self._now = step - (self._first or 0)
        while self._sounding and self._sounding[0][0] <= self.length_ticks:
            notes.append(heapq.heappop(self._sounding)[1])

    def _sound(self, velocity: int) -> None:
        voice, pitch = divmod(self._pitch, self._vocabulary.pitches)
        duration = self._duration * self._step_ticks
        note = Note(self.length_ticks, duration, pitch + self._vocabulary.lowest_pitch, velocity, voice)
        heapq.heappush(self._sounding, (note.end, note))
