"""Runners, observers and engines that break."""

import logging

import pytest

from server.engine.engine import Engine
from server.engine.errors import EngineFailedError, EngineStoppedError
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from server.engine.runner import Chunk
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, Ledger
from tests.unit.server.engine.test_guard import Grumpy

REQUEST = EngineRequest(seed=1, max_tokens=20)


class GpuError(Exception):
    """Whatever a runner may raise."""


def fail_in_chunk(runner: FakeRunner, number: int) -> None:
    def fail(chunk: Chunk) -> None:
        if len(runner.chunks) == number:
            raise GpuError("device lost")

    runner.before_decode = fail


def piece(engine: Engine) -> list[int]:
    return list(map(int, engine.submit(REQUEST).future.result(10).tokens))


@pytest.mark.parametrize("number", [1, 3])
def test_whoever_ran_fails_and_whoever_waited_does_not(
    make_engine: MakeEngine, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    runner, ledger = FakeRunner(slots=2), Ledger()
    fail_in_chunk(runner, number)
    engine = make_engine(runner, observer=ledger)
    tickets = [engine.submit(REQUEST) for _ in range(5)]
    engine.start()
    with caplog.at_level(logging.CRITICAL):
        for ticket in tickets[:2]:
            error = ticket.future.exception(10)
            assert isinstance(error, EngineFailedError)
            assert isinstance(error.__cause__, GpuError)
        pieces = [ticket.future.result(10).tokens.tolist() for ticket in tickets[2:]]
    assert tickets[0].future.exception() is not tickets[1].future.exception()
    assert pieces == [piece(engine)] * 3
    assert engine.accepting
    assert ledger.outcomes == {Outcome.FAILED: 2, Outcome.LENGTH: 4}
    assert (ledger.in_flight, ledger.wrong) == (0, [])
    assert max(width for width, _ in runner.shapes[number:]) == 2  # both slots are back


def test_a_reset_that_fails_is_a_failure_like_any_other(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=3), Ledger()

    def fail_once(slot: int) -> None:
        if slot == 1:
            runner.before_reset = lambda slot: None
            raise GpuError("device lost")

    runner.before_reset = fail_once
    engine = make_engine(runner, observer=ledger)
    tickets = [engine.submit(REQUEST) for _ in range(4)]
    engine.start()
    for ticket in tickets[:3]:
        assert isinstance(ticket.future.exception(10), EngineFailedError)
    assert len(tickets[3].future.result(10).tokens) == 20
    assert ledger.outcomes == {Outcome.FAILED: 3, Outcome.LENGTH: 1}
    assert ledger.tokens == 20
    assert engine.running == 0


def test_a_runner_that_always_fails_hangs_nobody(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=2), Ledger()

    def fail(chunk: Chunk) -> None:
        raise GpuError("device lost")

    runner.before_decode = fail
    engine = make_engine(runner, observer=ledger)
    engine.start()
    tickets = [engine.submit(REQUEST) for _ in range(9)]
    for ticket in tickets:
        assert isinstance(ticket.future.exception(10), EngineFailedError)
    assert ledger.outcomes == {Outcome.FAILED: 9}


def test_who_gave_up_before_the_failure_is_cancelled(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=2), Ledger()
    engine = make_engine(runner, observer=ledger)
    given_up, other = engine.submit(REQUEST), engine.submit(REQUEST)

    def cancel_and_fail(chunk: Chunk) -> None:
        given_up.cancel()
        raise GpuError("device lost")

    runner.before_decode = cancel_and_fail
    engine.start()
    assert isinstance(other.future.exception(10), EngineFailedError)
    assert engine.drain(10)
    assert ledger.outcomes == {Outcome.FAILED: 1, Outcome.CANCELLED: 1}


def test_an_observer_that_raises_disturbs_nobody(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=2), observer=Grumpy())
    tickets = [engine.submit(REQUEST) for _ in range(5)]
    tickets.pop(1).cancel()
    engine.start()
    pieces = [ticket.future.result(10).tokens.tolist() for ticket in tickets]
    assert all(found == pieces[0] for found in pieces)
    assert engine.drain(10)


def test_a_callers_callback_that_raises_disturbs_nobody(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    ticket = engine.submit(REQUEST)

    def fail(future: object) -> None:
        raise ValueError("a bug of the caller's")

    ticket.future.add_done_callback(fail)
    engine.start()
    assert ticket.future.result(10).tokens.tolist() == piece(engine)


@pytest.mark.parametrize("where", ["_finish", "_decode", "_drop"])
def test_an_engine_that_breaks_hangs_nobody(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    runner, ledger = FakeRunner(slots=1), Ledger()
    engine = make_engine(runner, observer=ledger)

    def broken(*arguments: object) -> None:
        raise SystemExit("a bug of ours")

    monkeypatch.setattr(engine, where, broken)
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
    assert (engine.waiting, engine.running, ledger.in_flight) == (0, 0, 0)
    assert runner.closed == 1
