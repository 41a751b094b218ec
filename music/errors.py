"""Errors of the music layer, and the text of errors in documents.

FantasiaError
├── InvalidScoreError        a score, or a file with a score, cannot be read or represented
├── InvalidHarmonyError      a scale or a chord symbol cannot be read
├── InvalidDynamicsError     a number of a velocity shape is out of its range
├── UnsupportedMeterError    the tokenizer has no positions for the meter or the pickup
├── TaskError                a task for a piece cannot be planned, or not be completed
│   ├── UnsupportedTaskError the tokenizer cannot plan tasks of this kind
│   ├── ContradictionError   two parts of the task exclude each other
│   └── NoTokenLeftError     the tokens so far leave no token that satisfies all constraints
└── BundleError              a bundle cannot be used
    ├── BundleFormatError    manifest missing, unreadable, or of an unknown format version
    ├── BundleIntegrityError a file is missing, its sha256 differs, or a graph reads a file without sha256
    └── BundleMismatchError  parts that do not fit together (tokenizer hash, shapes)
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_MAX_PLACE: Final = 64
"""Maximum length of one part of a field path: it may be any key of the document."""
_MAX_REASON: Final = 400
"""Maximum length of a library's message about a document: it may quote the document."""


class FantasiaError(Exception):
    """Base of every error that Fantasia raises on purpose."""


class InvalidScoreError(FantasiaError):
    """A score, or a file with a score, cannot be read or represented."""


class InvalidHarmonyError(FantasiaError):
    """A scale or a chord symbol cannot be read."""


class InvalidDynamicsError(FantasiaError):
    """A number of a velocity shape is out of its range."""


class UnsupportedMeterError(FantasiaError):
    """The tokenizer has no positions for the meter or the pickup."""


class TaskError(FantasiaError):
    """A task for a piece cannot be planned, or not be completed.

    Args:
        field: path of the field of the request that is the cause, such as `constraints.scale`.
        message: what is wrong, and what would be right.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class UnsupportedTaskError(TaskError):
    """The tokenizer cannot plan tasks of this kind."""


class ContradictionError(TaskError):
    """Two parts of the task exclude each other. The message names the bar, where it concerns one."""


class NoTokenLeftError(TaskError):
    """The tokens so far leave no token that satisfies all constraints. The message names bar and voice."""


class BundleError(FantasiaError):
    """A bundle cannot be used."""


class BundleFormatError(BundleError):
    """The manifest is missing, unreadable, or of an unknown format version."""


class BundleIntegrityError(BundleError):
    """A file of the bundle is missing, its sha256 is not the manifest's, or a graph reads a file without one."""


class BundleMismatchError(BundleError):
    """Parts of the bundle do not fit together: tokenizer hash, vocabulary or shapes."""


def problems(error: "ValidationError", whole: str = "", *, max_problems: int | None = None) -> str:
    """All problems on one line, each as `field path: message`.

    Args:
        error: from pydantic.
        whole: name in place of the path if a problem concerns the whole document; empty for no name.
        max_problems: maximum number of problems; None for all.
    """
    named = ((_place(problem["loc"]) or whole, _message(problem)) for problem in error.errors()[:max_problems])
    return "; ".join(f"{place}: {message}" if place else message for place, message in named)


def plain_text(text: str, limit: int = _MAX_REASON) -> str:
    """The text on one line: at most `limit` characters, unprintable ones as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"


def _message(problem: "ErrorDetails") -> str:
    return "unknown field" if problem["type"] == "extra_forbidden" else problem["msg"]


def _place(path: Iterable[object]) -> str:
    return ".".join(plain_text(str(part), _MAX_PLACE) for part in path)
