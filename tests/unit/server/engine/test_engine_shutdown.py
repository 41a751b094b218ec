"""Draining and stopping, with everything that may cross their way."""

import threading
import time
from concurrent.futures import Future

import pytest

from server.engine.completion import Completion
from server.engine.errors import EngineStoppedError, QueueFullError
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from server.engine.runner import Chunk
from server.engine.ticket import Ticket
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, Gate, Ledger, eventually

REQUEST = EngineRequest(seed=1, max_tokens=20)
LONG = EngineRequest(seed=1, max_tokens=100_000)


def test_draining_finishes_what_was_admitted_and_admits_no_more(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1), Ledger()
    gate = Gate(runner)
    engine = make_engine(runner, observer=ledger)
    tickets = [engine.submit(REQUEST) for _ in range(3)]
    engine.start()
    gate.wait_until_reached()
    assert not engine.drain(0.01)
    assert not engine.accepting
    with pytest.raises(EngineStoppedError):
        engine.submit(REQUEST)
    gate.open()
    assert engine.drain(10)
    assert all(ticket.future.done() for ticket in tickets)
    assert ledger.outcomes == {Outcome.LENGTH: 3}
    engine.stop()
    assert runner.closed == 1


def test_an_idle_engine_is_drained_at_once(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    engine.start()
    assert engine.drain(0)


def test_draining_ends_when_the_last_one_gives_up(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=1))
    tickets = [engine.submit(LONG) for _ in range(3)]
    engine.start()
    drained: list[bool] = []
    drainer = threading.Thread(target=lambda: drained.append(engine.drain(10)))
    drainer.start()
    for ticket in tickets:
        ticket.cancel()
    drainer.join(10)
    assert drained == [True]


def test_stopping_fails_what_is_left_and_ends_the_thread(make_engine: MakeEngine) -> None:
    before = threading.active_count()
    runner, ledger = FakeRunner(slots=1), Ledger()
    engine = make_engine(runner, observer=ledger)
    running, waiting = engine.submit(LONG), engine.submit(LONG)
    engine.start()
    eventually(lambda: len(runner.chunks) > 3)
    engine.stop()
    for ticket in (running, waiting):
        assert isinstance(ticket.future.exception(0), EngineStoppedError)
    assert threading.active_count() == before
    assert ledger.outcomes == {Outcome.FAILED: 2}
    assert (engine.waiting, engine.running, ledger.in_flight, runner.closed) == (0, 0, 0, 1)
    assert ledger.tokens > 3


def test_stopping_ends_after_the_chunk(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=1)
    gate = Gate(runner)
    engine = make_engine(runner)
    ticket = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    eventually(lambda: not engine.accepting)
    assert not ticket.future.done()
    gate.open()
    stopper.join(10)
    assert isinstance(ticket.future.exception(0), EngineStoppedError)
    assert len(runner.chunks) == 1


def test_a_cancelled_sequence_stays_cancelled_when_the_engine_stops(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1), Ledger()
    gate = Gate(runner)
    engine = make_engine(runner, observer=ledger)
    ticket = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    ticket.cancel()
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    gate.open()
    stopper.join(10)
    assert ticket.future.cancelled()
    assert ledger.outcomes == {Outcome.CANCELLED: 1}
    assert (engine.running, ledger.in_flight) == (0, 0)


def test_stopping_twice_and_from_two_sides_is_stopping_once(make_engine: MakeEngine) -> None:
    runner = FakeRunner()
    engine = make_engine(runner)
    engine.start()
    stoppers = [threading.Thread(target=engine.stop) for _ in range(4)]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join(10)
    engine.stop()
    assert runner.closed == 1


