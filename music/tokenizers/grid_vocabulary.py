"""The token ids of `grid`."""

from typing import Final

START: Final = 0
END: Final = 1
REST: Final = 2
HOLD: Final = 3
FIRST_PITCH: Final = 4
"""The lowest pitch; every higher id is a pitch, a semitone above the one before."""

VELOCITY: Final = 80
"""MIDI velocity of every decoded note: the tokens have none."""
