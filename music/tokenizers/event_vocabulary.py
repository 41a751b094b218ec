"""The token ids of `events` and their values, by kind of token."""

import math
from typing import Final

from music.score import Meter

START: Final = 0
END: Final = 1
BAR: Final = 2
TIE: Final = 3
FIRST_POSITION: Final = 4

LOWEST_TEMPO_BPM: Final = 30.0
HIGHEST_TEMPO_BPM: Final = 240.0
_VELOCITIES: Final = 127


class EventVocabulary:
    """Ids, ordered by kind: POSITION, DURATION, VELOCITY, TEMPO, PROGRAM, DYNAMICS, METER, and PITCH by voice.

    Args:
        quarter_steps: positions in a quarter, which is also the length of a bar in an unknown meter.
        bar_steps: positions in a bar, by meter.
        durations: steps of the longest DURATION.
        velocity_bins: number of velocities.
        tempo_bins: number of tempos.
        programs: General MIDI programs.
        dynamics: whether a piece has dynamics, for each DYNAMICS token; at least one.
        meters: meters with a token; one more token is for all others and for an unknown meter.
        voices: number of voices, each with a block of PITCH tokens.
        lowest_pitch: MIDI number of the first token of each block.
        highest_pitch: MIDI number of the last token of each block.
    """

    def __init__(
        self,
        *,
        quarter_steps: int,
        bar_steps: tuple[int, ...],
        durations: int,
        velocity_bins: int,
        tempo_bins: int,
        programs: tuple[int, ...],
        dynamics: tuple[bool, ...],
        meters: tuple[Meter, ...],
        voices: int,
        lowest_pitch: int,
        highest_pitch: int,
    ) -> None:
        self.meters = (*meters, None)
        self.bar_steps = (*bar_steps, quarter_steps)
        """Positions in a bar, by meter."""
        self.programs = programs
        self.dynamics = dynamics
        self.velocities = tuple(_bin_centre(index, velocity_bins) for index in range(velocity_bins))
        """Decoded velocity of each bin."""
        span = HIGHEST_TEMPO_BPM / LOWEST_TEMPO_BPM
        self.tempos = tuple(
            round(LOWEST_TEMPO_BPM * span ** (index / max(tempo_bins - 1, 1)), 1) for index in range(tempo_bins)
        )
        """Quarter notes per minute, in equal ratios."""
        self.durations = durations
        self.pitches = highest_pitch - lowest_pitch + 1
        self.lowest_pitch = lowest_pitch
        self.voices = voices
        self.first_duration = FIRST_POSITION + max(self.bar_steps)
        self.first_velocity = self.first_duration + durations
        self.first_tempo = self.first_velocity + velocity_bins
        self.first_program = self.first_tempo + tempo_bins
        self.first_dynamics = self.first_program + len(programs)
        self.first_meter = self.first_dynamics + len(dynamics)
        self.first_pitch = self.first_meter + len(self.meters)
        self.size = self.first_pitch + voices * self.pitches

    def position(self, step: int) -> int:
        """Token of a step in the bar, from 0."""
        return FIRST_POSITION + step

    def duration(self, steps: int) -> list[int]:
        """Tokens of a duration: a TIE for each full longest duration except the last, then a DURATION."""
        ties, rest = divmod(steps - 1, self.durations)
        return [TIE] * ties + [self.first_duration + rest]

    def velocity(self, velocity: int) -> int:
        """Token of the bin of a MIDI velocity."""
        return self.first_velocity + (velocity - 1) * len(self.velocities) // _VELOCITIES

    def tempo(self, bpm: float) -> int:
        """Token of the nearest tempo, by ratio."""
        distances = [abs(math.log(bpm / tempo)) for tempo in self.tempos]
        return self.first_tempo + distances.index(min(distances))

    def program(self, program: int) -> int:
        """Token of a program; for one without a token, that of a program of the same family, or else the first."""
        family = [known for known in self.programs if known // 8 == program // 8]
        nearest = program if program in self.programs else (family or self.programs)[0]
        return self.first_program + self.programs.index(nearest)

    def meter(self, meter: Meter | None) -> int:
        """Token of a meter; that of the unknown meter for one without a token."""
        return self.first_meter + self.meters.index(meter if meter in self.meters else None)

    def dynamics_of(self, has_dynamics: bool) -> int:
        """Token of a piece with or without dynamics; the first one if there is none for that."""
        known = has_dynamics in self.dynamics
        return self.first_dynamics + (self.dynamics.index(has_dynamics) if known else 0)

    def has_dynamics(self, token: int) -> bool:
        """Whether a DYNAMICS token says that the piece has dynamics."""
        return self.dynamics[token - self.first_dynamics]

    def pitch(self, voice: int, pitch: int) -> int:
        """Token of a pitch in a voice."""
        return self.first_pitch + voice * self.pitches + pitch - self.lowest_pitch

    def note(self, voice: int, pitch: int, steps: int, velocity: int | None) -> tuple[int, ...]:
        """Tokens of a note; without a VELOCITY if that is None."""
        loudness = () if velocity is None else (self.velocity(velocity),)
        return self.pitch(voice, pitch), *self.duration(steps), *loudness

    def name(self, token: int) -> str:
        """A readable name of the token."""
        if token >= self.first_pitch:
            voice, pitch = divmod(token - self.first_pitch, self.pitches)
            return f"PITCH_{pitch + self.lowest_pitch}_{voice}"
        if token >= self.first_meter:
            return f"METER_{self.meters[token - self.first_meter] or 'UNKNOWN'}"
        if token >= self.first_dynamics:
            return "DYNAMICS_KNOWN" if self.has_dynamics(token) else "DYNAMICS_UNKNOWN"
        if token >= self.first_program:
            return f"PROGRAM_{self.programs[token - self.first_program]}"
        if token >= self.first_tempo:
            return f"TEMPO_{self.tempos[token - self.first_tempo]:g}"
        if token >= self.first_velocity:
            return f"VELOCITY_{self.velocities[token - self.first_velocity]}"
        if token >= self.first_duration:
            return f"DURATION_{token - self.first_duration + 1}"
        if token >= FIRST_POSITION:
            return f"POSITION_{token - FIRST_POSITION}"
        return ("START", "END", "BAR", "TIE")[token]


def _bin_centre(index: int, bins: int) -> int:
    """The middle of the MIDI velocities that `EventVocabulary.velocity` puts into a bin."""
    lowest, next_lowest = (1 - (-edge * _VELOCITIES // bins) for edge in (index, index + 1))
    return (lowest + next_lowest - 1) // 2
