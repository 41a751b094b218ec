"""What a caller asks becomes what the engine is asked."""

import math
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.score import Meter
from music.tokenizers import EventsTokenizer, Setting
from server.engine.request import SamplingParams
from server.errors import InvalidRequestError
from server.rpc.plan import contract_violations, plan_piece


def violations(request: pb.GenerateRequest, bundle: Bundle) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        plan_piece(request, bundle)
    told = {violation.field: violation.description for violation in caught.value.violations}
    assert len(told) == len(caught.value.violations)
    return told


def test_unset_fields_take_the_models_defaults(bundle: Bundle) -> None:
    plan = plan_piece(pb.GenerateRequest(), bundle)

    assert plan.setting == Setting(meter=Meter(4, 4), tempo_bpm=96.0, program=19)
    assert plan.engine_request.sampling == SamplingParams(0.9, 20, 0.95)
    assert plan.engine_request.max_tokens == 512 * 4
    assert plan.engine_request.may_end
    assert plan.engine_request.end_token == bundle.tokenizer.end_token
    assert plan.engine_request.clock_row == bundle.tokenizer.clock.start(Meter(4, 4))
    assert plan.engine_request.forced == ()
    assert (plan.engine_request.stop_token, plan.engine_request.stop_count) == (None, 0)
    assert plan.length_ticks == 512 * 120


def test_every_field_given_is_taken(bundle: Bundle) -> None:
    plan = plan_piece(
        pb.GenerateRequest(
            bars=3,
            seed=5,
            sampling=pb.Sampling(temperature=0.5, top_k=1, top_p=0.25),
            tempo_bpm=60.0,
            program=127,
            meter=pb.Meter(numerator=3, denominator=4),
        ),
        bundle,
    )

    assert plan.setting == Setting(meter=Meter(3, 4), tempo_bpm=60.0, program=127)
    assert plan.engine_request.sampling == SamplingParams(0.5, 1, 0.25)
    assert plan.engine_request.max_tokens == 3 * 12 * 4
    assert not plan.engine_request.may_end
    assert plan.engine_request.clock_row == bundle.tokenizer.clock.start(Meter(3, 4))
    assert plan.seed == 5


def test_zero_is_a_value_where_zero_is_allowed(bundle: Bundle) -> None:
    plan = plan_piece(pb.GenerateRequest(seed=0, program=0, sampling=pb.Sampling(top_k=0)), bundle)

    assert (plan.seed, plan.setting.program, plan.engine_request.sampling.top_k) == (0, 0, 0)


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
def test_the_limits_themselves_are_allowed(bundle: Bundle, request_: pb.GenerateRequest) -> None:
    assert 1 <= plan_piece(request_, bundle).engine_request.max_tokens <= 512 * 4


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
def test_a_value_out_of_range_is_told_with_the_range(
    bundle: Bundle, request_: pb.GenerateRequest, field: str, allowed: str
) -> None:
    told = violations(request_, bundle)

    assert list(told) == [field]
    assert allowed in told[field]


def test_all_that_is_wrong_is_told_at_once(bundle: Bundle) -> None:
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


def test_bars_are_checked_as_far_as_that_goes_without_a_meter(bundle: Bundle) -> None:
    meter = pb.Meter(numerator=5, denominator=4)

    told = violations(pb.GenerateRequest(bars=-1, meter=meter), bundle)
    assert told.keys() == {"bars", "meter"}
    assert told["bars"] == "must be at least 1, not -1"
    assert violations(pb.GenerateRequest(bars=2**31 - 1, meter=meter), bundle).keys() == {"meter"}


def test_seconds_are_checked_as_far_as_that_goes_without_a_tempo(bundle: Bundle) -> None:
    told = violations(pb.GenerateRequest(seconds=-1, tempo_bpm=0), bundle)
    assert told["seconds"] == "must be finite and above 0, not -1.0"
    assert violations(pb.GenerateRequest(seconds=1e300, tempo_bpm=0), bundle).keys() == {"tempo_bpm"}


