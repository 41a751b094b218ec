"""Failures of the runner, of observers, of callbacks and of the engine itself."""

import logging

import pytest

from runtime.runner import Chunk
from server.engine.engine import Engine
from server.engine.errors import EngineFailedError, EngineStoppedError
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, RecordingObserver
from tests.unit.server.engine.test_observer import FailingObserver

REQUEST = EngineRequest(seed=1, max_tokens=20)


class GpuError(Exception):
    """An error that a runner may raise."""


def fail_in_chunk(runner: FakeRunner, number: int) -> None:
    def fail(chunk: Chunk) -> None:
        if len(runner.chunks) == number:
            raise GpuError("device lost")

    runner.before_decode = fail


def piece(engine: Engine) -> list[int]:
    return list(map(int, engine.submit(REQUEST).future.result(10).tokens))


@pytest.mark.parametrize("number", [1, 3])
def test_a_failed_chunk_fails_the_running_sequences_and_not_the_waiting_ones(
    make_engine: MakeEngine, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    runner, observer = FakeRunner(slots=2), RecordingObserver()
    fail_in_chunk(runner, number)
    engine = make_engine(runner, observer=observer)
    handles = [engine.submit(REQUEST) for _ in range(5)]
    engine.start()
    with caplog.at_level(logging.CRITICAL):
        for handle in handles[:2]:
            error = handle.future.exception(10)
            assert isinstance(error, EngineFailedError)
            assert isinstance(error.__cause__, GpuError)
        pieces = [handle.future.result(10).tokens.tolist() for handle in handles[2:]]
    assert handles[0].future.exception() is not handles[1].future.exception()
    assert pieces == [piece(engine)] * 3
    assert engine.accepting
    assert observer.outcomes == {Outcome.FAILED: 2, Outcome.LENGTH: 4}
    assert (observer.in_flight, observer.wrong) == (0, [])
    assert max(width for width, _ in runner.shapes[number:]) == 2  # both slots are back


def test_a_failed_reset_fails_the_running_sequences(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=3), RecordingObserver()

    def fail_once(slot: int) -> None:
        if slot == 1:
            runner.before_reset = lambda slot: None
            raise GpuError("device lost")

    runner.before_reset = fail_once
    engine = make_engine(runner, observer=observer)
    handles = [engine.submit(REQUEST) for _ in range(4)]
    engine.start()
    for handle in handles[:3]:
        assert isinstance(handle.future.exception(10), EngineFailedError)
    assert len(handles[3].future.result(10).tokens) == 20
    assert observer.outcomes == {Outcome.FAILED: 3, Outcome.LENGTH: 1}
    assert observer.tokens == 20
    assert engine.running == 0


def test_a_runner_that_always_fails_fails_every_request(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=2), RecordingObserver()

    def fail(chunk: Chunk) -> None:
        raise GpuError("device lost")

    runner.before_decode = fail
    engine = make_engine(runner, observer=observer)
    engine.start()
    handles = [engine.submit(REQUEST) for _ in range(9)]
    for handle in handles:
        assert isinstance(handle.future.exception(10), EngineFailedError)
    assert observer.outcomes == {Outcome.FAILED: 9}


def test_a_sequence_cancelled_before_the_failure_counts_as_cancelled(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=2), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    cancelled, other = engine.submit(REQUEST), engine.submit(REQUEST)

    def cancel_and_fail(chunk: Chunk) -> None:
        cancelled.cancel()
        raise GpuError("device lost")

    runner.before_decode = cancel_and_fail
    engine.start()
    assert isinstance(other.future.exception(10), EngineFailedError)
    assert engine.drain(10)
    assert observer.outcomes == {Outcome.FAILED: 1, Outcome.CANCELLED: 1}


def test_an_observer_that_raises_disturbs_no_sequence(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=2), observer=FailingObserver())
    handles = [engine.submit(REQUEST) for _ in range(5)]
    handles.pop(1).cancel()
    engine.start()
    pieces = [handle.future.result(10).tokens.tolist() for handle in handles]
    assert all(found == pieces[0] for found in pieces)
    assert engine.drain(10)


def test_a_callback_that_raises_disturbs_no_sequence(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    handle = engine.submit(REQUEST)

    def fail(future: object) -> None:
        raise ValueError("a bug of the caller's")

    handle.future.add_done_callback(fail)
    engine.start()
    assert handle.future.result(10).tokens.tolist() == piece(engine)


@pytest.mark.parametrize("where", ["_postprocess", "_decode", "_drop"])
def test_a_bug_in_the_engine_fails_every_request(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    runner, observer = FakeRunner(slots=1), RecordingObserver()
    engine = make_engine(runner, observer=observer)

    def broken(*arguments: object) -> None:
        raise SystemExit("a bug of ours")

    monkeypatch.setattr(engine._loop, where, broken)
    running, waiting = engine.submit(EngineRequest(seed=1, max_tokens=10_000)), engine.submit(REQUEST)
    if where == "_drop":
        runner.before_decode = lambda chunk: running.cancel()
    engine.start()
    assert isinstance(waiting.future.exception(10), EngineFailedError)
    assert engine.drain(10)
    assert not engine.accepting
    with pytest.raises(EngineStoppedError):
        engine.submit(REQUEST)
    engine.stop()
    assert (engine.waiting, engine.running, observer.in_flight) == (0, 0, 0)
    assert runner.closed == 1
