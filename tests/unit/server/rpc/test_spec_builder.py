"""Validation of requests, and their defaults."""

import math
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.dynamics import VelocityShape
from music.score import Meter, ScoreAttributes
from music.tokenizers import EventsTokenizer
from runtime.sampling import SamplingParams
from server.errors import InvalidRequestError
from server.rpc.generation_spec import GenerationSpec, ModelTerms
from server.rpc.spec_builder import build_generation_spec, contract_violations


def attributes_of(spec: GenerationSpec) -> ScoreAttributes:
    finishing = spec.finishing
    return ScoreAttributes(meter=finishing.bar_lines.meter, tempo_bpm=finishing.tempo_bpm, program=finishing.program)


def violations(request: pb.GenerateRequest, bundle: Bundle) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        build_generation_spec(request, ModelTerms(bundle))
    descriptions = {violation.field: violation.description for violation in caught.value.violations}
    assert len(descriptions) == len(caught.value.violations)
    return descriptions


def test_unset_fields_take_the_models_defaults(bundle: Bundle) -> None:
    spec = build_generation_spec(pb.GenerateRequest(), ModelTerms(bundle))

    assert attributes_of(spec) == ScoreAttributes(meter=Meter(4, 4), tempo_bpm=96.0, program=19)
    assert spec.engine_request.sampling == SamplingParams(0.9, 20, 0.95)
    assert spec.engine_request.max_tokens == 512 * 4
    assert spec.engine_request.may_end
    assert spec.engine_request.end_token == bundle.tokenizer.end_token
    assert spec.engine_request.position_index == bundle.tokenizer.positions.start(Meter(4, 4))
    assert spec.engine_request.forced == ()
    assert (spec.engine_request.stop_token, spec.engine_request.stop_count) == (None, 0)
    assert spec.length.max_ticks == 512 * 120


def test_every_given_field_is_used(bundle: Bundle) -> None:
    spec = build_generation_spec(
        pb.GenerateRequest(
            bars=3,
            seed=5,
            sampling=pb.Sampling(temperature=0.5, top_k=1, top_p=0.25),
            tempo_bpm=60.0,
            program=127,
            meter=pb.Meter(numerator=3, denominator=4),
        ),
        ModelTerms(bundle),
    )

    assert attributes_of(spec) == ScoreAttributes(meter=Meter(3, 4), tempo_bpm=60.0, program=127)
    assert spec.engine_request.sampling == SamplingParams(0.5, 1, 0.25)
    assert spec.engine_request.max_tokens == 3 * 12 * 4
    assert not spec.engine_request.may_end
    assert spec.engine_request.position_index == bundle.tokenizer.positions.start(Meter(3, 4))
    assert spec.seed == 5


def test_zero_is_a_value_if_zero_is_allowed(bundle: Bundle) -> None:
    spec = build_generation_spec(
        pb.GenerateRequest(seed=0, program=0, sampling=pb.Sampling(top_k=0)), ModelTerms(bundle)
    )

    assert (spec.seed, attributes_of(spec).program, spec.engine_request.sampling.top_k) == (0, 0, 0)


@pytest.mark.parametrize(
    "request_",
    [
        pb.GenerateRequest(sampling=pb.Sampling(temperature=0.01)),
        pb.GenerateRequest(sampling=pb.Sampling(temperature=10)),
        pb.GenerateRequest(sampling=pb.Sampling(top_k=1024)),
        pb.GenerateRequest(sampling=pb.Sampling(top_p=1)),
        pb.GenerateRequest(sampling=pb.Sampling(top_p=1e-6)),
        pb.GenerateRequest(tempo_bpm=10),
        pb.GenerateRequest(tempo_bpm=400),
        pb.GenerateRequest(bars=1),
        pb.GenerateRequest(bars=32),
        pb.GenerateRequest(bars=42, meter=pb.Meter(numerator=3, denominator=4)),
        pb.GenerateRequest(steps=512),
        pb.GenerateRequest(seconds=80.0, tempo_bpm=96),
        pb.GenerateRequest(seconds=512 / 4 / 97.3 * 60, tempo_bpm=97.3),
    ],
)
def test_the_limits_themselves_are_valid(bundle: Bundle, request_: pb.GenerateRequest) -> None:
    assert 1 <= build_generation_spec(request_, ModelTerms(bundle)).engine_request.max_tokens <= 512 * 4


NAN = math.nan
INFINITY = math.inf