@pytest.mark.parametrize("tempo_bpm", [57.6, 10, 400, 97.3, 33.3, 70 / 3, 123.456789, 96])
def test_the_limit_that_is_told_is_allowed(bundle: Bundle, tempo_bpm: float) -> None:
    told = violations(pb.GenerateRequest(seconds=1e9, tempo_bpm=tempo_bpm), bundle)["seconds"]
    found = re.fullmatch(r"must be above 0 and at most (\S+), not 1000000000.0", told)
    assert found is not None
    limit = float(found[1])

    assert limit == pytest.approx(512 / 4 / tempo_bpm * 60, rel=1e-4)
    assert plan_piece(pb.GenerateRequest(seconds=limit, tempo_bpm=tempo_bpm), bundle).engine_request.max_tokens > 0


def test_an_echoed_value_is_what_the_caller_sent(bundle: Bundle) -> None:
    assert violations(pb.GenerateRequest(program=200), bundle)["program"] == "must be 0 to 127, not 200"


@pytest.fixture
def piano(bundle: Bundle) -> Bundle:
    """The bundle with a tokenizer whose bars take as many tokens as they hold: up to 512 12ths of a quarter."""
    tokenizer = EventsTokenizer(lowest_pitch=36, highest_pitch=81, meters=(Meter(4, 4), Meter(3, 4)))
    return Bundle(bundle.path, bundle.manifest, bundle.digest, tokenizer)


def test_the_tokens_that_the_setting_decides_are_forced(piano: Bundle) -> None:
    request = pb.GenerateRequest(tempo_bpm=73.2, program=5, meter=pb.Meter(numerator=3, denominator=4))
    plan = plan_piece(request, piano)

    assert plan.setting == Setting(meter=Meter(3, 4), tempo_bpm=73.2, program=5)
    names = [piano.tokenizer.token_name(token) for token in plan.engine_request.forced]
    assert names == ["PROGRAM_0", "TEMPO_71.8", "METER_3/4", "POSITION_0"]


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
def test_bars_are_counted_where_tokens_do_not_tell_the_length(
    piano: Bundle, request_: pb.GenerateRequest, ticks: int, bars: int
) -> None:
    plan = plan_piece(request_, piano)

    assert plan.length_ticks == ticks
    assert (plan.engine_request.stop_token, plan.engine_request.stop_count) == (piano.tokenizer.bar_token, bars)
    assert plan.engine_request.max_tokens == bars * 768
    assert not plan.engine_request.may_end


def test_a_piece_that_may_end_stops_at_the_models_maximum(piano: Bundle) -> None:
    plan = plan_piece(pb.GenerateRequest(), piano)

    assert plan.engine_request.may_end
    assert plan.length_ticks == 512 * 40
    assert plan.engine_request.stop_count == 11  # ten bars and two thirds
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
        (pb.GenerateRequest(meter=pb.Meter(numerator=17, denominator=16)), []),  # some other model may count it
        (pb.GenerateRequest(meter=pb.Meter(numerator=0, denominator=4)), ["meter"]),
        (pb.GenerateRequest(meter=pb.Meter(numerator=65, denominator=4)), ["meter"]),
        (pb.GenerateRequest(tempo_bpm=math.nan, program=-1), ["tempo_bpm", "program"]),
        (
            pb.GenerateRequest(sampling=pb.Sampling(temperature=11, top_k=1025, top_p=0)),
            ["temperature", "top_k", "top_p"],
        ),
    ],
)
def test_what_is_wrong_for_any_model_is_found_without_one(request_: pb.GenerateRequest, fields: list[str]) -> None:
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
def test_what_is_wrong_for_any_model_is_wrong_for_this_one(bundle: Bundle, request_: pb.GenerateRequest) -> None:
    found = {violation.field for violation in contract_violations(request_)}
    if found:
        assert found <= violations(request_, bundle).keys()
