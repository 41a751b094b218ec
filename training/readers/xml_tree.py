"""XML documents as trees, within bounds.

Python's parser expands entities that the document declares, and builds as deep and as large a tree as it is asked
for. Scores need none of this.
"""

import re
from typing import Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from music.errors import InvalidScoreError
from training.readers.files import decode_text

MAX_DEPTH: Final = 100
"""Deepest nesting of elements that is read."""

MAX_ELEMENTS: Final = 3_000_000
"""Most elements that are read."""

_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
_HTML: Final = re.compile(rb"^\s*(<!doctype\s+html|<html)", re.IGNORECASE)


def parse_xml(data: bytes) -> Element:
    """The root of the document's tree; names of elements are without namespace, comments are left out.

    A document that is not in the encoding it declares is read by `decode_text`.

    Raises:
        InvalidScoreError: the bytes are no XML, declare entities, or exceed a bound.
    """
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise InvalidScoreError("the file is empty")
    if _HTML.match(start):
        raise InvalidScoreError("an HTML page, not a score; the download may have returned a web page")
    try:
        return _Parser().parse(data.lstrip(b" \t\r\n") if data[:1].isspace() else data)
    except (expat.ExpatError, LookupError, UnicodeError):  # damaged, or in another encoding than it says
        text = _DECLARATION.sub("", decode_text(data))
    if not text.lstrip().startswith("<"):
        raise InvalidScoreError("not XML")
    parser = _Parser("utf-8")
    try:
        return parser.parse(text.encode("utf-8", "replace"))
    except expat.ExpatError as error:
        if parser.at_end:
            raise InvalidScoreError(f"the XML is truncated: it ends in line {error.lineno}") from error
        raise InvalidScoreError(f"damaged XML in line {error.lineno}") from error


class _Parser:
    """Builds a tree, and stops where a bound is passed."""

    def __init__(self, encoding: str | None = None) -> None:
        self._builder = TreeBuilder()
        self._depth = self._elements = 0
        self.at_end = False
        """Whether all that there is was read without fault."""
        self._parser = parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._builder.data
        parser.EntityDeclHandler = self._refuse_entity

    def parse(self, data: bytes) -> Element:
        self._parser.Parse(data, False)
        self.at_end = True
        self._parser.Parse(b"", True)
        return self._builder.close()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH:
            raise InvalidScoreError(f"the XML is nested deeper than {MAX_DEPTH} elements")
        if self._elements > MAX_ELEMENTS:
            raise InvalidScoreError(f"the XML has more than {MAX_ELEMENTS:,} elements")
        self._builder.start(name.rpartition(":")[2], attributes)

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._builder.end(name.rpartition(":")[2])

    @staticmethod
    def _refuse_entity(*_: object) -> None:
        raise InvalidScoreError("the XML declares entities, which a score does not need")
