"""File formats by the suffix of a file's name."""

from typing import Final

MIDI_SUFFIXES: Final = frozenset((".mid", ".midi", ".smf", ".kar", ".rmi"))
ABC_SUFFIXES: Final = frozenset((".abc",))
NOTATION_SUFFIXES: Final = frozenset((".mxl", ".xml", ".musicxml", ".krn"))
SUFFIXES: Final = MIDI_SUFFIXES | ABC_SUFFIXES | NOTATION_SUFFIXES
"""Everything that is read."""
