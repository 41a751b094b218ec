"""What pydantic finds wrong with a document, in words."""

from collections.abc import Iterable
from typing import Final

from pydantic import ValidationError

_MAX_PLACE: Final = 64
"""Characters of one part of a place, which may be a key of the document's own choosing."""
_MAX_REASON: Final = 400
"""Characters of what a library says of a document, which may quote it."""


def problems(error: ValidationError, whole: str = "", *, most: int | None = None) -> str:
    """Each problem as `place: message`, in one line.

    Args:
        error: what pydantic raised.
        whole: the place of a problem that is of no field, but of the document; without it, none is named.
        most: tell so many at most; None for all.
    """
    told = ((_place(problem["loc"]) or whole, problem["msg"]) for problem in error.errors()[:most])
    return "; ".join(f"{place}: {message}" if place else message for place, message in told)


def plain_text(text: str, limit: int = _MAX_REASON) -> str:
    """The text on one line: at most `limit` characters, those that cannot be printed written as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"


def _place(path: Iterable[object]) -> str:
    return ".".join(plain_text(str(part), _MAX_PLACE) for part in path)
