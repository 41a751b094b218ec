"""Streams of tokens, snapshots, and sequences that continue from them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.engine.completion import Candidate, FinishReason
from server.engine.engine import Engine
from server.engine.errors import ConstraintError, EngineFailedError, EngineRequestError
from server.engine.listener import SequenceListener
from server.engine.request import EngineRequest
from server.engine.snapshot import Snapshot
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_guide import FakeGuide
from tests.unit.server.engine.fake_runner import FakeRunner, Gate, RecordingObserver, eventually
from tests.unit.server.engine.scenario import VOCABULARY, requests

CHUNK_SIZES = st.sampled_from([(1,), (1, 4), (1, 3, 8), (1, 16)])


class Recorder(SequenceListener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[NDArray[np.int32], Snapshot | None]] = []

    def tokens(self, tokens: NDArray[np.int32], snapshot: Snapshot | None) -> None:
        self.calls.append((tokens, snapshot))

    @property
    def all_tokens(self) -> list[int]:
        return [token for tokens, _ in self.calls for token in tokens.tolist()]


def run(
    request: EngineRequest, chunk_sizes: tuple[int, ...], *, first_steps: bool, listener: SequenceListener | None = None
) -> list[Candidate]:
    """What an engine gives that has this request alone; nothing if no token is left."""
    runner = FakeRunner(request.candidates, VOCABULARY, chunk_sizes, first_steps=first_steps)
    engine = Engine(runner, queue_limit=0, name="alone")
    handle = engine.submit(request, listener)
    engine.start()
    try:
        return list(handle.future.result(10).candidates)
    except ConstraintError:
        return []
    finally:
        engine.stop()


def same(candidate: Candidate, other: Candidate) -> bool:
    return (
        candidate.tokens.tolist() == other.tokens.tolist()
        and candidate.forced.tolist() == other.forced.tolist()
        and candidate.finish_reason is other.finish_reason
        and (candidate.nats, candidate.given_nats) == (other.nats, other.given_nats)
    )


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(request=requests(has_guides=True), chunk_sizes=CHUNK_SIZES, other_sizes=CHUNK_SIZES, first_steps=st.booleans())
def test_a_sequence_goes_on_from_any_snapshot_as_if_it_had_never_been_interrupted(
    request: EngineRequest, chunk_sizes: tuple[int, ...], other_sizes: tuple[int, ...], first_steps: bool
) -> None:
    listener, again = Recorder(), Recorder()
    request = replace(request, snapshots=True)
    whole = run(request, chunk_sizes, first_steps=first_steps, listener=listener)
    snapshots = [snapshot for _, snapshot in listener.calls]
    assume(whole)
    assert listener.all_tokens == whole[0].tokens.tolist()
    assert snapshots[-1] is whole[0].snapshot
    for number, snapshot in enumerate(snapshots):
        assert snapshot is not None
        is_last = number == len(snapshots) - 1
        if is_last and whole[0].finish_reason is FinishReason.LENGTH:
            continue
        resumed = replace(request, resume=snapshot)
        (candidate,) = run(resumed, other_sizes, first_steps=first_steps, listener=again)
        assert same(candidate, whole[0])
        known = ~np.isnan(candidate.log_probabilities)
        assert known[snapshot.state_tokens :].all()
        assert candidate.log_probabilities[known].tolist() == whole[0].log_probabilities[known].tolist()
        assert again.all_tokens == whole[0].tokens.tolist()
        again.calls.clear()


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(request=requests(), more=st.integers(1, 40), chunk_sizes=CHUNK_SIZES, other_sizes=CHUNK_SIZES)
def test_a_finished_sequence_can_become_longer(
    request: EngineRequest, more: int, chunk_sizes: tuple[int, ...], other_sizes: tuple[int, ...]
) -> None:
    request = replace(request, end_token=None, stop_token=None, stop_count=0, guide=None, snapshots=True)
    longer = replace(request, max_tokens=request.max_tokens + more)
    (short,) = run(request, chunk_sizes, first_steps=False)
    (whole,) = run(longer, (1,), first_steps=False)
    (candidate,) = run(replace(longer, resume=short.snapshot), other_sizes, first_steps=False)
    assert same(candidate, whole)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(request=requests(max_candidates=4, has_guides=True), chunk_sizes=CHUNK_SIZES)
def test_every_candidate_has_a_snapshot_to_go_on_from(request: EngineRequest, chunk_sizes: tuple[int, ...]) -> None:
    guide = request.guide
    assert guide is None or isinstance(guide, FakeGuide)
    assume(guide is None or guide.length is None)
    request = replace(request, snapshots=True, stop_token=None, stop_count=0)
    longer = replace(request, max_tokens=request.max_tokens + 3, candidates=1)
    for candidate in run(request, chunk_sizes, first_steps=False):
        snapshot = candidate.snapshot
        assert snapshot is not None
        assert (snapshot.seed, snapshot.stream) == request.random_stream(candidate.index)
        ended = candidate.finish_reason is FinishReason.END
        assert snapshot.tokens.tolist() == candidate.tokens[: len(candidate.tokens) - ended].tolist()
        for resumed in run(replace(longer, resume=snapshot), (1, 8), first_steps=False):
            assert resumed.tokens[: len(candidate.tokens)].tolist() == candidate.tokens.tolist()
            assert len(resumed.tokens) > len(candidate.tokens) or ended


def test_the_first_tokens_are_reported_while_the_batch_still_runs(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=2, first_steps=True)
    gate, listener = Gate(runner), Recorder()
    engine = make_engine(runner)
    engine.start()
    engine.submit(EngineRequest(seed=1, max_tokens=50))
    gate.wait_until_reached()
    handle = engine.submit(EngineRequest(seed=2, max_tokens=9, forced=(3, 4)), listener)
    eventually(lambda: bool(listener.calls))
    assert listener.all_tokens[:2] == [3, 4]
    assert len(listener.all_tokens) == 3
    gate.open()
    assert handle.future.result(10).tokens.tolist() == listener.all_tokens
    assert [snapshot for _, snapshot in listener.calls] == [None] * len(listener.calls)


def test_a_listener_that_fails_does_not_fail_its_request(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(SequenceListener):
        def tokens(self, *arguments: Any) -> None:
            raise RuntimeError("a bug of the caller")

    engine = make_engine(FakeRunner())
    engine.start()
    request = EngineRequest(seed=1, max_tokens=9)
    assert len(engine.submit(request, Failing()).future.result(10).tokens) == 9
    assert "an observer of the engine failed" in caplog.text


def test_a_guide_with_a_bug_fails_its_own_request_alone(make_engine: MakeEngine) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(slots=5, vocabulary=VOCABULARY), observer=observer)
    broken = FakeGuide(VOCABULARY, failing_step=6, ahead=2)
    failing = [
        engine.submit(EngineRequest(seed=1, max_tokens=20, guide=broken, candidates=2, particles=particles))
        for particles in (False, True)
    ]
    fine = engine.submit(EngineRequest(seed=2, max_tokens=40, guide=FakeGuide(VOCABULARY)))
    engine.start()
    for handle in failing:
        with pytest.raises(EngineFailedError) as caught:
            handle.future.result(10)
        assert isinstance(caught.value.__cause__, KeyError)
    assert len(fine.future.result(10).tokens) == 40
    assert engine.running == 0
    assert observer.outcomes.total() == 3
    assert len(engine._loop._batch._biases) == 1


def test_a_request_that_the_engine_cannot_run_is_refused_at_once(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=2, vocabulary=VOCABULARY, chunk_sizes=(2, 4)))
    with pytest.raises(EngineRequestError, match="2 slots, not enough for 3 candidates"):
        engine.submit(EngineRequest(seed=1, max_tokens=9, candidates=3))
    with pytest.raises(EngineRequestError, match="single step"):
        engine.submit(EngineRequest(seed=1, max_tokens=9, guide=FakeGuide(VOCABULARY)))
    with pytest.raises(EngineRequestError, match="the guide is for 6 tokens, not 8"):
        engine.submit(EngineRequest(seed=1, max_tokens=9, guide=FakeGuide(6)))
