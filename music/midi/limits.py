"""Bounds of the MIDI files that are read and written."""

from dataclasses import dataclass
from typing import Final

from music.score import MAX_LENGTH_TICKS

MAX_FILE_BYTES: Final = 16 * 2**20
"""Maximum size of a file."""
MAX_TRACKS: Final = 1024
"""Maximum number of tracks of a file. A track that plays on all channels takes about 20 kB of memory."""
MAX_NOTES: Final = 500_000
"""Maximum number of notes of a piece."""
MAX_TEMPO_CHANGES: Final = 1000
"""Maximum number of tempo changes that are kept; later ones are counted."""
MAX_METER_CHANGES: Final = 1000
"""The same for changes of the meter."""


@dataclass(frozen=True, slots=True)
class MidiLimits:
    """Maxima of a file that is read; a file that exceeds one is refused."""

    max_bytes: int = MAX_FILE_BYTES
    max_tracks: int = MAX_TRACKS
    max_notes: int = MAX_NOTES
    """Percussion included."""
    max_length_ticks: int = MAX_LENGTH_TICKS
    """Ticks of a score."""


DEFAULT_LIMITS: Final = MidiLimits()
