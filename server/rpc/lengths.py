"""Reads the length of a piece."""

import math
from dataclasses import dataclass
from typing import Final

from fantasia.v1 import generation_pb2 as pb
from music.bar_lines import BarLines
from music.composition.task import Length
from music.score import TICKS_PER_QUARTER
from server.rpc.validation import RequestValidator

_ROUNDING: Final = 1e-6  # of a step: 0.1 s at 100 bpm is a whole number of ticks on paper, not in binary


@dataclass(frozen=True, slots=True)
class LengthRules:
    """What decides how long a piece may be."""

    step_ticks: int
    """Length of a step of the model's grid."""
    max_steps: int
    """Maximum number of steps that are written after the given piece."""
    bar_lines: BarLines | None
    """Of the whole piece; None if the meter of the request is not valid, or the given piece cannot be read."""
    tempo_bpm: float | None
    """Tempo of the written part; None if that of the request is not valid, or the given piece cannot be read."""
    given_ticks: int = 0
    """Length of the given piece on the grid; 0 if nothing is given."""
    rewrites: bool = False
    """Whether parts of the given piece are written anew."""

    @property
    def max_ticks(self) -> int:
        """Maximum length of the whole piece."""
        return self.given_ticks + self.max_steps * self.step_ticks

    @property
    def max_bars(self) -> int:
        """Maximum number of bars that are added; they have the last meter."""
        assert self.bar_lines is not None
        room = self.max_ticks - self.bar_lines.complete(self.given_ticks)
        return max(room // self.bar_lines.last_bar_ticks, 0)

    def after_bars(self, bars: int) -> int:
        """The length with so many bars added, rounded up to a step."""
        assert self.bar_lines is not None
        end = self.bar_lines.complete(self.given_ticks) + bars * self.bar_lines.last_bar_ticks
        return -(-end // self.step_ticks) * self.step_ticks


def read_length(request: pb.GenerateRequest, rules: LengthRules, validator: RequestValidator) -> Length | None:
    """Read `GenerateRequest.length`: the length of the whole piece; None if it is not valid or not known.

    If the meter or the tempo is not known (None), the length is checked as far as possible without it.
    """
    step_ticks = rules.step_ticks
    match request.WhichOneof("length"):
        case "steps":
            if validator.in_range("steps", request.steps, 1, rules.max_steps):
                return Length(rules.given_ticks + request.steps * step_ticks)
        case "bars":
            if rules.bar_lines is None:
                validator.at_least("bars", request.bars, 1)
            elif validator.in_range("bars", request.bars, 1, rules.max_bars):
                return Length(rules.after_bars(request.bars))
        case "seconds":
            if (steps := _steps(request.seconds, rules, validator)) is not None:
                return Length(rules.given_ticks + steps * step_ticks)
        case "open":
            return _open_length(request.open, rules, validator)
        case _ if rules.rewrites:
            return Length(rules.given_ticks)
        case _:
            return Length(rules.max_ticks, is_open=True)
    return None


def check_length(request: pb.GenerateRequest, validator: RequestValidator) -> None:
    """Check what does not depend on the model."""
    match request.WhichOneof("length"):
        case "steps":
            validator.at_least("steps", request.steps, 1)
        case "bars":
            validator.at_least("bars", request.bars, 1)
        case "seconds":
            validator.positive("seconds", request.seconds)
        case "open":
            _check_open(request.open, validator)


def _steps(seconds: float, rules: LengthRules, validator: RequestValidator) -> int | None:
    """The number of steps that last so many seconds, rounded up; None if it is not valid or not known."""
    if rules.tempo_bpm is None:
        validator.positive("seconds", seconds)
        return None
    steps_a_second = rules.tempo_bpm / 60.0 * TICKS_PER_QUARTER / rules.step_ticks
    # A little more than the limit is valid, so that the rounded limit is.
    limit = (rules.max_steps + _ROUNDING) / steps_a_second
    if not validator.positive("seconds", seconds, limit):
        return None
    return min(max(math.ceil(seconds * steps_a_second - _ROUNDING), 1), rules.max_steps)


def _open_length(message: pb.OpenLength, rules: LengthRules, validator: RequestValidator) -> Length | None:
    if rules.bar_lines is None:
        _check_open(message, validator)
        return None
    if not _check_open(message, validator, rules.max_bars):
        return None
    return Length(
        max_ticks=rules.after_bars(message.max_bars) if message.max_bars else rules.max_ticks,
        is_open=True,
        min_ticks=rules.after_bars(message.min_bars) if message.min_bars else 0,
    )


def _check_open(message: pb.OpenLength, validator: RequestValidator, max_bars: int | None = None) -> bool:
    """Check the bounds; `max_bars` is what the model can write, if that is known."""
    if max_bars is None:
        is_least = validator.at_least("open.min_bars", message.min_bars, 0)
        is_most = message.max_bars == 0 or validator.at_least("open.max_bars", message.max_bars, 1)
    else:
        is_least = validator.in_range("open.min_bars", message.min_bars, 0, max_bars)
        is_most = validator.in_range_if_set("open.max_bars", message.max_bars, 1, max_bars)
    if not (is_least and is_most):
        return False
    if 0 < message.max_bars < message.min_bars:
        return validator.add_violation("open.max_bars", f"at least min_bars ({message.min_bars})", message.max_bars)
    return True
