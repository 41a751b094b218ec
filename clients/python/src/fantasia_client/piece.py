"""A generated piece and what it is made of."""

import os
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from fantasia_client.meter import Meter


@dataclass(frozen=True, slots=True)
class Note:
    """One sounding note."""

    onset_ticks: int
    """Start, in ticks from the start of the piece."""
    duration_ticks: int
    """Length in ticks, at least 1."""
    pitch: int
    """MIDI number, 0 to 127; 60 is C4."""
    velocity: int = 80
    """MIDI velocity, 1 to 127."""
    voice: int = 0
    """Index of the voice, from 0, the highest voice first."""


class FinishReason(Enum):
    """Why a piece ended."""

    LENGTH = "length"
    """It reached the length asked for, or the model's maximum."""
    END = "end"
    """The model wrote its end token."""
    OTHER = "other"
    """A reason that this version of the client does not know."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a request's time went, as the server saw it."""

    queue_seconds: float
    """Waiting for a slot."""
    first_token_seconds: float
    """From admission to the first decoded tokens."""
    total_seconds: float
    """From admission to the last decoded token."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A generated piece."""

    midi: bytes = field(repr=False)
    """The piece as a Standard MIDI File."""
    notes: tuple[Note, ...] = field(repr=False)
    """The same notes, sorted by onset, then voice."""
    ticks_per_quarter: int
    """Resolution of every tick field."""
    length_ticks: int
    """Length in ticks, closing rests included."""
    seed: int
    """The seed used, whether given or drawn: asked for again, it gives the same bytes."""
    token_count: int
    """Tokens sampled, the end token included."""
    finish_reason: FinishReason
    """Why the piece ended."""
    model: str
    """Name of the model that wrote it."""
    model_digest: str
    """sha256 of that model's manifest, in hex."""
    meter: Meter
    """Time signature."""
    tempo_bpm: float
    """Quarter notes a minute."""
    program: int
    """General MIDI program of every voice, 0 to 127."""
    timing: Timing
    """Where the request's time went."""

    @property
    def bars(self) -> float:
        """Length in bars of `meter`."""
        return self.length_ticks / self.meter.bar_ticks(self.ticks_per_quarter)

    @property
    def duration_seconds(self) -> float:
        """Playing time at `tempo_bpm`."""
        return self.length_ticks / self.ticks_per_quarter * 60 / self.tempo_bpm

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the MIDI file, over whatever stood there, and return its path.

        Raises:
            OSError: the file cannot be written.
        """
        path = Path(path)
        path.write_bytes(self.midi)
        return path

    def to_dict(self) -> dict[str, Any]:
        """Everything but the MIDI bytes, ready for JSON."""
        document = {name: value for name, value in asdict(self).items() if name != "midi"}
        return document | {
            "bars": self.bars,
            "duration_seconds": self.duration_seconds,
            "finish_reason": self.finish_reason.value,
            "meter": str(self.meter),
        }
