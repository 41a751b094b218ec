"""Faults for requests that were valid: values that a field may not have, and values that are only unusual."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from bench.fuzz.facts import ModelFacts
from fantasia.v1 import generation_pb2 as pb

_INTEGERS: Final = (-(2**31), -2, -1, 0, 1, 2, 11, 12, 63, 64, 65, 100, 127, 128, 255, 1024, 1025, 65536, 2**31 - 1)
_NUMBERS: Final = (math.nan, math.inf, -math.inf, -1.0, -0.0, 0.0, 5e-324, 1e-30, 1.0, 1e9, 1e300)
_TEXTS: Final = (
    "",
    "\0",
    " ",
    "folk",
    "C",
    "H minor",
    "C major ",
    "é" * 40,
    "a" * 5000,
    "\u202e\n\t",
    "%s%n{0}",
    "../..",
)
_MAX_COPIES: Final = 300

Fault = Callable[[random.Random, pb.GenerateRequest, ModelFacts], tuple[str, ...]]


def break_request(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    """Give one field a value that it may not have.

    Returns:
        Paths of fields of which at least one must be refused.
    """
    return rng.choice(_FAULTS)(rng, request, model)


def disturb(rng: random.Random, message: Message) -> None:
    """Give some field of a message, or of a message within it, an unusual value, valid or not."""
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    present = [field for field, _ in message.ListFields()]
    field = rng.choice(present if present and rng.random() < 0.7 else fields)
    name, repeated = field.name, field.is_repeated
    inner = getattr(message, name)
    if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.GetOptions().map_entry:
        return
    if repeated:
        _disturb_list(rng, inner, field)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if rng.random() < 0.1:
            message.ClearField(name)
            return
        if rng.random() < 0.3:
            inner.SetInParent()
        disturb(rng, inner)
    else:
        setattr(message, name, _value(rng, field))


def _disturb_list(rng: random.Random, values: Any, field: FieldDescriptor) -> None:
    is_message = field.type == FieldDescriptor.TYPE_MESSAGE
    choice = rng.random()
    if choice < 0.2 and len(values):
        del values[rng.randrange(len(values))]
    elif choice < 0.4 and len(values):
        copies = rng.choice((1, 1, 2, _MAX_COPIES)) if len(values) < _MAX_COPIES else 1
        values.extend([values[rng.randrange(len(values))]] * copies)
    elif choice < 0.7 or not len(values):
        if is_message:
            disturb(rng, values.add())
        else:
            values.append(_value(rng, field))
    elif is_message:
        disturb(rng, values[rng.randrange(len(values))])
    else:
        values[rng.randrange(len(values))] = _value(rng, field)


def _value(rng: random.Random, field: FieldDescriptor) -> Any:
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.TYPE_STRING:
            return rng.choice(_TEXTS)
        case FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(rng.choice((0, 1, 20, 300)))
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return rng.choice(_NUMBERS)
        case FieldDescriptor.TYPE_UINT64:
            return rng.choice((0, 1, 2**32, 2**63, 2**64 - 1))
        case _:
            return rng.choice(_INTEGERS)


def _set(path: str, *values: Any) -> Fault:
    """A fault that gives a field one of some values."""

    def fault(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
        *parents, name = path.split(".")
        message: Any = request
        for parent in parents:
            message = getattr(message, parent)
        setattr(message, name, rng.choice(values))
        return (path,)

    return fault


def _too_long(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    request.steps = model.message.max_steps + rng.choice((1, 1000, 10**9))
    return ("steps",)


def _open_bounds(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    request.open.min_bars, request.open.max_bars = rng.choice(((2, 1), (-1, 1), (0, -1), (10**8, 0), (0, 10**8)))
    return ("open.min_bars", "open.max_bars", "open")


def _unknown_model(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    request.model = rng.choice((model.name.upper(), model.name + " ", "\0", "x" * 3000, "é"))
    return ("model",)


def _meter(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    numerator, denominator = rng.choice(((0, 4), (4, 0), (4, 3), (65, 4), (-4, 4), (4, 64), (13, 16), (2**31 - 1, 4)))
    request.meter.numerator, request.meter.denominator = numerator, denominator
    return ("meter", "meter.numerator", "meter.denominator")


def _rewrite_nothing(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    request.ClearField("given")
    del request.rewrite[:]
    request.rewrite.add()
    return ("rewrite", "rewrite[0]", "given")


def _omit_and_rewrite(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    request.omit_given = True
    request.rewrite.add()
    return ("omit_given",)


def _wrong_region(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    _give_a_note(request)
    index = len(request.rewrite)
    region = request.rewrite.add()
    path = f"rewrite[{index}]"
    match rng.randrange(5):
        case 0:
            region.bars.first, region.bars.last = rng.choice(((-1, 1), (3, 2), (1000, 1000), (1, 2**31 - 1)))
        case 1:
            region.ticks.start, region.ticks.end = rng.choice(((-1, 480), (480, 480), (480, 0), (10**9, 2 * 10**9)))
        case 2:
            region.voices.append(rng.choice((-1, model.voices, 2**31 - 1)))
        case 3:
            region.voices.extend([0, 0])
        case _:
            request.rewrite.extend([region] * 300)
            return ("rewrite",)
    return (path,)


def _too_many_candidates(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    request.candidates = rng.choice((-1, 65, 1000, 2**31 - 1))
    return ("candidates",)


def _pieces(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    request.candidates = rng.randint(1, 4)
    request.ClearField("candidate")
    if rng.random() < 0.5:
        request.pieces = rng.choice((-1, request.candidates + 1, 2**31 - 1))
        return ("pieces",)
    request.candidate = rng.choice((-1, request.candidates, 2**31 - 1))
    return ("candidate",)


def _wrong_note(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    _give_a_note(request)
    index = rng.randrange(len(request.given.notes.notes))
    note = request.given.notes.notes[index]
    name, value = rng.choice(
        (
            ("onset_ticks", -1),
            ("onset_ticks", 2**31 - 1),
            ("duration_ticks", 0),
            ("duration_ticks", -5),
            ("duration_ticks", 2**31 - 1),
            ("pitch", -1),
            ("pitch", 128),
            ("velocity", 128),
            ("velocity", -1),
            ("voice", -1),
            ("voice", 2**31 - 1),
        )
    )
    setattr(note, name, value)
    return ("given",)


def _wrong_note_list(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    _give_a_note(request)
    notes = request.given.notes
    match rng.randrange(6):
        case 0:
            del notes.notes[:]
        case 1:
            notes.ticks_per_quarter = rng.choice((-1, 32768, 2**31 - 1))
        case 2:
            notes.length_ticks = rng.choice((-1, 2**31 - 1))
        case 3:
            notes.pickup_ticks = rng.choice((-1, 10**6))
        case 4:
            notes.meter.numerator, notes.meter.denominator = rng.choice(((0, 4), (4, 5)))
        case _:
            notes.tempo_bpm = rng.choice((math.nan, 0.0, -1.0, 401.0))
    return ("given",)


def _wrong_given(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    if rng.random() < 0.5:
        request.given.midi = rng.choice((b"", b"MThd", rng.randbytes(40), b"x" * ((1 << 19) + 1)))
        return ("given",)
    _give_a_note(request)
    del request.given.voices[:]
    request.given.voices.extend(rng.choice(([-1], [model.voices], [0] * 40, [0, 0])))
    return ("given",)


def _wrong_harmony(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    constraints = request.constraints
    match rng.randrange(6):
        case 0:
            constraints.scale = rng.choice(("", "H minor", "C", "C majr", "major", "\0", "C major " * 50, "Cbbb major"))
        case 1:
            constraints.pitch_classes.SetInParent()
            del constraints.pitch_classes.values[:]
            if rng.random() < 0.7:
                constraints.pitch_classes.values.append(rng.choice((-1, 12, 2**31 - 1)))
        case 2:
            constraints.chords.chords.add(symbol=rng.choice(("", "N.C.", "H7", "C/", "Cxyz", "C" * 99, "\0")))
        case 3:
            constraints.chords.chords.add(symbol="C", length=rng.choice((-1, 1025, 2**31 - 1)))
        case 4:
            del constraints.chords.chords[:]
            constraints.chords.SetInParent()
        case _:
            constraints.chords.chords.add(pitch_classes=pb.PitchClasses(values=rng.choice(([], [12], [-1]))))
    return ("constraints",)


def _wrong_ranges(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    low, high = model.ranges[0]
    del request.constraints.ranges[:]
    voice, lowest, highest = rng.choice(
        ((-1, low, high), (99, low, high), (0, high, low - 1), (0, -1, 5), (0, 100, 200))
    )
    request.constraints.ranges.add(voice=voice, lowest=lowest, highest=highest)
    return ("constraints.ranges",)


def _voice_densities(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    voice, density = rng.choice(((-1, 1.0), (99, 1.0), (0, math.nan), (0, -1.0), (0, 21.0), (0, math.inf)))
    request.controls.voice_densities.add(voice=voice, density=density)
    return ("controls.voice_densities",)


def _open_ending(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    request.open.max_bars = 1
    request.constraints.natural_ending = True
    return ("constraints.natural_ending",)


def _too_many_programs(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    request.voice_programs.extend([0] * 200)
    return ("voice_programs",)


def _programs(rng: random.Random, request: pb.GenerateRequest, model: ModelFacts) -> tuple[str, ...]:
    del request.voice_programs[:]
    request.voice_programs.append(rng.choice((-1, 128, 2**31 - 1)))
    return ("voice_programs",)


def _give_a_note(request: pb.GenerateRequest) -> None:
    """Make sure that notes are given."""
    if request.given.WhichOneof("piece") != "notes" or not request.given.notes.notes:
        request.given.notes.notes.add(duration_ticks=480, pitch=60)


_FAULTS: Final[Sequence[Fault]] = (
    _set("steps", 0, -1, -(2**31)),
    _set("bars", 0, -1, 10**6, 2**31 - 1),
    _set("seconds", 0.0, -1.0, math.nan, math.inf, -math.inf, 1e300),
    _too_long,
    _open_bounds,
    _unknown_model,
    _meter,
    _set("tempo_bpm", 0.0, 9.99, 400.01, math.nan, math.inf, -100.0),
    _set("program", -1, 128, 2**31 - 1),
    _programs,
    _too_many_programs,
    _set("sampling.temperature", 0.0, -1.0, 0.009, 10.01, math.nan, math.inf),
    _set("sampling.top_k", -1, 1025, 2**31 - 1),
    _set("sampling.top_p", 0.0, -0.5, 1.01, math.nan, math.inf),
    _too_many_candidates,
    _pieces,
    _set("transposition", -49, 49, 2**31 - 1, -(2**31)),
    _rewrite_nothing,
    _omit_and_rewrite,
    _wrong_region,
    _wrong_note,
    _wrong_note_list,
    _wrong_given,
    _wrong_harmony,
    _wrong_ranges,
    _set("controls.density", -1.0, 0.04, 20.5, math.nan, math.inf),
    _voice_densities,
    _open_ending,
    _set("velocity_shape.velocity", -1, 128),
    _set("velocity_shape.downbeat_accent", -65, 65),
    _set("velocity_shape.phrase_bars", -1, 65),
    _set("resume_token", b"x", b"\0" * 100, b"\xff" * 20_000),
)
