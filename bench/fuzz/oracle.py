"""Checks that an answer does what its request asks for, from the contract alone."""

import math
from collections import Counter
from itertools import pairwise
from operator import attrgetter, eq
from typing import Final

from bench.fuzz.bars import Signature
from bench.fuzz.constraints import constraint_problems
from bench.fuzz.facts import TICKS_PER_QUARTER, ModelFacts
from bench.fuzz.frame import Frame
from bench.fuzz.given import Given, Sound
from bench.fuzz.midi_check import midi_problems
from fantasia.v1 import generation_pb2 as pb

MAX_TOKEN_BYTES: Final = 16 << 10
_ROUNDING: Final = 1e-6  # of a step, as for the limits of seconds
_TOLERANCE: Final = 1e-6  # of sums of nats
_VELOCITY: Final = 80
"""Of written notes without dynamics."""
_MIDI_EVERY: Final = 4  # mido takes longer than all other checks together


def answer_problems(request: pb.GenerateRequest, response: pb.GenerateResponse, model: ModelFacts) -> list[str]:
    """How an answer differs from what its request asks for; empty if it does not.

    Args:
        request: a request that was answered.
        response: the answer.
        model: that wrote it.
    """
    problems = _response_problems(request, response, model)
    if problems:
        return problems
    given = Given.of(request.given) if request.HasField("given") else None
    frame = Frame.of(request, given, model)
    for piece in response.pieces:
        found = _piece_problems(frame, piece)
        if len(piece.midi) % _MIDI_EVERY == 0:
            found += midi_problems(piece)
        problems += [f"candidate {piece.candidate}: {problem}" for problem in found]
    return problems


def _response_problems(request: pb.GenerateRequest, response: pb.GenerateResponse, model: ModelFacts) -> list[str]:
    pieces = response.pieces
    count = request.candidates
    if not pieces:
        return ["there are no pieces"]
    if not count:
        uses_particles = bool(request.rewrite) and not request.resume_token
        count = response.candidates if uses_particles else 1
    wanted = 1 if request.HasField("candidate") else request.pieces or 1
    checks = {
        f"the model is {response.model!r}": response.model == model.name,
        "the digest is another one": response.model_digest == model.message.digest,
        "the precision is another one": response.precision == model.message.precision,
        f"{response.candidates} candidates": response.candidates == count,
        f"{len(pieces)} pieces": len(pieces) == wanted
        or (request.HasField("constraints") and 1 <= len(pieces) < wanted),
        "pieces are not ranked": any(
            all(rank(a) <= rank(b) for a, b in pairwise(pieces))
            # Which of both depends on whether given notes follow written ones.
            for rank in (attrgetter("nats_per_note_step"), attrgetter("given_nats"))
        ),
        "a candidate is returned twice": len({piece.candidate for piece in pieces}) == len(pieces),
        "another candidate is returned": not request.HasField("candidate")
        or [piece.candidate for piece in pieces] == [request.candidate],
        "a candidate has no such number": all(0 <= piece.candidate < response.candidates for piece in pieces),
        "the report of the given piece is missing": response.HasField("given") == request.HasField("given"),
        "the seed is another one": not request.HasField("seed")
        or response.candidates > 1
        or pieces[0].seed == request.seed
        or bool(request.resume_token),
    }
    if response.HasField("given"):
        checks["the report says the wrong thing about the given piece"] = response.given.included != request.omit_given
    return [problem for problem, holds in checks.items() if not holds]


def _piece_problems(frame: Frame, piece: pb.Piece) -> list[str]:
    request = frame.request
    offset = frame.given_length if request.omit_given else 0
    notes = [
        Sound(note.onset_ticks, note.duration_ticks, note.pitch - request.transposition, note.velocity, note.voice)
        for note in piece.notes
    ]
    problems = _form_problems(frame, piece, notes)
    length = piece.length_ticks + offset
    problems += _length_problems(frame, piece, length)
    placed = [note._replace(onset=note.onset + offset) for note in notes]
    written, found = _split(frame, placed)
    return problems + (found or constraint_problems(frame, written, placed, length))


def _form_problems(frame: Frame, piece: pb.Piece, notes: list[Sound]) -> list[str]:
    """Whether the parts of a piece fit each other."""
    request = frame.request
    order = [(note.onset, note.voice) for note in notes]
    given_tempo = None if frame.given is None else frame.given.tempo_bpm
    tempo = request.tempo_bpm if request.HasField("tempo_bpm") else given_tempo
    values, omits = (piece.nats, piece.nats_per_note_step, piece.given_nats), request.omit_given
    checks = {
        "notes are not sorted": order == sorted(order),
        "a note is impossible": all(
            note.onset >= 0 and note.duration >= 1 and 1 <= note.velocity <= 127 and 0 <= sent.pitch <= 127
            for note, sent in zip(notes, piece.notes, strict=True)
        ),
        "a note lasts longer than the piece": all(note.end <= piece.length_ticks for note in notes),
        f"{piece.ticks_per_quarter} ticks in a quarter": piece.ticks_per_quarter == TICKS_PER_QUARTER,
        f"nats are {values}": all(map(math.isfinite, values)) and piece.given_nats <= piece.nats + _TOLERANCE,
        "it did not end": piece.finish_reason in (pb.FINISH_REASON_LENGTH, pb.FINISH_REASON_END),
        f"the tempo is {piece.tempo_bpm}": tempo is None or math.isclose(piece.tempo_bpm, tempo),
        "the meter is another one": _meter_of(piece) == frame.bars.meter_at(frame.given_length if omits else 0),
        "later meters are others": _later_meters(piece) == (() if omits else frame.bars.changes),
        "the program is another one": not request.HasField("program")
        or bool(request.voice_programs)
        or set(piece.programs) <= {request.program},
        # Voices without notes may have no program.
        "programs of voices are others": all(map(eq, request.voice_programs, piece.programs)),
        "a resume token is missing, or too much": bool(piece.resume_token) == request.return_resume_token,
        f"the resume token has {len(piece.resume_token)} bytes": len(piece.resume_token) <= MAX_TOKEN_BYTES,
    }
    return [problem for problem, holds in checks.items() if not holds]


