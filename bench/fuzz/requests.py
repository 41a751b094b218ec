"""Random requests that are mostly valid."""

import random
from collections.abc import Sequence
from typing import Final

from bench.fuzz.facts import ModelFacts, bar_ticks
from bench.fuzz.pieces import random_given
from fantasia.v1 import generation_pb2 as pb
from music.harmony import parse_scale

_SCALES: Final = ("C major", "A minor", "Eb major", "D dorian", "F# minor", "G mixolydian", "B harmonic minor")
_CHORDS: Final = ("C", "Am", "F", "G7", "Dm", "Em", "Bb", "F/A", "C/E", "Am7", "Bdim", "E", "G", "Cmaj7")
_ALL: Final = frozenset(range(12))
_MAX_STEPS: Final = 16
"""Steps that most requests write."""


def random_request(rng: random.Random, models: Sequence[ModelFacts]) -> pb.GenerateRequest:
    """A request for a short piece. Most are valid; the parts of some exclude each other."""
    model = rng.choice(models)
    request = pb.GenerateRequest()
    if not model.is_default or rng.random() < 0.7:
        request.model = model.name
    scale = rng.choice(_SCALES)
    in_scale = rng.random() < 0.3
    pitch_classes = parse_scale(scale).pitch_classes if in_scale and rng.random() < 0.95 else _ALL
    if rng.random() < 0.6:
        request.given.CopyFrom(random_given(rng, model, pitch_classes))
        if rng.random() < 0.6:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                _add_region(rng, model, request)
        elif rng.random() < 0.2:
            request.omit_given = True
    _set_meter_and_tempo(rng, model, request)
    _set_length(rng, model, request)
    if in_scale:
        if rng.random() < 0.7:
            request.constraints.scale = scale
        else:
            request.constraints.pitch_classes.values.extend(sorted(parse_scale(scale).pitch_classes))
    if rng.random() < 0.4:
        _set_constraints(rng, model, request)
    if rng.random() < 0.2:
        _set_controls(rng, model, request)
    if rng.random() < 0.5:
        _set_sampling(rng, request)
    if rng.random() < 0.8:
        request.seed = rng.getrandbits(rng.choice((4, 32, 64)))
    _set_candidates(rng, request)
    _set_output(rng, model, request)
    if rng.random() < 0.2:
        request.model_version = max(model.message.version, 1)
    return request


def random_evaluation(rng: random.Random, models: Sequence[ModelFacts]) -> pb.EvaluateRequest:
    """A request for the evaluation of a few short pieces."""
    model = rng.choice(models)
    request = pb.EvaluateRequest(model=model.name)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        request.pieces.append(random_given(rng, model, _ALL))
    return request


def _add_region(rng: random.Random, model: ModelFacts, request: pb.GenerateRequest) -> None:
    region = request.rewrite.add()
    match rng.randrange(4):
        case 0:
            pass
        case 1:
            region.bars.first = region.bars.last = 1
            if rng.random() < 0.3:
                region.bars.last = 2
        case _:
            start = rng.randint(0, 12)
            region.ticks.start = start * model.step_ticks
            region.ticks.end = (start + rng.randint(1, 12)) * model.step_ticks
            if rng.random() < 0.1:
                region.ticks.start += rng.randint(0, model.step_ticks)
    if rng.random() < 0.6:
        region.voices.extend(rng.sample(range(model.voices), rng.randint(1, model.voices)))


def _set_meter_and_tempo(rng: random.Random, model: ModelFacts, request: pb.GenerateRequest) -> None:
    if rng.random() < 0.15:
        request.meter.numerator, request.meter.denominator = rng.choice(model.meters)
    if rng.random() < 0.2:
        request.tempo_bpm = rng.choice((10.0, 400.0, rng.uniform(10, 400)))


