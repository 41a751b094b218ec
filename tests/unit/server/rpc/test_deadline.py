"""Requests whose piece cannot be complete in time are refused."""

from typing import cast

import pytest

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from server.engine.engine import Engine
from server.engine.request import EngineRequest
from server.errors import DeadlineTooShortError
from server.rpc.deadline import check_deadline
from server.rpc.generation_spec import ModelTerms
from server.rpc.spec_builder import build_generation_spec


class Estimates:
    """An engine that estimates these seconds, in the queue and after it."""

    def __init__(self, queue_seconds: float, run_seconds: float, *, confirm: bool = True) -> None:
        self._seconds = queue_seconds, run_seconds
        self._confirm = confirm

    def seconds_needed(self, request: EngineRequest, *, caller: str) -> tuple[float, float]:
        return self._seconds

    def confirm_refusal(self) -> bool:
        return self._confirm


def refusal(
    bundle: Bundle, request: pb.GenerateRequest, remaining: float, seconds: tuple[float, float] = (2.0, 8.0)
) -> str:
    engine = cast(Engine, Estimates(*seconds))
    with pytest.raises(DeadlineTooShortError) as caught:
        check_deadline(engine, build_generation_spec(request, ModelTerms(bundle)), remaining)
    return str(caught.value)


@pytest.mark.parametrize(
    ("request_", "field", "fits", "one", "nothing"),
    [
        (pb.GenerateRequest(bars=16), "bars", "about 4 bars", "about 1 bar", "not even 1 bar"),
        (pb.GenerateRequest(steps=100), "steps", "about 25 steps", "about 6 steps", "not even 1 step"),
        (pb.GenerateRequest(seconds=20.0, tempo_bpm=60.0), "seconds", "about 5.0 s", "about 1.3 s", "nothing"),
    ],
)
def test_the_error_names_the_length_that_would_fit(
    bundle: Bundle, request_: pb.GenerateRequest, field: str, fits: str, one: str, nothing: str
) -> None:
    assert (
        refusal(bundle, request_, 4.0) == f"{field} takes about 10.0 s, and the deadline is in 4.0 s: {fits} would fit"
    )
    assert refusal(bundle, request_, 2.52).endswith(f": {one} would fit")
    assert refusal(bundle, request_, 1.0).endswith(f": {nothing} would fit")


def test_without_a_length_the_error_names_none(bundle: Bundle) -> None:
    notes = pb.NoteList(notes=[pb.Note(pitch=60, duration_ticks=480, velocity=80)])
    request = pb.GenerateRequest(given=pb.GivenPiece(notes=notes), rewrite=[pb.Region()])
    assert refusal(bundle, request, 4.0).startswith("given takes about 10.0 s")
    assert refusal(bundle, request, 4.0).endswith(": a shorter given piece would fit")
    assert refusal(bundle, request, 1.0).endswith(": nothing would fit")


@pytest.mark.parametrize(
    ("needed", "remaining", "text"),
    [
        (85.44, 30.04, "takes about 85.4 s, and the deadline is in 30.0 s"),
        (1.24, 0.451, "takes about 1.2 s, and the deadline is in 0.45 s"),
        (0.987, 0.0214, "takes about 0.99 s, and the deadline is in 0.021 s"),
        (0.0123, 0.0009, "takes about 0.012 s, and the deadline is in less than 0.001 s"),
        (2.0, -0.5, "takes about 2.0 s, and the deadline is in less than 0.001 s"),
    ],
)
def test_durations_have_enough_digits(bundle: Bundle, needed: float, remaining: float, text: str) -> None:
    assert text in refusal(bundle, pb.GenerateRequest(bars=16), remaining, (0.0, needed))


def test_an_estimate_that_the_engine_doubts_refuses_nothing(bundle: Bundle) -> None:
    engine = cast(Engine, Estimates(2.0, 8.0, confirm=False))
    check_deadline(engine, build_generation_spec(pb.GenerateRequest(bars=16), ModelTerms(bundle)), 1.0)


def test_only_what_is_certain_is_refused(bundle: Bundle) -> None:
    engine = cast(Engine, Estimates(2.0, 8.0))
    spec = build_generation_spec(pb.GenerateRequest(bars=16), ModelTerms(bundle))

    check_deadline(engine, spec, 5.0)
    check_deadline(engine, spec, None)
    check_deadline(engine, build_generation_spec(pb.GenerateRequest(), ModelTerms(bundle)), 0.1)
