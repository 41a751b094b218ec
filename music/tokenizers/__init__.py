"""Tokenizers: bijections between scores on a grid and sequences of token ids. `TOKENIZERS` has them by name."""

from typing import Any, Final

from music.tokenizers.base import Encoding, IncrementalDecoder, Tokenizer
from music.tokenizers.events import EventsTokenizer
from music.tokenizers.grid import GridTokenizer
from music.tokenizers.notechord import NoteChordTokenizer

__all__ = [
    "TOKENIZERS",
    "Encoding",
    "EventsTokenizer",
    "GridTokenizer",
    "IncrementalDecoder",
    "NoteChordTokenizer",
    "Tokenizer",
    "tokenizer_class",
    "tokenizer_from_parameters",
]

TOKENIZERS: Final[dict[str, type[Tokenizer]]] = {
    cls.name: cls for cls in (GridTokenizer, EventsTokenizer, NoteChordTokenizer)
}


def tokenizer_class(name: str) -> type[Tokenizer]:
    """The tokenizer class of a name.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"unknown tokenizer {name!r}; known are {', '.join(sorted(TOKENIZERS))}")
    return TOKENIZERS[name]


def tokenizer_from_parameters(name: str, version: int, parameters: dict[str, Any]) -> Tokenizer:
    """Make the tokenizer that a manifest names.

    Raises:
        ValueError: the name or version is unknown, or a parameter is missing, unknown or out of range.
    """
    cls = tokenizer_class(name)
    if version != cls.version:
        raise ValueError(
            f"tokenizer {name!r} has version {cls.version} here, not {version}: train the model again and export it"
        )
    return cls.from_parameters(parameters)
