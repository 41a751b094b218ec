"""Velocities from the place of a note in the bar and in the phrase, for models that write no dynamics."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from music.bar_lines import BarLines
from music.errors import InvalidDynamicsError
from music.score import Note

MIN_VELOCITY: Final = 1
MAX_VELOCITY: Final = 127
MAX_ACCENT: Final = 64
"""Maximum of accents and swell, up and down."""
MAX_PHRASE_BARS: Final = 64


@dataclass(frozen=True, slots=True)
class VelocityShape:
    """Accents on beats (`Meter.beat_ticks`), and a swell over each phrase.

    Raises:
        InvalidDynamicsError: a number is out of its range; the message names the field.
    """

    velocity: int = 80
    """Velocity of a note off the beats, 1 to 127."""
    downbeat_accent: int = 0
    """Added on the first beat of a bar, -64 to 64."""
    beat_accent: int = 0
    """Added on the other beats, -64 to 64."""
    phrase_bars: int = 0
    """Length of a phrase, 1 to 64 bars; 0 for no swell. The first phrase begins at the first whole bar."""
    swell: int = 0
    """Added in the middle of a phrase, and less towards its ends; -64 to 64."""

    def __post_init__(self) -> None:
        _check("velocity", self.velocity, MIN_VELOCITY, MAX_VELOCITY)
        _check("downbeat_accent", self.downbeat_accent, -MAX_ACCENT, MAX_ACCENT)
        _check("beat_accent", self.beat_accent, -MAX_ACCENT, MAX_ACCENT)
        _check("phrase_bars", self.phrase_bars, 0, MAX_PHRASE_BARS)
        _check("swell", self.swell, -MAX_ACCENT, MAX_ACCENT)

    def velocity_at(self, onset: int, lines: BarLines) -> int:
        """Velocity of a note, 1 to 127.

        Args:
            onset: ticks from the start of the piece.
            lines: bars of the piece. Without a meter, no bars and beats are known, and the velocity is `velocity`.
                Notes of the pickup have the beats of the end of a bar, and the swell of the start of a phrase.
        """
        if lines.meter_at(onset) is None:
            return self.velocity
        value = self.velocity + self._accent(onset, lines) + self._swell(onset, lines)
        return min(max(round(value), MIN_VELOCITY), MAX_VELOCITY)

    def apply(self, notes: Iterable[Note], lines: BarLines) -> tuple[Note, ...]:
        """The notes with their velocities; see `velocity_at`."""
        return tuple(note._replace(velocity=self.velocity_at(note.onset, lines)) for note in notes)

    def _accent(self, onset: int, lines: BarLines) -> int:
        """The accent of a note that begins at a known meter."""
        meter = lines.meter_at(onset)
        assert meter is not None
        # The place in the pickup is counted from the first downbeat, and negative.
        place = (onset - lines.start(max(lines.bar_at(onset), 1))) % meter.bar_ticks
        if place == 0:
            return self.downbeat_accent
        return self.beat_accent if place % meter.beat_ticks == 0 else 0

    def _swell(self, onset: int, lines: BarLines) -> float:
        """`swell` times a raised cosine, which is 0 at both ends of the phrase and 1 in its middle."""
        bar = lines.bar_at(onset)
        if self.phrase_bars == 0 or bar == 0:
            return 0.0
        first = bar - (bar - 1) % self.phrase_bars
        start, end = lines.start(first), lines.start(first + self.phrase_bars)
        return self.swell * (1.0 - math.cos(2.0 * math.pi * (onset - start) / (end - start))) / 2.0


def _check(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise InvalidDynamicsError(f"{name} must be {lowest} to {highest}, not {value}")
