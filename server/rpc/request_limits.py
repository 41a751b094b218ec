"""Limits of what a request may bring and ask for; operators set them."""

from dataclasses import dataclass

from music.midi import MidiLimits
from music.score import TICKS_PER_QUARTER

_QUARTERS_PER_BAR = 16
"""Maximum length of a bar for which `given_bars` bars are read. Longer bars are rare, so fewer of them are allowed."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Maxima of a request. Each has a setting and an error of its own, and callers read them with `GetModel`."""

    given_bytes: int = 1 << 19
    """Size of a given MIDI file."""
    given_notes: int = 20_000
    """Notes of a given piece."""
    given_bars: int = 1024
    """Bars of a given piece."""
    given_tracks: int = 64
    """Tracks of a given MIDI file, and voices of given notes."""
    candidates: int = 64
    """Candidates of a request."""
    candidate_steps: int = 64 * 1024
    """Candidates of a request times steps of the whole piece."""
    evaluated_pieces: int = 100
    """Pieces of one `Evaluate` call."""
    evaluated_steps: int = 64 * 1024
    """Steps of all pieces of one `Evaluate` call together."""

    @property
    def given_ticks(self) -> int:
        """Length of a given piece in ticks, whatever its meter is."""
        return self.given_bars * _QUARTERS_PER_BAR * TICKS_PER_QUARTER

    @property
    def midi(self) -> MidiLimits:
        """The limits of the MIDI reader."""
        return MidiLimits(self.given_bytes, self.given_tracks, self.given_notes, self.given_ticks)
