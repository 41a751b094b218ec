"""Tokens of Humdrum's **kern: notes, bar lines, meters, keys.

The representation is defined in the Humdrum User Guide, chapter 2, and in the **kern reference page.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

_RECIPROCAL: Final = re.compile(r"(\d{1,6})(?:%(\d{1,6}))?(\.{0,8})")
_PITCH: Final = re.compile(r"([a-gA-G])\1{0,9}(#{1,3}|-{1,3})?")
_METER: Final = re.compile(r"\*M(\d{1,4}(?:\+\d{1,4})*)/(\d{1,4})$")
_TEMPO: Final = re.compile(r"\*MM(\d{1,4}(?:\.\d{1,4})?)")
_KEY: Final = re.compile(r"\*k\[((?:[a-g][#-]+)*)\]")
_CLASSES: Final = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_LONGEST_ZEROS: Final = 3
"""`0` is a breve, `00` a long, `000` a maxima."""
_CACHED_TOKENS: Final = 16_384
"""Most tokens occur many times, and to parse one takes longer than to find it."""


@dataclass(frozen=True, slots=True)
class KernNote:
    """One note or rest of a token."""

    duration: Fraction
    """Quarters; 0 if none is written."""
    pitch: int | None
    """MIDI number; None if it cannot be read."""
    rest: bool = False
    grace: bool = False
    unpitched: bool = False
    ends_tie: bool = False
    starts_tie: bool = False


@lru_cache(_CACHED_TOKENS)
def is_note_head(token: str) -> bool:
    """Whether a token without spaces is a note, pitched or not, rather than a rest or empty."""
    return "r" not in token and ("R" in token or _PITCH.search(token) is not None)


@lru_cache(_CACHED_TOKENS)
def parse_note(token: str) -> KernNote:
    """Read a token without spaces."""
    if "r" in token:
        return KernNote(_duration(token), None, rest=True)
    return KernNote(
        duration=_duration(token),
        pitch=_pitch(token),
        grace="q" in token or "Q" in token,
        unpitched="R" in token,
        ends_tie="_" in token or "]" in token,
        starts_tie="[" in token or "_" in token,
    )


def _duration(token: str) -> Fraction:
    match = _RECIPROCAL.search(token)
    if match is None:
        return Fraction()
    reciprocal, numerator, dots = match.groups()
    if reciprocal.strip("0"):
        duration = Fraction(4, int(reciprocal))
    elif len(reciprocal) <= _LONGEST_ZEROS:
        duration = Fraction(4 * 2 ** len(reciprocal))
    else:
        return Fraction()
    return duration * int(numerator or 1) * (2 - Fraction(1, 2 ** len(dots)))


def _pitch(token: str) -> int | None:
    matches = list(_PITCH.finditer(token))
    if len(matches) != 1:
        return None
    letters, accidental = matches[0].group(0).rstrip("#-"), matches[0].group(2) or ""
    octave = len(letters) - 1 if letters.islower() else -len(letters)
    return 60 + 12 * octave + _CLASSES[letters[0].lower()] + accidental.count("#") - accidental.count("-")


@dataclass(frozen=True, slots=True)
class BarLine:
    """The repeat signs of a bar line."""

    ends_repeat: bool
    starts_repeat: bool


def parse_bar_line(token: str) -> BarLine:
    """Read a token such as `=12:|!|:`."""
    strokes = "".join(character for character in token if character in ":|!")
    return BarLine(strokes.startswith(":"), strokes.endswith(":") and len(strokes) > 1)


def parse_meter(token: str) -> tuple[int, int] | None:
    """Beats and beat unit of `*M3/4`; (0, 0) for no meter; None for any other token."""
    if token in ("*MX", "*M?") or token.startswith("*MX/"):
        return 0, 0
    match = _METER.match(token)
    if match is None:
        return None
    beats, unit = sum(map(int, match.group(1).split("+"))), int(match.group(2))
    return (beats, unit) if unit else (2 * beats, 1)  # `0` is a breve


def parse_tempo(token: str) -> float | None:
    """Quarter notes per minute of `*MM96`; None for any other token or outside 10 to 400."""
    match = _TEMPO.match(token)
    return float(match.group(1)) if match and 10 <= float(match.group(1)) <= 400 else None


def parse_key(token: str) -> int | None:
    """Sharps (flats negative) of a signature such as `*k[b-e-]`; None for any other token."""
    match = _KEY.match(token)
    if match is None:
        return None
    sharps = match.group(1).count("#") - match.group(1).count("-")
    return max(-7, min(7, sharps))