def test_an_engine_that_was_never_started_stops_too(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(), Ledger()
    engine = make_engine(runner, observer=ledger)
    ticket = engine.submit(REQUEST)
    engine.stop()
    engine.stop()
    assert isinstance(ticket.future.exception(0), EngineStoppedError)
    assert (ledger.in_flight, runner.closed) == (0, 1)
    with pytest.raises(EngineStoppedError):
        engine.start()
    with pytest.raises(EngineStoppedError):
        engine.submit(REQUEST)


@pytest.mark.parametrize("opens", [False, True])
def test_a_callback_in_the_engines_thread_may_stop_it(make_engine: MakeEngine, opens: bool) -> None:
    runner = FakeRunner(slots=1, opens=opens)
    engine = make_engine(runner)
    first, second = engine.submit(REQUEST), engine.submit(REQUEST)
    first.future.add_done_callback(lambda future: engine.stop())
    engine.start()
    assert len(first.future.result(10).tokens) == 20
    assert isinstance(second.future.exception(10), EngineStoppedError)
    eventually(lambda: runner.closed == 1)


def test_a_runner_that_does_not_close_keeps_nobody(make_engine: MakeEngine) -> None:
    class Clingy(FakeRunner):
        def close(self) -> None:
            raise RuntimeError("I am not done")

    engine = make_engine(Clingy())
    engine.start()
    ticket = engine.submit(LONG)
    engine.stop()
    assert isinstance(ticket.future.exception(0), EngineStoppedError)


def test_nothing_is_lost_when_many_submit_cancel_and_one_stops(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=3), Ledger()
    engine = make_engine(runner, queue_limit=1000, observer=ledger)
    admitted = threading.Event()
    futures: list[Future[Completion]] = []

    def caller(number: int) -> None:
        for count in range(1000):
            try:
                ticket = engine.submit(EngineRequest(seed=count, max_tokens=1 + count % 7))
            except EngineStoppedError:
                return
            except QueueFullError:
                time.sleep(0.001)
                continue
            futures.append(ticket.future)
            if (count + number) % 3 == 0:
                ticket.cancel()
            if len(futures) > 200:
                admitted.set()

    engine.start()
    callers = [threading.Thread(target=caller, args=(number,)) for number in range(4)]
    for thread in callers:
        thread.start()
    admitted.wait(10)
    engine.stop()
    for thread in callers:
        thread.join(10)
    assert len(futures) > 200
    for future in futures:
        assert future.done()
        assert future.cancelled() or isinstance(future.exception(), EngineStoppedError | None)
    eventually(lambda: ledger.in_flight == 0)  # a canceller may still be telling
    assert ledger.admissions == len(futures)
    assert ledger.outcomes[Outcome.CANCELLED] == sum(future.cancelled() for future in futures)
    assert ledger.outcomes[Outcome.FAILED] == sum(
        not future.cancelled() and future.exception() is not None for future in futures
    )
    assert ledger.wrong == []
    assert engine._scheduler._slots.free_count == 3


def test_a_submission_from_the_runners_thread_is_fine(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=1)
    engine = make_engine(runner)
    more: list[Ticket] = []

    def submit(chunk: Chunk) -> None:
        if not more:
            more.append(engine.submit(REQUEST))

    runner.before_decode = submit
    engine.start()
    first = engine.submit(REQUEST).future.result(10)
    assert more[0].future.result(10).tokens.tolist() == first.tokens.tolist()


def test_stopping_leaves_alone_what_a_canceller_is_just_settling(make_engine: MakeEngine) -> None:
    telling, told = threading.Event(), threading.Event()

    class Slow(Ledger):
        def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
            super().finished(outcome, total_seconds, tokens)
            telling.set()
            assert told.wait(10)

    ledger = Slow()
    engine = make_engine(FakeRunner(), observer=ledger)
    ticket = engine.submit(REQUEST)
    canceller = threading.Thread(target=ticket.cancel)
    canceller.start()
    assert telling.wait(10)
    engine.stop()
    told.set()
    canceller.join(10)
    assert ledger.outcomes == {Outcome.CANCELLED: 1}
    assert engine.drain(0)
