"""Values of ABC's information fields: meter, unit note length, tempo, part order (ABC 2.1, section 3)."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from music.errors import InvalidScoreError

_METER: Final = re.compile(r"\(?\s*(\d{1,3}(?:\s*\+\s*\d{1,3})*)\s*\)?\s*/\s*(\d{1,3})\s*$")
_LENGTH: Final = re.compile(r"(\d{1,4})\s*(?:/\s*(\d{1,4}))?$")
_QUOTED: Final = re.compile(r'"[^"]*"?')
_FRACTION: Final = r"\d{1,4}\s*/\s*[1-9]\d{0,3}"
_BPM: Final = r"(\d{1,5}(?:\.\d{1,5})?)"
_BEATS: Final = re.compile(rf"({_FRACTION}(?:\s+{_FRACTION})*)\s*=\s*{_BPM}(?!\d)")
_UNITS: Final = re.compile(rf"(?:[A-Ga-g]\s*(\d{{1,4}})?(?:\s*/\s*([1-9]\d{{0,3}}))?\s*=)?\s*{_BPM}$")
_PART_TOKEN: Final = re.compile(r"([A-Za-z()])\s*(\d*)")
_MAX_PARTS: Final = 1000
_WHOLE_BAR: Final = Fraction(1)


@dataclass(frozen=True, slots=True)
class AbcMeter:
    """A time signature; both numbers 0 for `none`."""

    numerator: int = 0
    denominator: int = 0

    @property
    def bar(self) -> Fraction:
        """Length of a bar in whole notes; 1 without a meter."""
        return Fraction(self.numerator, self.denominator) if self.numerator else _WHOLE_BAR

    @property
    def compound(self) -> bool:
        """Whether beats are divided in three, which decides the meaning of some tuplets."""
        return self.numerator > 3 and self.numerator % 3 == 0


def parse_meter(text: str) -> AbcMeter:
    """Read `6/8`, `C`, `C|`, `none` or `2+3/8`.

    Raises:
        InvalidScoreError: it is none of these.
    """
    text = text.strip()
    named = {"C": AbcMeter(4, 4), "C|": AbcMeter(2, 2), "none": AbcMeter()}
    if text in named:
        return named[text]
    match = _METER.match(text)
    if match is not None:
        meter = AbcMeter(sum(map(int, match[1].split("+"))), int(match[2]))
        if 0 < meter.numerator <= 1000 and 0 < meter.denominator <= 1000:
            return meter
    raise InvalidScoreError(f"M:{text} is not a valid meter; free time is M:none")


def parse_length(text: str) -> Fraction:
    """Read a unit note length, such as `1/8`, in whole notes.

    Raises:
        InvalidScoreError: it is not a positive fraction.
    """
    match = _LENGTH.match(text.strip())
    length = None if match is None or (match[2] and not int(match[2])) else Fraction(int(match[1]), int(match[2] or 1))
    if length is None or not Fraction(1, 1024) <= length <= 16:
        raise InvalidScoreError(f"L:{text} is not a valid unit note length, such as 1/8")
    return length


def default_length(meter: AbcMeter) -> Fraction:
    """The unit note length of a tune without `L:` (ABC 2.1, section 3.1.7): a 16th below 3/4, else an eighth."""
    return Fraction(1, 16) if meter.numerator and meter.bar < Fraction(3, 4) else Fraction(1, 8)


def parse_tempo(text: str, unit: Fraction) -> float | None:
    """Quarter notes per minute; None for a tempo in words only.

    Both the present form (`1/4=120`, `"Allegro" 3/8=50`, `1/4 3/8=40`) and the old ones are read: `120` and `C3=40`
    count unit note lengths.

    Args:
        text: the field's value.
        unit: unit note length, in whole notes.

    Raises:
        InvalidScoreError: it is not a valid tempo.
    """
    bare = _QUOTED.sub(" ", text).strip()
    if not re.search(r"[\d=]", bare):
        return None
    match = _BEATS.match(bare)
    if match is not None:
        beat = sum((Fraction(int(a), int(b)) for a, b in re.findall(r"(\d+)\s*/\s*(\d+)", match[1])), Fraction(0))
        return float(4 * beat * Fraction(match[2]))
    match = _UNITS.match(bare)
    if match is not None:
        beat = unit * Fraction(int(match[1] or 1), int(match[2] or 1))
        return float(4 * beat * Fraction(match[3]))
    raise InvalidScoreError(f"Q:{text} is not a valid tempo, such as 1/4=120")


def parse_part_order(text: str) -> str:
    """Expand a part order: `A(BC)2` is `ABCBC`.

    Raises:
        InvalidScoreError: a bracket is not closed, or it names more than 1,000 parts.
    """
    stack = [""]
    for name, digits in _PART_TOKEN.findall(text):
        times = int(digits[:4]) if digits else 1
        if name == "(":
            stack.append("")
            continue
        if name == ")":
            if len(stack) == 1:
                raise InvalidScoreError(f"P:{text} closes a bracket that is not open")
            group = stack.pop()
        else:
            group = name
        if len(stack[-1]) + len(group) * times > _MAX_PARTS:
            raise InvalidScoreError(f"P:{text} names more than {_MAX_PARTS} parts")
        stack[-1] += group * times
    if len(stack) > 1:
        raise InvalidScoreError(f"P:{text} leaves a bracket open")
    return stack[0]