def _meter_of(piece: pb.Piece) -> Signature | None:
    return (piece.meter.numerator, piece.meter.denominator) if piece.HasField("meter") else None


def _later_meters(piece: pb.Piece) -> tuple[tuple[int, Signature], ...]:
    return tuple((change.tick, (change.meter.numerator, change.meter.denominator)) for change in piece.meter_changes)


def _length_problems(frame: Frame, piece: pb.Piece, length: int) -> list[str]:
    """Whether a piece is as long as asked for. `length` has the given part in it."""
    request, model, given = frame.request, frame.model, frame.given
    step, begin = model.step_ticks, frame.given_length
    most = begin + model.message.max_steps * step

    def after_bars(bars: int) -> int:
        return -(-(frame.bars.line_from(begin) + bars * frame.bars.last_bar_ticks) // step) * step

    exact: int | None = None
    least = 0
    match request.WhichOneof("length"):
        case "steps":
            exact = begin + request.steps * step
        case "bars":
            exact = after_bars(request.bars)
        case "seconds":
            tempo = request.tempo_bpm if request.HasField("tempo_bpm") else given.tempo_bpm if given else None
            if tempo is None and given is None:
                tempo = model.message.default_tempo_bpm
            if tempo is not None:
                exact = (
                    begin
                    + max(math.ceil(request.seconds * tempo / 60 * TICKS_PER_QUARTER / step - _ROUNDING), 1) * step
                )
        case "open":
            most = after_bars(request.open.max_bars) if request.open.max_bars else most
            least = after_bars(request.open.min_bars) if request.open.min_bars else 0
        case _:
            exact = begin if request.rewrite else None
    if exact is not None and length != exact:
        return [f"it has {length} ticks instead of {exact}"]
    if exact is not None and piece.finish_reason != pb.FINISH_REASON_LENGTH:
        return ["a piece of a fixed length ended by itself"]
    return [] if least <= length <= most else [f"it has {length} ticks, not {least} to {most}"]


def _split(frame: Frame, notes: list[Sound]) -> tuple[list[Sound], list[str]]:
    """The written notes of a piece, and what is wrong with the given ones and with the places of the written ones.

    A given note begins at the step nearest to its onset.
    """
    step = frame.model.step_ticks
    kept: Counter[Sound] = Counter()
    optional: Counter[Sound] = Counter()
    for note in () if frame.given is None or frame.request.omit_given else frame.given.notes:
        nearest = min(round(note.onset / step) * step, frame.given_length - step)
        if note.voice >= frame.model.voices and frame.regions:
            optional[note] += 1  # no region names its voice
        elif not frame.in_region(nearest, note.voice):
            kept[note] += 1
    found = Counter(notes)
    problems = []
    if missing := kept - found:
        problems.append(f"given notes are missing or changed: {list(missing.elements())[:3]}")
    # A written note may be equal to an optional one only where notes are written, which makes no difference.
    rest = found - kept
    written = sorted((rest - optional).elements())
    velocities = frame.request.HasField("velocity_shape") or _writes_dynamics(frame)
    for note in written:
        if note.voice >= frame.model.voices:
            problems.append(f"a note is written in a voice that the model does not have: {note}")
        elif note.onset % step:
            problems.append(f"a written note is off the grid: {note}")
        elif not frame.is_written(note.onset, note.voice):
            problems.append(f"a note is written outside the regions: {note}")
        elif not velocities and note.velocity != _VELOCITY:
            problems.append(f"a written note has another velocity: {note}")
        if problems:
            break
    return written, problems


def _writes_dynamics(frame: Frame) -> bool:
    """Whether the model may choose velocities: as `Capabilities.dynamics` says, or as the given piece does."""
    if frame.model.message.capabilities.dynamics:
        return True
    learns_dynamics = frame.model.message.tokenizer == "events"
    follows = frame.given is not None and frame.given.has_dynamics
    return learns_dynamics and (follows or bool(frame.request.resume_token))


def evaluation_problems(request: pb.EvaluateRequest, response: pb.EvaluateResponse, model: ModelFacts) -> list[str]:
    """How an evaluation differs from what its request asks for; empty if it does not."""
    if len(response.evaluations) != len(request.pieces):
        return [f"{len(response.evaluations)} evaluations of {len(request.pieces)} pieces"]
    problems = []
    for index, (piece, found) in enumerate(zip(request.pieces, response.evaluations, strict=True)):
        given = Given.of(piece)
        values = (found.nats, found.nats_per_note_step, *(note.nats for note in found.notes))
        total = math.fsum(note.nats for note in found.notes)
        checks = {
            f"nats are {values[:3]}": all(map(math.isfinite, values)) and min(values) >= -_TOLERANCE,
            "notes have more nats than the piece": total <= found.nats + 1e-3 + 1e-5 * abs(total),
            f"{len(found.notes)} notes of {len(given.notes)}": len(found.notes) <= len(given.notes),
            "there are no tokens": found.token_count >= 1,
            "notes are not sorted": all(a.note.onset_ticks <= b.note.onset_ticks for a, b in pairwise(found.notes)),
        }
        problems += [f"pieces[{index}]: {problem}" for problem, holds in checks.items() if not holds]
    if response.model != model.name or response.model_digest != model.message.digest:
        problems.append(f"the model is {response.model!r}")
    return problems