@pytest.mark.parametrize(
    ("request_", "field", "allowed"),
    [
        (pb.GenerateRequest(sampling=pb.Sampling(temperature=NAN)), "sampling.temperature", "0.01 to 10"),
        (pb.GenerateRequest(sampling=pb.Sampling(temperature=INFINITY)), "sampling.temperature", "0.01 to 10"),
        (pb.GenerateRequest(sampling=pb.Sampling(temperature=0)), "sampling.temperature", "0.01 to 10"),
        (pb.GenerateRequest(sampling=pb.Sampling(temperature=-1)), "sampling.temperature", "0.01 to 10"),
        (pb.GenerateRequest(sampling=pb.Sampling(temperature=10.1)), "sampling.temperature", "0.01 to 10"),
        (pb.GenerateRequest(sampling=pb.Sampling(top_k=-1)), "sampling.top_k", "0 to 1024"),
        (pb.GenerateRequest(sampling=pb.Sampling(top_k=1025)), "sampling.top_k", "0 to 1024"),
        (pb.GenerateRequest(sampling=pb.Sampling(top_p=0)), "sampling.top_p", "above 0 and at most 1"),
        (pb.GenerateRequest(sampling=pb.Sampling(top_p=1.01)), "sampling.top_p", "above 0 and at most 1"),
        (pb.GenerateRequest(sampling=pb.Sampling(top_p=NAN)), "sampling.top_p", "above 0 and at most 1"),
        (pb.GenerateRequest(sampling=pb.Sampling(top_p=-INFINITY)), "sampling.top_p", "above 0 and at most 1"),
        (pb.GenerateRequest(tempo_bpm=9.99), "tempo_bpm", "10 to 400"),
        (pb.GenerateRequest(tempo_bpm=0), "tempo_bpm", "10 to 400"),
        (pb.GenerateRequest(tempo_bpm=NAN), "tempo_bpm", "10 to 400"),
        (pb.GenerateRequest(tempo_bpm=INFINITY), "tempo_bpm", "10 to 400"),
        (pb.GenerateRequest(program=-1), "program", "0 to 127"),
        (pb.GenerateRequest(program=200), "program", "0 to 127"),
        (pb.GenerateRequest(bars=0), "bars", "1 to 32"),
        (pb.GenerateRequest(bars=-8), "bars", "1 to 32"),
        (pb.GenerateRequest(bars=33), "bars", "1 to 32"),
        (pb.GenerateRequest(bars=2**31 - 1), "bars", "1 to 32"),
        (pb.GenerateRequest(bars=43, meter=pb.Meter(numerator=3, denominator=4)), "bars", "1 to 42"),
        (pb.GenerateRequest(steps=0), "steps", "1 to 512"),
        (pb.GenerateRequest(steps=513), "steps", "1 to 512"),
        (pb.GenerateRequest(seconds=0), "seconds", "above 0 and at most 80"),
        (pb.GenerateRequest(seconds=-1), "seconds", "above 0 and at most 80"),
        (pb.GenerateRequest(seconds=80.01), "seconds", "above 0 and at most 80"),
        (pb.GenerateRequest(seconds=1e308), "seconds", "above 0 and at most 80"),
        (pb.GenerateRequest(seconds=INFINITY), "seconds", "above 0 and at most 80"),
        (pb.GenerateRequest(seconds=NAN), "seconds", "above 0 and at most 80"),
        (pb.GenerateRequest(meter=pb.Meter()), "meter", "4/4, 3/4"),
        (pb.GenerateRequest(meter=pb.Meter(numerator=4)), "meter", "4/4, 3/4"),
        (pb.GenerateRequest(meter=pb.Meter(numerator=-4, denominator=4)), "meter", "4/4, 3/4"),
        (pb.GenerateRequest(meter=pb.Meter(numerator=7, denominator=8)), "meter", "4/4, 3/4"),
        (pb.GenerateRequest(meter=pb.Meter(numerator=4, denominator=5)), "meter", "4/4, 3/4"),
    ],
)
def test_a_value_out_of_range_is_reported_with_the_range(
    bundle: Bundle, request_: pb.GenerateRequest, field: str, allowed: str
) -> None:
    descriptions = violations(request_, bundle)

    assert list(descriptions) == [field]
    assert allowed in descriptions[field]


