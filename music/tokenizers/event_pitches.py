"""Which PITCH tokens of `events` may be written where, and how long the notes may last.

Places are steps, counted from the bar line at or before the start of the piece.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from music.composition.task import Constraints
from music.tokenizers.event_vocabulary import EventVocabulary

_ALL_CLASSES: Final = (1 << 12) - 1
_NO_CHORD: Final = -1
UNLIMITED: Final = 1 << 30
"""Maximum duration in steps where no chord limits it."""


class PitchRules:
    """The pitches of written notes at each place of a piece.

    A chord with a bass binds the lowest of several voices: the first note written in it under the chord has the pitch
    class of the bass, and no later one is lower than the lowest bass note so far, except another bass note.

    Args:
        vocabulary: has the tokens.
        constraints: of the task.
        written: (places, voices), whether notes of the voice may be written there.
        start: place of the first step of the piece.
        step_ticks: length of a step.
    """

    def __init__(
        self,
        vocabulary: EventVocabulary,
        constraints: Constraints,
        written: NDArray[np.bool_],
        start: int,
        step_ticks: int,
    ) -> None:
        v = self._vocabulary = vocabulary
        self._chords = constraints.chords
        self._scale = _ALL_CLASSES if constraints.pitch_classes is None else _bits(constraints.pitch_classes)
        pitches = np.arange(v.lowest_pitch, v.lowest_pitch + v.pitches)
        self._classes = pitches % 12
        ranges = [constraints.ranges.get(voice, (0, 127)) for voice in range(v.voices)]
        self._in_range = [(low <= pitches) & (pitches <= high) for low, high in ranges]
        self._masks: dict[tuple[int, int, int], NDArray[np.bool_]] = {}
        self._voices: NDArray[np.int64] = written @ (1 << np.arange(v.voices))
        """(places,): the voices that may be written, as bits."""
        self._sounding = np.full(len(written), _ALL_CLASSES)
        """(places,): the pitch classes of all chords that sound during the step, as bits."""
        self.chord = np.full(len(written), _NO_CHORD)
        """(places,): index of the chord at the beginning of the step; negative if there is none."""
        for index, chord in enumerate(self._chords):
            first, last = (max(start + ticks // step_ticks, 0) for ticks in (chord.start_ticks, chord.end_ticks - 1))
            self._sounding[first : last + 1] &= _bits(chord.pitch_classes)
            self.chord[max(start - -chord.start_ticks // step_ticks, 0) : last + 1] = index
        self._limits = _limits(self._sounding) if self._chords else None
        self.everywhere = self._mask((1 << v.voices) - 1, self._scale, _NO_CHORD)
        """(vocabulary,): the PITCH tokens of scale and ranges."""
        self.is_open = self._open_places()
        """(places,): whether a note may be written there."""
        free = (self._voices == (1 << v.voices) - 1) & (self._sounding == _ALL_CLASSES)
        self.is_free: NDArray[np.bool_] = free
        """(places,): whether nothing but scale and ranges binds notes written there."""

    @property
    def has_chords(self) -> bool:
        """Whether any chord may limit a duration."""
        return self._limits is not None

    def bass(self, place: int) -> int:
        """Pitch class of the bass at a place; negative if there is none."""
        chord = self.chord[place]
        bass = self._chords[chord].bass if chord != _NO_CHORD and self._vocabulary.voices > 1 else None
        return _NO_CHORD if bass is None else bass

    def is_bass(self, token: int, place: int) -> bool:
        """Whether a PITCH token at a place is a bass note."""
        own = token - self._lowest_voice
        return own >= 0 and int(self._classes[own]) == self.bass(place)

    def mask(self, place: int, floor: int | None = None) -> NDArray[np.bool_]:
        """The PITCH tokens that may be written at a place, (vocabulary,).

        Args:
            place: of the onset.
            floor: the lowest bass note under the present chord, as PITCH token; None if there is none yet.
        """
        voices = int(self._voices[place])
        classes = int(self._sounding[place]) & self._scale
        bass = self.bass(place)
        mask = self._mask(voices, classes, bass)
        if bass != _NO_CHORD and floor is not None:
            above = self._mask(voices & 1 << (self._vocabulary.voices - 1), classes, _NO_CHORD).copy()
            above[:floor] = False
            mask = mask | above
        return mask

    def longest(self, token: int, place: int) -> int:
        """Maximum duration, in steps, of a written note that begins at a place."""
        if self._limits is None:
            return UNLIMITED
        pitch_class = self._classes[(token - self._vocabulary.first_pitch) % self._vocabulary.pitches]
        return int(self._limits[place, pitch_class]) - place

    @property
    def _lowest_voice(self) -> int:
        """First PITCH token of the lowest voice."""
        return self._vocabulary.first_pitch + (self._vocabulary.voices - 1) * self._vocabulary.pitches

    def _mask(self, voices: int, classes: int, bass: int) -> NDArray[np.bool_]:
        """The PITCH tokens of these voices and pitch classes; of the lowest voice only the bass, if there is one."""
        key = voices, classes, bass
        if key not in self._masks:
            v = self._vocabulary
            mask = np.zeros(v.size, np.bool_)
            in_classes = (classes >> self._classes) & 1 == 1
            for voice in range(v.voices):
                if voices >> voice & 1:
                    first = v.first_pitch + voice * v.pitches
                    mask[first : first + v.pitches] = in_classes & self._in_range[voice]
            if bass != _NO_CHORD:
                mask[self._lowest_voice :] &= self._classes == bass
            mask.setflags(write=False)
            self._masks[key] = mask
        return self._masks[key]

    def _open_places(self) -> NDArray[np.bool_]:
        # A bass note may always be written, so the strict mask decides.
        keys = ((self.chord + 1) << 12 | self._sounding) << self._vocabulary.voices | self._voices
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        is_open: NDArray[np.bool_] = np.array([self.mask(int(place)).any() for place in first], np.bool_)[inverse]
        return is_open


def _bits(pitch_classes: Iterable[int]) -> int:
    return sum(1 << pitch_class for pitch_class in pitch_classes)


def _limits(sounding: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """(places, 12): the first place from each on at which the chords lack the pitch class."""
    places = len(sounding)
    lacking = (sounding[:, None] >> np.arange(12)) & 1 == 0
    limits = np.where(lacking, np.arange(places)[:, None], UNLIMITED)
    reverse: NDArray[np.int64] = np.minimum.accumulate(limits[::-1], axis=0)[::-1]
    return reverse