def _set_length(rng: random.Random, model: ModelFacts, request: pb.GenerateRequest) -> None:
    if request.rewrite and rng.random() < 0.8:
        return
    meter = (request.meter.numerator, request.meter.denominator) if request.HasField("meter") else model.meters[0]
    choice = rng.random()
    if choice < 0.6:
        request.steps = rng.randint(1, _MAX_STEPS)
    elif choice < 0.8:
        request.bars = max(_MAX_STEPS * model.step_ticks // bar_ticks(*meter), 1) if rng.random() < 0.3 else 1
    elif choice < 0.9:
        request.seconds = rng.uniform(0.05, 2.0)
    elif choice < 0.998:
        request.open.max_bars = rng.randint(1, 2)
        if rng.random() < 0.4:
            request.open.min_bars = rng.randint(0, request.open.max_bars)


def _set_constraints(rng: random.Random, model: ModelFacts, request: pb.GenerateRequest) -> None:
    constraints = request.constraints
    constraints.no_rests = rng.random() < 0.3
    constraints.no_parallels = model.voices > 1 and rng.random() < 0.3
    is_fixed = request.WhichOneof("length") in ("steps", "bars", "seconds")
    constraints.natural_ending = is_fixed and rng.random() < 0.3
    for voice, (low, high) in enumerate(model.ranges):
        if rng.random() < 0.15:
            lowest = rng.randint(low, high)
            constraints.ranges.add(voice=voice, lowest=lowest, highest=rng.randint(lowest, high))
    if rng.random() < 0.3:
        chords = constraints.chords
        for _ in range(rng.randint(1, 4)):
            chord = chords.chords.add(length=rng.randint(0, 2))
            if rng.random() < 0.7:
                chord.symbol = rng.choice(_CHORDS)
            else:
                chord.pitch_classes.values.extend(rng.sample(range(12), rng.randint(2, 7)))
        chords.unit = rng.choice(pb.ChordUnit.values())
        chords.once = rng.random() < 0.3
        if rng.random() < 0.2:
            chords.first_bar = rng.randint(1, 2)


def _set_controls(rng: random.Random, model: ModelFacts, request: pb.GenerateRequest) -> None:
    request.controls.density = rng.choice((0.0, 0.05, 0.5, 1.0, 3.0, 20.0))
    if model.voices > 1 and rng.random() < 0.4:
        voice = rng.randrange(model.voices)
        request.controls.voice_densities.add(voice=voice, density=rng.choice((0.05, 0.5, 2.0)))


def _set_sampling(rng: random.Random, request: pb.GenerateRequest) -> None:
    if rng.random() < 0.7:
        request.sampling.temperature = rng.choice((0.02, 0.5, 0.9, 1.0, 2.0, 10.0))
    if rng.random() < 0.5:
        request.sampling.top_k = rng.choice((0, 1, 2, 10, 1024))
    if rng.random() < 0.5:
        request.sampling.top_p = rng.choice((1e-6, 0.3, 0.9, 1.0))


def _set_candidates(rng: random.Random, request: pb.GenerateRequest) -> None:
    # A request with a region and without a number gets the model's default, which is large.
    if rng.random() < 0.15 or (request.rewrite and rng.random() < 0.98):
        request.candidates = rng.choice((1, 1, 1, 1, 2, 2, 3, 4, 16))
        if rng.random() < 0.3:
            request.pieces = rng.randint(0, request.candidates)
        elif rng.random() < 0.3:
            request.candidate = rng.randrange(request.candidates)


def _set_output(rng: random.Random, model: ModelFacts, request: pb.GenerateRequest) -> None:
    if rng.random() < 0.15:
        request.program = rng.randrange(128)
    if rng.random() < 0.1:
        request.voice_programs.extend(rng.randrange(128) for _ in range(rng.randint(1, model.voices)))
    if not model.message.capabilities.dynamics and rng.random() < 0.1:
        shape = request.velocity_shape
        shape.velocity, shape.downbeat_accent = rng.randint(0, 127), rng.randint(-64, 64)
        shape.beat_accent, shape.swell = rng.randint(-64, 64), rng.randint(-64, 64)
        shape.phrase_bars = rng.choice((0, 1, 4, 64))
    if rng.random() < 0.1:
        request.transposition = rng.randint(-12, 12)
    request.return_resume_token = rng.random() < 0.15
