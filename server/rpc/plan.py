"""From what a caller asks to what the engine is asked: every field checked, every default filled in."""

import math
import secrets
from dataclasses import dataclass
from typing import Final

import numpy as np

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.errors import InvalidScoreError
from music.manifest import Defaults
from music.score import TICKS_PER_QUARTER, Meter
from music.tokenizers import Setting
from server.engine.request import EngineRequest, SamplingParams
from server.errors import Violation
from server.rpc.checks import Checks

MIN_TEMPERATURE: Final = float(np.float32(0.01))  # the wire's float is single: 0.01 arrives as a little less
MAX_TEMPERATURE: Final = 10.0
MAX_TOP_K: Final = 1024
MIN_TEMPO_BPM: Final = 10.0
MAX_TEMPO_BPM: Final = 400.0
_DRAWN_SEED_BITS: Final = 53  # a caller may give 64; what we draw survives JSON readers that know only doubles
_ROUNDING: Final = 1e-6  # of a step: 0.1 s at 100 bpm is a whole number of ticks on paper, not in binary


@dataclass(frozen=True, slots=True)
class Plan:
    """A valid request for one piece."""

    engine_request: EngineRequest
    setting: Setting
    length_ticks: int
    """Length asked for, or the longest that the piece may become."""

    @property
    def seed(self) -> int:
        """The seed given, or the one drawn."""
        return self.engine_request.seed


def plan_piece(request: pb.GenerateRequest, bundle: Bundle) -> Plan:
    """Check the request against the contract and the model, and fill in what is unset.

    Raises:
        InvalidRequestError: fields are out of range; tells all of them.
    """
    checks = Checks()
    sampling = _sampling(request.sampling, bundle.defaults, checks)
    tempo_bpm = _tempo_bpm(request, bundle.defaults, checks)
    program = _program(request, bundle.defaults, checks)
    meter = _meter(request, bundle, checks)
    steps = _steps(request, bundle, meter, tempo_bpm, checks)
    checks.finish()
    assert meter is not None
    assert tempo_bpm is not None
    tokenizer = bundle.tokenizer
    setting = Setting(meter=meter, tempo_bpm=tempo_bpm, program=program)
    length_ticks = (steps or bundle.max_steps) * tokenizer.step_ticks
    engine_request = EngineRequest(
        seed=request.seed if request.HasField("seed") else secrets.randbits(_DRAWN_SEED_BITS),
        max_tokens=tokenizer.token_count(length_ticks, setting),
        clock_row=tokenizer.clock.start(meter),
        sampling=sampling,
        end_token=tokenizer.end_token,
        may_end=steps is None,
        forced=tokenizer.opening(setting),
        stop_token=tokenizer.bar_token,
        # With its n-th bar token, n bars are over; what the last of them holds beyond the length is cut off. The
        # grammar bounds the tokens of a bar, so this comes before `max_tokens` does.
        stop_count=tokenizer.bar_count(length_ticks, setting),
    )
    return Plan(engine_request, setting, length_ticks)


def contract_violations(request: pb.GenerateRequest) -> tuple[Violation, ...]:
    """What is wrong with a request for any model; for a caller whose model is not there, who learns of both at once."""
    checks, defaults = Checks(), Defaults()
    _sampling(request.sampling, defaults, checks)
    _tempo_bpm(request, defaults, checks)
    _program(request, defaults, checks)
    if request.HasField("meter") and _meter_of(request.meter) is None:
        allowed = "1 to 64 beats of a whole note, half, quarter, 8th, 16th or 32nd, such as 4/4"
        checks.fail("meter", allowed, _written(request.meter))
    match request.WhichOneof("length"):
        case "steps":
            checks.at_least("steps", request.steps, 1)
        case "bars":
            checks.at_least("bars", request.bars, 1)
        case "seconds":
            checks.above_zero("seconds", request.seconds)
    return checks.violations


def _tempo_bpm(request: pb.GenerateRequest, defaults: Defaults, checks: Checks) -> float | None:
    """The tempo asked for, or the default; None if it is out of range."""
    tempo_bpm = request.tempo_bpm if request.HasField("tempo_bpm") else defaults.tempo_bpm
    return tempo_bpm if checks.between("tempo_bpm", tempo_bpm, MIN_TEMPO_BPM, MAX_TEMPO_BPM) else None


def _program(request: pb.GenerateRequest, defaults: Defaults, checks: Checks) -> int:
    """The program asked for, or the default."""
    program = request.program if request.HasField("program") else defaults.program
    checks.between("program", program, 0, 127)
    return program


def _sampling(asked: pb.Sampling, default: Defaults, checks: Checks) -> SamplingParams:
    """The sampling parameters; the model's where a field is unset or wrong."""
    temperature, top_k, top_p = default.temperature, default.top_k, default.top_p
    if asked.HasField("temperature") and checks.between(
        "sampling.temperature", asked.temperature, MIN_TEMPERATURE, MAX_TEMPERATURE
    ):
        temperature = asked.temperature
    if asked.HasField("top_k") and checks.between("sampling.top_k", asked.top_k, 0, MAX_TOP_K):
        top_k = asked.top_k
    if asked.HasField("top_p") and checks.above_zero("sampling.top_p", asked.top_p, 1.0):
        top_p = asked.top_p
    return SamplingParams(temperature, top_k, top_p)


def _meter(request: pb.GenerateRequest, bundle: Bundle, checks: Checks) -> Meter | None:
    """The meter asked for, or the model's first; None if it cannot be had."""
    known = bundle.tokenizer.clock.meters
    if not request.HasField("meter"):
        return known[0]
    meter = _meter_of(request.meter)
    if meter not in known:
        checks.fail("meter", "one of the model's meters, " + ", ".join(map(str, known)), _written(request.meter))
        return None
    return meter


def _meter_of(asked: pb.Meter) -> Meter | None:
    """The meter that a message holds; None if there is no such meter."""
    try:
        return Meter(asked.numerator, asked.denominator)
    except InvalidScoreError:
        return None


def _written(meter: pb.Meter) -> str:
    return f"{meter.numerator}/{meter.denominator}"


def _steps(
    request: pb.GenerateRequest, bundle: Bundle, meter: Meter | None, tempo_bpm: float | None, checks: Checks
) -> int | None:
    """Length asked for in steps; None where the model decides, or the length is wrong.

    Without a meter or tempo, because they were wrong, the length is checked as far as it does not need them.
    """
    step_ticks, max_steps = bundle.tokenizer.step_ticks, bundle.max_steps
    match request.WhichOneof("length"):
        case "steps":
            if checks.between("steps", request.steps, 1, max_steps):
                return request.steps
        case "bars":
            if meter is None:
                checks.at_least("bars", request.bars, 1)
            elif checks.between("bars", request.bars, 1, max_steps * step_ticks // meter.bar_ticks):
                return -(-request.bars * meter.bar_ticks // step_ticks)
        case "seconds":
            if tempo_bpm is None:
                checks.above_zero("seconds", request.seconds)
                return None
            steps_a_second = tempo_bpm / 60.0 * TICKS_PER_QUARTER / step_ticks
            # A hair more than the limit is allowed, so that the limit itself is, however it was rounded.
            limit = (max_steps + _ROUNDING) / steps_a_second
            if checks.above_zero("seconds", request.seconds, limit):
                return min(max(math.ceil(request.seconds * steps_a_second - _ROUNDING), 1), max_steps)
    return None