def test_all_violations_are_reported_at_once(bundle: Bundle) -> None:
    request = pb.GenerateRequest(
        seconds=-1,
        sampling=pb.Sampling(temperature=NAN, top_k=-1, top_p=0),
        tempo_bpm=1000,
        program=200,
        meter=pb.Meter(numerator=5, denominator=4),
    )

    assert violations(request, bundle).keys() == {
        "seconds",
        "sampling.temperature",
        "sampling.top_k",
        "sampling.top_p",
        "tempo_bpm",
        "program",
        "meter",
    }


def test_without_a_meter_bars_are_checked_as_far_as_possible(bundle: Bundle) -> None:
    meter = pb.Meter(numerator=5, denominator=4)

    descriptions = violations(pb.GenerateRequest(bars=-1, meter=meter), bundle)
    assert descriptions.keys() == {"bars", "meter"}
    assert descriptions["bars"] == "must be at least 1, not -1"
    assert violations(pb.GenerateRequest(bars=2**31 - 1, meter=meter), bundle).keys() == {"meter"}


def test_without_a_tempo_seconds_are_checked_as_far_as_possible(bundle: Bundle) -> None:
    descriptions = violations(pb.GenerateRequest(seconds=-1, tempo_bpm=0), bundle)
    assert descriptions["seconds"] == "must be finite and above 0, not -1.0"
    assert violations(pb.GenerateRequest(seconds=1e300, tempo_bpm=0), bundle).keys() == {"tempo_bpm"}


@pytest.mark.parametrize("tempo_bpm", [57.6, 10, 400, 97.3, 33.3, 70 / 3, 123.456789, 96])
def test_the_reported_limit_is_valid(bundle: Bundle, tempo_bpm: float) -> None:
    descriptions = violations(pb.GenerateRequest(seconds=1e9, tempo_bpm=tempo_bpm), bundle)["seconds"]
    found = re.fullmatch(r"must be above 0 and at most (\S+), not 1000000000.0", descriptions)
    assert found is not None
    limit = float(found[1])

    assert limit == pytest.approx(512 / 4 / tempo_bpm * 60, rel=1e-4)
    assert (
        build_generation_spec(
            pb.GenerateRequest(seconds=limit, tempo_bpm=tempo_bpm), ModelTerms(bundle)
        ).engine_request.max_tokens
        > 0
    )


def test_the_message_has_the_value_of_the_caller(bundle: Bundle) -> None:
    assert violations(pb.GenerateRequest(program=200), bundle)["program"] == "must be 0 to 127, not 200"


@pytest.fixture
def piano(bundle: Bundle) -> Bundle:
    """The bundle with a tokenizer whose bars have a variable number of tokens."""
    tokenizer = EventsTokenizer(lowest_pitch=36, highest_pitch=81, meters=(Meter(4, 4), Meter(3, 4)))
    return Bundle(bundle.path, bundle.manifest, bundle.digest, tokenizer)


def test_the_tokens_that_the_setting_decides_are_forced(piano: Bundle) -> None:
    request = pb.GenerateRequest(tempo_bpm=73.2, program=5, meter=pb.Meter(numerator=3, denominator=4))
    spec = build_generation_spec(request, ModelTerms(piano))

    assert attributes_of(spec) == ScoreAttributes(meter=Meter(3, 4), tempo_bpm=73.2, program=5)
    names = [piano.tokenizer.token_name(token) for token in spec.engine_request.forced]
    assert names == ["PROGRAM_0", "TEMPO_71.8", "METER_3/4", "DYNAMICS_KNOWN", "POSITION_0"]


@pytest.mark.parametrize(
    ("dynamics", "velocities", "has_dynamics"),
    [
        (("known", "unknown"), [], True),
        (("unknown", "known"), [], False),
        (("known", "unknown"), [80, 80], False),
        (("unknown", "known"), [80, 81], True),
        (("known",), [80, 80], True),
        (("unknown",), [80, 81], False),
        (("known",), [0], True),  # the given piece is not valid, but any would have dynamics
        (("known", "unknown"), [0], None),
    ],
)
def test_velocities_are_shaped_if_the_model_writes_no_dynamics_in_this_piece(
    bundle: Bundle, dynamics: Any, velocities: list[int], has_dynamics: bool | None
) -> None:
    tokenizer = EventsTokenizer(lowest_pitch=36, highest_pitch=81, dynamics=dynamics)
    model = ModelTerms(Bundle(bundle.path, bundle.manifest, bundle.digest, tokenizer))
    request = pb.GenerateRequest(bars=2)
    for index, velocity in enumerate(velocities):
        onset = 480 * index if velocity else -1
        request.given.notes.notes.add(onset_ticks=onset, duration_ticks=480, pitch=60, velocity=velocity)
    is_valid = 0 not in velocities
    if is_valid:
        spec = build_generation_spec(request, model)
        header = [tokenizer.token_name(token) for token in spec.engine_request.forced]
        assert header[3] == ("DYNAMICS_KNOWN" if has_dynamics else "DYNAMICS_UNKNOWN")
    shaped = pb.GenerateRequest(velocity_shape=pb.VelocityShape(velocity=70))
    shaped.MergeFrom(request)
    if is_valid and not has_dynamics:
        assert build_generation_spec(shaped, model).finishing.shape == VelocityShape(70)
        return
    with pytest.raises(InvalidRequestError) as caught:
        build_generation_spec(shaped, model)
    refused = {violation.field for violation in caught.value.violations}
    assert ("velocity_shape" in refused) == bool(has_dynamics)


