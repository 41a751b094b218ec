"""`notechord`: the encoding of the project's original experiment, one token for each offset at which notes start.

A token names all pitches that start at one offset, with octaves: `C4`, or `C4.E4.G4` for a chord (music21's Note and
Chord). As in the original experiment there are no rests, durations, velocities or voices. Decoding spaces the offsets
evenly.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final, Self

import numpy as np

from music.composition.plan import WritingCapabilities
from music.composition.task import WritingTask
from music.grammar import Grammar
from music.positions import MetricalPositions
from music.remaining_length import RemainingLength
from music.score import TICKS_PER_QUARTER, Meter, Note, Score
from music.tokenizers.base import Encoding, IncrementalDecoder, Tokenizer, Tokens
from music.tokenizers.notechord_plan import NoteChordPlan, plan_notechord

START: Final = 0
END: Final = 1
FIRST_NAME: Final = 2

VELOCITY: Final = 80
_PITCH_CLASSES: Final = ("C", "C#", "D", "E-", "E", "F", "F#", "G", "G#", "A", "B-", "B")  # music21's spelling
_METERS: Final = (Meter(4, 4), Meter(3, 4), Meter(2, 4), Meter(6, 8))


def pitch_name(pitch: int) -> str:
    """Name of a MIDI pitch with its octave in music21's spelling: 60 is `C4`, 61 `C#4`, 63 `E-4`."""
    return f"{_PITCH_CLASSES[pitch % 12]}{pitch // 12 - 1}"


_PITCHES: Final = {pitch_name(pitch): pitch for pitch in range(128)}


def sonority_name(pitches: Iterable[int]) -> str:
    """Name of pitches that start together: the pitch names, lowest first, joined by dots."""
    return ".".join(pitch_name(pitch) for pitch in sorted(set(pitches)))


