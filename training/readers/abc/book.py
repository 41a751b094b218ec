"""Divides an ABC file into tunes.

A tune begins at a line `X:` and ends at an empty line or at the next `X:`. What stands between tunes is text for
people. Fields before the first tune are the file header, and hold for every tune (ABC 2.1, section 2).
"""

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from music.errors import InvalidScoreError
from training.readers.files import decode_text

_LINE_END: Final = re.compile("\r\n|\r|\n")
_CHARSET: Final = re.compile(rb"^(?:%%|I:\s*)abc-charset\s+([\w-]+)", re.MULTILINE)
_FIELD: Final = re.compile(r"([A-Za-z+]):(.*)")
_BEGIN_TEXT: Final = re.compile(r"%%begin(\w+)")
_COMMENT: Final = re.compile(r"(?<!\\)%.*")


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its comment; a directive keeps its `%%`."""

    number: int
    text: str

    @property
    def field(self) -> tuple[str, str] | None:
        """Letter and value if the line is an information field."""
        match = _FIELD.match(self.text)
        return None if match is None else (match[1], match[2].strip())

    @property
    def directive(self) -> str | None:
        """The text after `%%` or `I:`."""
        for mark in ("%%", "I:"):
            if self.text.startswith(mark):
                return self.text.removeprefix(mark).strip()
        return None


@dataclass(frozen=True, slots=True)
class Tune:
    """The lines of one tune."""

    label: str
    """Label within the file: the number after `X:`, or its index if numbers are not unique."""
    file_header: tuple[Line, ...]
    lines: tuple[Line, ...]


def split_book(data: bytes) -> list[Tune]:
    """Every tune of a file, in order.

    Raises:
        InvalidScoreError: the file has no tune.
    """
    lines = _without_text(_LINE_END.split(_decode(data)))
    groups: list[list[Line]] = []
    header: list[Line] = []
    inside = complete = False
    for line in lines:
        field = line.field
        if field is not None and field[0] == "X":
            groups.append([line])
            inside, complete = True, False
        elif inside and not line.text.strip():
            inside = not complete  # an empty line inside a header is a slip of the pen
        elif inside or (groups and field is not None and field[0] == "V"):  # voices may stand apart
            inside = True
            groups[-1].append(line)
            complete = complete or (field is not None and field[0] == "K")
        elif not groups:
            header.append(line)
    if not groups:
        if not any(line.field is not None and line.text.startswith("K:") for line in header):
            raise InvalidScoreError("no tune in it: no line begins with X:")
        groups, header = [header], []  # a fragment
    file_header = tuple(line for line in header if line.field is not None or line.directive is not None)
    numbers = [_number(group) for group in groups]
    unique = all(count == 1 and number for number, count in Counter(numbers).items())
    labels = numbers if unique else [str(place + 1) for place in range(len(groups))]
    return [Tune(label, file_header, tuple(group)) for label, group in zip(labels, groups, strict=True)]


def _decode(data: bytes) -> str:
    """The text of a file, as UTF-8 or else in the character set that it declares."""
    declared = _CHARSET.search(data)
    if declared is not None:
        for charset in ("utf-8", declared[1].decode()):
            with suppress(UnicodeDecodeError, LookupError):
                return data.decode(charset)
    return decode_text(data)


def _number(lines: list[Line]) -> str:
    field = lines[0].field
    match = re.match(r"\d+", field[1]) if field is not None and field[0] == "X" else None
    return match[0] if match else ""


def _without_text(texts: list[str]) -> list[Line]:
    """Lines without comments and text blocks. A pure comment line is removed, so that it does not end a tune."""
    lines = []
    until: str | None = None
    for number, text in enumerate(texts, 1):
        begin = _BEGIN_TEXT.match(text)
        if until is not None:
            until = None if text.startswith(until) else until
        elif begin is not None:
            until = f"%%end{begin[1]}"
        elif text.startswith("%%"):
            lines.append(Line(number, text.rstrip()))
        else:
            bare = _COMMENT.sub("", text).rstrip()
            if bare or not text.strip():
                lines.append(Line(number, bare))
    return lines
