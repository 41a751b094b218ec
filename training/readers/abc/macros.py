"""Macros of ABC (ABC 2.1, section 9)."""

import re
from dataclasses import dataclass
from typing import Final

from music.errors import InvalidScoreError

_NOTE: Final = r"([A-Ga-g])([,']{0,9})"
_ITSELF: Final = "n"  # in a transposing macro the note itself; `h` is six steps lower, `z` twelve higher
_MAX_MACROS: Final = 100
_LONGEST: Final = 10_000
_LONGEST_LINE: Final = 100_000


@dataclass(frozen=True, slots=True)
class Macro:
    """A pattern and its replacement."""

    pattern: re.Pattern[str]
    replacement: str
    transposing: bool

    def apply(self, line: str) -> str:
        """Replace every match in a line.

        Raises:
            InvalidScoreError: it would become too long.
        """
        if len(line) + len(self.pattern.findall(line)) * len(self.replacement) > _LONGEST_LINE:
            raise InvalidScoreError("macros make a line too long")
        if not self.transposing:
            return self.pattern.sub(lambda _: self.replacement, line)
        return self.pattern.sub(self._transposed, line)

    def _transposed(self, match: re.Match[str]) -> str:
        place = "CDEFGAB".index(match[1].upper()) + 7 * (match[1].islower() + match[2].count("'") - match[2].count(","))

        def note(letter: re.Match[str]) -> str:
            octave, step = divmod(place + ord(letter[0]) - ord(_ITSELF), 7)
            name = "CDEFGAB"[step]
            return name + "," * -octave if octave <= 0 else name.lower() + "'" * (octave - 1)

        return re.sub(r"[h-z]", note, self.replacement)


def parse_macro(text: str) -> Macro:
    """Read the value of an `m:` field, such as `~g3 = {a}g{f}g` or, for every note, `~n3 = o/n/m/n`.

    Raises:
        InvalidScoreError: there is no pattern, or nothing to replace it.
    """
    left, equals, right = (part.strip() for part in text.partition("="))
    if not equals or not left or len(right) > _LONGEST:
        raise InvalidScoreError(f"m:{text[:80]} is not a valid macro")
    transposing = _ITSELF in left
    pattern = re.escape(left)
    if transposing:
        pattern = pattern.replace(_ITSELF, _NOTE, 1)
    return Macro(re.compile(pattern + r"(?![\d/])"), right, transposing)


def expand(line: str, macros: list[Macro]) -> str:
    """Expand macros in a line, in the order of their definition.

    Raises:
        InvalidScoreError: there are too many, or the line becomes too long.
    """
    if len(macros) > _MAX_MACROS:
        raise InvalidScoreError(f"more than {_MAX_MACROS} macros")
    for macro in macros:
        line = macro.apply(line)
    return line