class NoteChordTokenizer(Tokenizer):
    """One token for all notes that start at an offset.

    Args:
        names: the vocabulary: names as `sonority_name` writes them, sorted, each once.
        step_ticks: distance of two offsets in a decoded piece; by default half a quarter, as in the original.

    Raises:
        ValueError: a name is invalid, or the steps do not divide a bar.
    """

    name: ClassVar[str] = "notechord"
    version: ClassVar[int] = 1
    writing = WritingCapabilities(continuation=True, open_length=True)

    def __init__(self, *, names: Sequence[str], step_ticks: int = TICKS_PER_QUARTER // 2) -> None:
        if not names or list(names) != sorted(set(names)):
            raise ValueError("names must be sorted, each once, and at least one")
        if step_ticks < 1 or any(meter.bar_ticks % step_ticks for meter in _METERS):
            raise ValueError(f"step_ticks must divide a bar, not {step_ticks}")
        try:
            self._pitches = [tuple(_PITCHES[part] for part in name.split(".")) for name in names]
        except KeyError as error:
            raise ValueError(f"{error.args[0]!r} is no pitch name") from error
        for name, pitches in zip(names, self._pitches, strict=True):
            if sonority_name(pitches) != name:
                raise ValueError(f"{name!r} does not name its pitches once each, lowest first")
        every_pitch = [pitch for chord in self._pitches for pitch in chord]
        self.ranges = ((min(every_pitch), max(every_pitch)),)
        self.names = tuple(names)
        self.step_ticks = step_ticks
        self.tokens_per_step = 1
        self.vocabulary_size = FIRST_NAME + len(self.names)
        self.start_token = START
        self.end_token = END
        self._ids = {name: FIRST_NAME + index for index, name in enumerate(self.names)}
        self.grammar = _grammar(self.vocabulary_size)
        self.positions = MetricalPositions.single(_METERS)
        bar = max(4 * TICKS_PER_QUARTER // step_ticks, 1)
        self.remaining_length = RemainingLength.in_tokens(
            1, np.full(1, bar), np.zeros(1, np.int64), single_steps=2 * bar
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Tokenizer.parameters`."""
        return {"names": list(self.names), "step_ticks": self.step_ticks}

    @classmethod
    def fit(cls, parameters: dict[str, Any], scores: Iterable[Score]) -> Self:
        """See `Tokenizer.fit`: the vocabulary is all sonorities of the scores."""
        names = {sonority_name(note.pitch for note in notes) for score in scores for notes in _sonorities(score)}
        if not names:
            raise ValueError("notechord: the training scores have no notes to make a vocabulary from")
        return cls.from_parameters({**parameters, "names": sorted(names)})

    def token_name(self, token: int) -> str:
        """See `Tokenizer.token_name`."""
        return self.names[token - FIRST_NAME] if token >= FIRST_NAME else ("START", "END")[token]

    def encode(self, score: Score) -> Encoding:
        """See `Tokenizer.encode`.

        Sonorities outside the vocabulary are left out (`unknown_sonority`, counted in notes). Equal pitches that start
        together are merged (`doubled`). Notes whose onset or duration changes in decoding count as `retimed`.
        """
        dropped: Counter[str] = Counter()
        tokens: list[int] = []
        for notes in _sonorities(score):
            token = self._ids.get(sonority_name(note.pitch for note in notes))
            if token is None:
                dropped["unknown_sonority"] += len(notes)
                continue
            place = len(tokens) * self.step_ticks
            dropped["doubled"] += len(notes) - len({note.pitch for note in notes})
            dropped["retimed"] += sum((note.onset, note.duration) != (place, self.step_ticks) for note in notes)
            tokens.append(token)
        return Encoding(np.array([*tokens, END], np.int32), 0, 0, +dropped)

    def decoder(self) -> "NoteChordDecoder":
        """See `Tokenizer.decoder`."""
        return NoteChordDecoder(self)

    def plan(self, task: WritingTask) -> NoteChordPlan:
        """See `Tokenizer.plan`."""
        return plan_notechord(self, task)

    def transpositions(self, tokens: Tokens) -> range:
        """See `Tokenizer.transpositions`: only 0, because transposed chords may be missing from the vocabulary."""
        return range(1)

    def transposed(self, tokens: Tokens, semitones: int) -> Tokens:
        """See `Tokenizer.transposed`."""
        assert semitones == 0
        return tokens

    def pitches(self, token: int) -> tuple[int, ...]:
        """MIDI pitches of a token of a note or chord, lowest first."""
        return self._pitches[token - FIRST_NAME]


class NoteChordDecoder(IncrementalDecoder):
    """Places each sonority one step after the one before."""

    def __init__(self, tokenizer: NoteChordTokenizer) -> None:
        super().__init__(tokenizer.end_token)
        self._tokenizer = tokenizer
        self._count = 0

    @property
    def length_ticks(self) -> int:
        """See `IncrementalDecoder.length_ticks`."""
        return self._count * self._tokenizer.step_ticks

    @property
    def watermark_ticks(self) -> int:
        """See `IncrementalDecoder.watermark_ticks`."""
        return self.length_ticks

    @property
    def sounding(self) -> Sequence[Note]:
        """See `IncrementalDecoder.sounding`: none, because every token completes its notes."""
        return ()

    def _decode(self, token: int, notes: list[Note]) -> None:
        step = self._tokenizer.step_ticks
        onset = self._count * step
        notes += [Note(onset, step, pitch, VELOCITY, 0) for pitch in self._tokenizer.pitches(token)]
        self._count += 1

    def _finish(self, notes: list[Note]) -> None:
        """Nothing to do: every note ends with its step."""


def _sonorities(score: Score) -> list[list[Note]]:
    """Notes that start together, in order of onset."""
    return [list(notes) for _, notes in groupby(sorted(score.notes), key=lambda note: note.onset)]


def _grammar(vocabulary: int) -> Grammar:
    """States: before the first token, inside the piece, after the end."""
    before, inside, ended = range(3)
    allowed = np.zeros((3, vocabulary), np.bool_)
    allowed[before, FIRST_NAME:] = allowed[inside, FIRST_NAME:] = True
    allowed[inside, END] = allowed[ended, END] = True
    successor = np.full((3, vocabulary), ended, np.int32)
    successor[before, FIRST_NAME:] = successor[inside, FIRST_NAME:] = inside
    return Grammar(allowed, successor, before)
