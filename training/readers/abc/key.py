"""Keys, clefs and transpositions of ABC (ABC 2.1, sections 3.1.14, 4.6 and 7)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from music.errors import InvalidScoreError

_FIFTHS: Final = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
_MODES: Final = {
    "maj": 0, "ion": 0, "": 0, "mix": -1, "dor": -2, "min": -3, "aeo": -3, "m": -3, "phr": -4, "loc": -5, "lyd": 1,
}  # fmt: skip
_SHARP_ORDER: Final = "FCGDAEB"
_KEY: Final = re.compile(r"([A-G])([#b]?)\s*([A-Za-z]*)")
_ACCIDENTAL: Final = re.compile(r"(?<![\w^_=])(\^\^|__|\^|_|=)([A-Ga-g])(?![\w])")
_ALTERATION: Final = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
_PROPERTY: Final = re.compile(r'([\w-]+)\s*=\s*("[^"]*"|\S+)')
_MAX_SEMITONES: Final = 127
_CLEF: Final = re.compile(r"(?:treble|bass|alto|tenor|baritone|soprano|mezzo|perc|none|[GFCP])\d?(?:([+-])(8|15))?$")


@dataclass(frozen=True, slots=True)
class Key:
    """Alterations in semitones by letter, and the signature if it is a standard one."""

    alterations: Mapping[str, int] = field(default_factory=dict)
    sharps: int | None = None
    """Sharps positive, flats negative."""


@dataclass(frozen=True, slots=True)
class Transposition:
    """Transposition of a voice from written to sounding pitch."""

    transpose: int = 0
    """Semitones, from `transpose=`."""
    octave: int = 0
    """Octaves, from `octave=`."""
    clef_octave: int = 0
    """Octaves, from the 8 or 15 of a clef."""
    percussion: bool = False

    @property
    def semitones(self) -> int:
        """Sum of all transpositions, in semitones."""
        return self.transpose + 12 * (self.octave + self.clef_octave)


def parse_key(text: str, before: Key) -> Key:
    """Read the key of a `K:` field. Without one, as in `K:clef=bass`, the key does not change.

    Raises:
        InvalidScoreError: it is not a valid key.
    """
    text = text.strip()
    bare = _PROPERTY.sub(" ", text).strip()
    if text[:2].lower() == "hp":  # Highland pipes: written or not, their F and C are sharp
        return _signature(2)
    match = _KEY.match(bare)
    if match is None:
        explicit = _explicit(bare)
        if explicit:
            return _with(Key({}, 0), explicit)
        if not text or bare.split()[:1] == ["none"]:
            return Key({}, 0 if bare else None)
        if not bare or _CLEF.match(bare.split()[0]):
            return before
        raise InvalidScoreError(f"K:{text} is not a valid key")
    tonic, sign, word = match.groups()
    rest = bare[match.end() :]
    mode = "" if word == "M" else word.lower()
    if mode == "exp":
        return _with(Key({}, 0), _explicit(rest))
    if mode not in ("", "m") and mode[:3] not in _MODES:
        if not _CLEF.match(word):
            raise InvalidScoreError(f"K:{text} is not a valid key")
        mode = ""
    sharps = _FIFTHS[tonic] + {"#": 7, "b": -7, "": 0}[sign] + _MODES[mode if mode in ("", "m") else mode[:3]]
    if rest.split()[:1] == ["exp"]:
        return _with(Key({}, 0), _explicit(rest))
    return _with(_signature(sharps), _explicit(rest))


def parse_transposition(text: str, before: Transposition) -> Transposition:
    """Read the transposition of a `K:` or `V:` field.

    Raises:
        InvalidScoreError: a transposition is not a number, or beyond ten octaves.
    """
    properties = {name.lower(): value.strip('"') for name, value in _PROPERTY.findall(text)}
    words = _PROPERTY.sub(" ", text).split()
    clef = properties.get("clef") or next((word for word in words if _CLEF.match(word) and word.islower()), None)
    changes: dict[str, int | bool] = {
        name: _integer(name, properties[name]) for name in ("transpose", "octave") if name in properties
    }
    if clef is not None:
        match = _CLEF.match(clef)
        octaves = {"8": 1, "15": 2}.get(match[2] or "", 0) if match is not None else 0
        changes["clef_octave"] = -octaves if match is not None and match[1] == "-" else octaves
        changes["percussion"] = clef.startswith("perc") or clef == "P"
    transposition = replace(before, **changes)  # type: ignore[arg-type]
    if abs(transposition.semitones) > _MAX_SEMITONES:
        raise InvalidScoreError(f"a transposition by {transposition.semitones} semitones")
    return transposition


def voice_name(text: str) -> str | None:
    """The voice name in a `V:` field."""
    properties = {name.lower(): value.strip('"') for name, value in _PROPERTY.findall(text)}
    return properties.get("name") or properties.get("nm")


def _integer(name: str, value: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,3}", value):
        raise InvalidScoreError(f"{name}={value} is not a number of {'octaves' if name == 'octave' else 'semitones'}")
    return int(value)


def _signature(sharps: int) -> Key:
    letters = _SHARP_ORDER if sharps > 0 else _SHARP_ORDER[::-1]
    alterations: dict[str, int] = {}
    for place in range(abs(sharps)):
        letter = letters[place % 7]
        alterations[letter] = alterations.get(letter, 0) + (1 if sharps > 0 else -1)
    return Key(alterations, sharps if -7 <= sharps <= 7 else None)


def _explicit(text: str) -> dict[str, int]:
    return {letter.upper(): _ALTERATION[sign] for sign, letter in _ACCIDENTAL.findall(text)}


def _with(key: Key, explicit: Mapping[str, int]) -> Key:
    if not explicit:
        return key
    alterations = {letter: value for letter, value in {**key.alterations, **explicit}.items() if value}
    sharps = next((n for n in range(-7, 8) if _signature(n).alterations == alterations), None)
    return replace(key, alterations=alterations, sharps=sharps)
