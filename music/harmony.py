"""Scales and chords as sets of pitch classes, and how both and pitches are written.

A pitch class is 0 to 11: 0 is C, 1 is C#, 11 is B.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import pychord
from pychord.utils import note_to_val

from music.errors import InvalidHarmonyError, plain_text

MAX_SCALE_LENGTH: Final = 64
"""Maximum length of a scale's text, in characters."""
MAX_CHORD_LENGTH: Final = 32
"""Maximum length of a chord symbol, in characters."""

_NAMES: Final = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
_UNICODE: Final = str.maketrans({"♯": "#", "♭": "b", "♮": "", "𝄪": "##", "𝄫": "bb", "−": "-", "–": "-"})

_MODES: Final[dict[str, tuple[int, ...]]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "ionian": (0, 2, 4, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "aeolian": (0, 2, 3, 5, 7, 8, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
}
"""Semitones above the tonic. Melodic minor is its ascending form."""
_OTHER_NAMES: Final = {
    "natural minor": "minor",
    "pentatonic major": "major pentatonic",
    "pentatonic minor": "minor pentatonic",
}
MODES: Final = tuple(_MODES)
"""Names of the modes of `parse_scale`."""

_SCALE: Final = re.compile(r"([A-Ga-g])(?:(bb|##|[b#])|[ -]?(flat|sharp))? (.+)")
_ACCIDENTALS: Final = {"flat": "b", "sharp": "#"}
_CHORD: Final = re.compile(r"([A-G](?:bb|##|[b#])?)([^/]*(?:6/9[^/]*)?)(?:/([A-G](?:bb|##|[b#])?))?")

_SPELLINGS: Final = tuple(
    (re.compile(pattern), spelling)
    for pattern, spelling in (
        ("6/9", "69"),
        ("[(),]", ""),
        ("[Δ△]7?", "maj7"),
        ("[øØ]7?", "m7b5"),
        ("[°º]|^o(?=7?$)", "dim"),
        (r"(?:Maj|MAJ|Ma|ma)(?=\d|$)", "maj"),
        ("^M$", "maj"),
        ("^(?:min|mi|-)", "m"),
        (r"^(?:\+|aug)(7|9)$", r"\1#5"),
        (r"^\+$", "aug"),
        ("(?<=7)#5$", "+5"),
        ("sus$", "sus4"),
        ("add2$", "add9"),
    )
)
"""Other ways to write a quality, and what `pychord` calls it."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The pitch classes of a mode above a tonic."""

    tonic: int
    """Pitch class."""
    mode: str
    """One of `MODES`."""
    tonic_name: str = field(compare=False)
    """The tonic as the caller wrote it, such as `Eb`."""
    pitch_classes: frozenset[int] = field(compare=False)

    def __str__(self) -> str:
        return f"{self.tonic_name} {self.mode}"


@dataclass(frozen=True, slots=True)
class Chord:
    """The pitch classes that a chord symbol names."""

    root: int
    """Pitch class."""
    pitch_classes: frozenset[int]
    """With the bass of a slash chord, even if it is no note of the chord before the slash."""
    bass: int | None
    """Pitch class after the slash; None without a slash."""
    symbol: str = field(compare=False)
    """The symbol as the caller wrote it."""

    def __str__(self) -> str:
        return self.symbol


def parse_scale(text: str) -> Scale:
    """The scale that a text such as `A minor`, `Eb major` or `F# dorian` names.

    The tonic is a letter with at most two accidentals, `#` or `b`, in Unicode (`♯`, `♭`) or in words (`E flat`). The
    case of the letter and of the mode does not matter.

    Raises:
        InvalidHarmonyError: the text names no scale; the message lists the modes.
    """
    words = " ".join(text[: MAX_SCALE_LENGTH + 1].translate(_UNICODE).split())
    parts = _SCALE.fullmatch(words) if len(text) <= MAX_SCALE_LENGTH else None
    mode = " ".join(re.split("[ -]+", parts[4].lower())) if parts else ""
    mode = _OTHER_NAMES.get(mode, mode)
    if parts is None or mode not in _MODES:
        raise InvalidHarmonyError(
            f"'{plain_text(text, MAX_SCALE_LENGTH)}' names no scale; write a tonic and a mode such as 'F# dorian': "
            f"A to G with # or b, then {', '.join(MODES[:-1])} or {MODES[-1]}"
        )
    name = parts[1].upper() + (parts[2] or _ACCIDENTALS.get(parts[3] or "", ""))
    tonic = note_to_val(name)
    return Scale(tonic, mode, name, frozenset((tonic + semitones) % 12 for semitones in _MODES[mode]))


def parse_chord(symbol: str) -> Chord:
    """The chord that a symbol such as `Am7`, `F/A`, `Bdim`, `G7sus4`, `Em7b5` or `C6/9` names.

    The qualities are those of `pychord` and other common spellings of them, such as `ø`, `Δ7`, `-7`, `7(b9)`.

    Raises:
        InvalidHarmonyError: the symbol names no chord, as `N.C.` does, or is longer than `MAX_CHORD_LENGTH`.
    """
    if len(symbol) > MAX_CHORD_LENGTH:
        raise InvalidHarmonyError(
            f"a chord symbol has at most {MAX_CHORD_LENGTH} characters, and '{plain_text(symbol, MAX_CHORD_LENGTH)}' "
            f"has {len(symbol):,}"
        )
    parts = _CHORD.fullmatch(symbol.strip().translate(_UNICODE))
    intervals = _intervals(parts[2]) if parts else None
    if parts is None or intervals is None:
        raise InvalidHarmonyError(
            f"'{plain_text(symbol)}' names no chord; write a root, a quality and if needed a bass, "
            "such as C, Am7, F/A, Bdim, G7sus4, Em7b5 or C6/9"
        )
    root = note_to_val(parts[1])
    bass = note_to_val(parts[3]) if parts[3] else None
    pitch_classes = {(root + semitones) % 12 for semitones in intervals}
    if bass is not None:
        pitch_classes.add(bass)
    return Chord(root, frozenset(pitch_classes), bass, symbol)


def note_name(pitch: int) -> str:
    """A MIDI pitch as a note with its octave: `C4` is 60, `F#4` is 66."""
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"


def pitch_class_names(pitch_classes: Iterable[int]) -> str:
    """Pitch classes in ascending order, such as `C, D, F#`."""
    return ", ".join(_NAMES[pitch_class] for pitch_class in sorted(set(pitch_classes)))


@lru_cache(maxsize=1024)
def _intervals(quality: str) -> tuple[int, ...] | None:
    """Semitones above the root of a quality such as `m7`; None if there is no such quality.

    `pychord.Chord` is not called: it takes a number after a slash for an inversion, and counts to it.
    """
    qualities = pychord.QualityManager()
    with suppress(ValueError):
        return qualities.get_quality(quality).components
    for pattern, spelling in _SPELLINGS:
        quality = pattern.sub(spelling, quality)
    with suppress(ValueError):
        return qualities.get_quality(quality).components
    return None