@pytest.mark.parametrize(
    ("request_", "ticks", "bars"),
    [
        (pb.GenerateRequest(bars=3), 3 * 1920, 3),
        (pb.GenerateRequest(bars=3, meter=pb.Meter(numerator=3, denominator=4)), 3 * 1440, 3),
        (pb.GenerateRequest(steps=48), 1920, 1),
        (pb.GenerateRequest(steps=49), 1960, 2),
        (pb.GenerateRequest(seconds=3.0, tempo_bpm=60), 1440, 1),
    ],
)
def test_bars_are_counted_if_tokens_do_not_determine_the_length(
    piano: Bundle, request_: pb.GenerateRequest, ticks: int, bars: int
) -> None:
    spec = build_generation_spec(request_, ModelTerms(piano))

    assert spec.length.max_ticks == ticks
    assert (spec.engine_request.stop_token, spec.engine_request.stop_count) == (piano.tokenizer.bar_token, bars)
    assert spec.engine_request.max_tokens == bars * 768
    assert not spec.engine_request.may_end


def test_a_piece_without_a_length_stops_at_the_models_maximum(piano: Bundle) -> None:
    spec = build_generation_spec(pb.GenerateRequest(), ModelTerms(piano))

    assert spec.engine_request.may_end
    assert spec.length.max_ticks == 512 * 40
    assert spec.engine_request.stop_count == 11  # ten bars and two thirds
    assert violations(pb.GenerateRequest(bars=11), piano)["bars"] == "must be 1 to 10, not 11"
    assert violations(pb.GenerateRequest(steps=513), piano)["steps"] == "must be 1 to 512, not 513"


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.GenerateRequest(), []),
        (pb.GenerateRequest(bars=2**31 - 1), []),
        (pb.GenerateRequest(bars=0), ["bars"]),
        (pb.GenerateRequest(steps=-1), ["steps"]),
        (pb.GenerateRequest(seconds=math.inf), ["seconds"]),
        (pb.GenerateRequest(meter=pb.Meter(numerator=17, denominator=16)), []),  # another model may support it
        (pb.GenerateRequest(meter=pb.Meter(numerator=0, denominator=4)), ["meter"]),
        (pb.GenerateRequest(meter=pb.Meter(numerator=65, denominator=4)), ["meter"]),
        (pb.GenerateRequest(tempo_bpm=math.nan, program=-1), ["tempo_bpm", "program"]),
        (
            pb.GenerateRequest(sampling=pb.Sampling(temperature=11, top_k=1025, top_p=0)),
            ["temperature", "top_k", "top_p"],
        ),
    ],
)
def test_violations_for_any_model_are_found_without_one(request_: pb.GenerateRequest, fields: list[str]) -> None:
    assert [violation.field.removeprefix("sampling.") for violation in contract_violations(request_)] == fields


@given(
    st.builds(
        pb.GenerateRequest,
        bars=st.integers(-(2**31), 2**31 - 1),
        tempo_bpm=st.floats(),
        program=st.integers(-200, 200),
        meter=st.builds(pb.Meter, numerator=st.integers(-1, 70), denominator=st.integers(-1, 70)),
        sampling=st.builds(pb.Sampling, temperature=st.floats(width=32), top_k=st.integers(-2, 2000)),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_violations_for_any_model_are_violations_for_this_model(bundle: Bundle, request_: pb.GenerateRequest) -> None:
    found = {violation.field for violation in contract_violations(request_)}
    if found:
        assert found <= violations(request_, bundle).keys()
