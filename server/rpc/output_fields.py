"""Reads fields that change a piece after it is written: programs, transposition, velocities."""

from collections.abc import Iterable
from typing import Final

from fantasia.v1 import generation_pb2 as pb
from music.dynamics import MAX_ACCENT, MAX_PHRASE_BARS, MAX_VELOCITY, MIN_VELOCITY, VelocityShape
from music.score import DEFAULT_VELOCITY, Score
from server.rpc.validation import RequestValidator

MAX_TRANSPOSITION: Final = 48
_MAX_PROGRAM: Final = 127
_MAX_PITCH: Final = 127


def read_program(request: pb.GenerateRequest, validator: RequestValidator) -> int | None:
    """The requested program of all voices; None if it is unset or out of range."""
    if not request.HasField("program") or not validator.in_range("program", request.program, 0, _MAX_PROGRAM):
        return None
    return request.program


def read_programs(
    request: pb.GenerateRequest, program: int, given: Score | None, voices: int, validator: RequestValidator
) -> tuple[int, ...]:
    """The program of each voice, the highest first; empty if `program` is that of all.

    Args:
        request: the request.
        program: of voices that have none of their own.
        given: the given piece, whose programs count unless the request has `program`; None for none.
        voices: number of voices of the piece.
        validator: collects the violations.
    """
    asked = request.voice_programs
    if given is None and not asked:
        return ()
    if len(asked) > voices:
        validator.refuse("voice_programs", f"must be at most {voices}, one for each voice, not {len(asked)}")
    for index, value in enumerate(asked[:voices]):
        validator.in_range(f"voice_programs[{index}]", value, 0, _MAX_PROGRAM)
    if given is not None and given.programs and not request.HasField("program"):
        programs = [*asked, *given.programs[len(asked) :]]
    else:
        programs = list(asked)
    return tuple(programs) if any(each != program for each in programs) else ()


def read_transposition(
    request: pb.GenerateRequest, pitches: Iterable[tuple[int, int]], validator: RequestValidator
) -> int:
    """The transposition in semitones.

    Args:
        request: the request.
        pitches: lowest and highest pitches that the piece may have.
        validator: collects the violations.
    """
    semitones = request.transposition
    if semitones == 0 or not validator.in_range("transposition", semitones, -MAX_TRANSPOSITION, MAX_TRANSPOSITION):
        return 0
    lowest, highest = -MAX_TRANSPOSITION, MAX_TRANSPOSITION
    for low, high in pitches:
        lowest, highest = max(lowest, -low), min(highest, _MAX_PITCH - high)
    if not lowest <= semitones <= highest:
        allowed = f"{lowest} to {highest}, so that every pitch that the piece may have stays in 0 to {_MAX_PITCH}"
        validator.add_violation("transposition", allowed, semitones)
    return semitones


def read_shape(request: pb.GenerateRequest, *, dynamics: bool, validator: RequestValidator) -> VelocityShape | None:
    """The shape of the velocities; None if it is unset or not valid.

    Args:
        request: the request.
        dynamics: whether the model writes the dynamics of this piece itself.
        validator: collects the violations.
    """
    if not request.HasField("velocity_shape"):
        return None
    field, asked = "velocity_shape", request.velocity_shape
    if dynamics:
        validator.refuse(field, "needs a piece without dynamics: the model writes the dynamics of this one itself")
    valid = [
        validator.in_range_if_set(f"{field}.velocity", asked.velocity, MIN_VELOCITY, MAX_VELOCITY),
        validator.in_range(f"{field}.downbeat_accent", asked.downbeat_accent, -MAX_ACCENT, MAX_ACCENT),
        validator.in_range(f"{field}.beat_accent", asked.beat_accent, -MAX_ACCENT, MAX_ACCENT),
        validator.in_range_if_set(f"{field}.phrase_bars", asked.phrase_bars, 1, MAX_PHRASE_BARS),
        validator.in_range(f"{field}.swell", asked.swell, -MAX_ACCENT, MAX_ACCENT),
    ]
    if not all(valid):
        return None
    velocity = asked.velocity or DEFAULT_VELOCITY
    return VelocityShape(velocity, asked.downbeat_accent, asked.beat_accent, asked.phrase_bars, asked.swell)
