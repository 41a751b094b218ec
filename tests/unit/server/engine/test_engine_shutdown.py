"""Drain and stop, while requests run, wait, are cancelled and are submitted."""

import threading
import time
from concurrent.futures import Future

import pytest

from runtime.runner import Chunk
from server.engine.completion import Completion, RequestHandle
from server.engine.errors import EngineStoppedError, QueueFullError
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, Gate, RecordingObserver, eventually

REQUEST = EngineRequest(seed=1, max_tokens=20)
LONG = EngineRequest(seed=1, max_tokens=100_000)


def test_drain_finishes_the_requests_in_flight_and_accepts_no_more(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1), RecordingObserver()
    gate = Gate(runner)
    engine = make_engine(runner, observer=observer)
    handles = [engine.submit(REQUEST) for _ in range(3)]
    engine.start()
    gate.wait_until_reached()
    assert not engine.drain(0.01)
    assert not engine.accepting
    with pytest.raises(EngineStoppedError):
        engine.submit(REQUEST)
    gate.open()
    assert engine.drain(10)
    assert all(handle.future.done() for handle in handles)
    assert observer.outcomes == {Outcome.LENGTH: 3}
    engine.stop()
    assert runner.closed == 1


def test_drain_of_an_idle_engine_returns_at_once(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    engine.start()
    assert engine.drain(0)


def test_drain_ends_when_the_last_request_is_cancelled(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=1))
    handles = [engine.submit(LONG) for _ in range(3)]
    engine.start()
    drained: list[bool] = []
    drainer = threading.Thread(target=lambda: drained.append(engine.drain(10)))
    drainer.start()
    for handle in handles:
        handle.cancel()
    drainer.join(10)
    assert drained == [True]


def test_stop_fails_the_requests_in_flight_and_ends_the_thread(make_engine: MakeEngine) -> None:
    before = threading.active_count()
    runner, observer = FakeRunner(slots=1), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    running, waiting = engine.submit(LONG), engine.submit(LONG)
    engine.start()
    eventually(lambda: len(runner.chunks) > 3)
    engine.stop()
    for handle in (running, waiting):
        assert isinstance(handle.future.exception(0), EngineStoppedError)
    assert threading.active_count() == before
    assert observer.outcomes == {Outcome.FAILED: 2}
    assert (engine.waiting, engine.running, observer.in_flight, runner.closed) == (0, 0, 0, 1)
    assert observer.tokens > 3


def test_stop_waits_for_the_present_chunk(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=1)
    gate = Gate(runner)
    engine = make_engine(runner)
    handle = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    eventually(lambda: not engine.accepting)
    assert not handle.future.done()
    gate.open()
    stopper.join(10)
    assert isinstance(handle.future.exception(0), EngineStoppedError)
    assert len(runner.chunks) == 1


def test_a_cancelled_sequence_stays_cancelled_when_the_engine_stops(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1), RecordingObserver()
    gate = Gate(runner)
    engine = make_engine(runner, observer=observer)
    handle = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    handle.cancel()
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    gate.open()
    stopper.join(10)
    assert handle.future.cancelled()
    assert observer.outcomes == {Outcome.CANCELLED: 1}
    assert (engine.running, observer.in_flight) == (0, 0)


def test_stop_may_be_called_twice_and_by_several_threads(make_engine: MakeEngine) -> None:
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


def test_an_engine_that_was_never_started_can_be_stopped(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    handle = engine.submit(REQUEST)
    engine.stop()
    engine.stop()
    assert isinstance(handle.future.exception(0), EngineStoppedError)
    assert (observer.in_flight, runner.closed) == (0, 1)
    with pytest.raises(EngineStoppedError):
        engine.start()
    with pytest.raises(EngineStoppedError):
        engine.submit(REQUEST)


@pytest.mark.parametrize("first_steps", [False, True])
def test_a_callback_in_the_engines_thread_may_stop_it(make_engine: MakeEngine, first_steps: bool) -> None:
    runner = FakeRunner(slots=1, first_steps=first_steps)
    engine = make_engine(runner)
    first, second = engine.submit(REQUEST), engine.submit(REQUEST)
    first.future.add_done_callback(lambda future: engine.stop())
    engine.start()
    assert len(first.future.result(10).tokens) == 20
    assert isinstance(second.future.exception(10), EngineStoppedError)
    eventually(lambda: runner.closed == 1)


def test_a_runner_that_does_not_close_does_not_block_stop(make_engine: MakeEngine) -> None:
    class NotClosing(FakeRunner):
        def close(self) -> None:
            raise RuntimeError("the session is in use")

    engine = make_engine(NotClosing())
    engine.start()
    handle = engine.submit(LONG)
    engine.stop()
    assert isinstance(handle.future.exception(0), EngineStoppedError)


def test_no_request_is_lost_when_threads_submit_cancel_and_stop(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=3), RecordingObserver()
    engine = make_engine(runner, queue_limit=1000, observer=observer)
    admitted = threading.Event()
    futures: list[Future[Completion]] = []

    def caller(number: int) -> None:
        for count in range(1000):
            try:
                handle = engine.submit(EngineRequest(seed=count, max_tokens=1 + count % 7))
            except EngineStoppedError:
                return
            except QueueFullError:
                time.sleep(0.001)
                continue
            futures.append(handle.future)
            if (count + number) % 3 == 0:
                handle.cancel()
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
    eventually(lambda: observer.in_flight == 0)  # a thread that cancels may still report
    assert observer.submissions == len(futures)
    assert observer.outcomes[Outcome.CANCELLED] == sum(future.cancelled() for future in futures)
    assert observer.outcomes[Outcome.FAILED] == sum(
        not future.cancelled() and future.exception() is not None for future in futures
    )
    assert observer.wrong == []
    assert engine._scheduler._slots.free_count == 3


def test_the_engines_thread_may_submit(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=1)
    engine = make_engine(runner)
    more: list[RequestHandle] = []

    def submit(chunk: Chunk) -> None:
        if not more:
            more.append(engine.submit(REQUEST))

    runner.before_decode = submit
    engine.start()
    first = engine.submit(REQUEST).future.result(10)
    assert more[0].future.result(10).tokens.tolist() == first.tokens.tolist()


def test_stop_does_not_resolve_a_request_that_another_thread_resolves(make_engine: MakeEngine) -> None:
    reached, go = threading.Event(), threading.Event()

    class Slow(RecordingObserver):
        def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
            super().finished(outcome, total_seconds, tokens)
            reached.set()
            assert go.wait(10)

    observer = Slow()
    engine = make_engine(FakeRunner(), observer=observer)
    handle = engine.submit(REQUEST)
    canceller = threading.Thread(target=handle.cancel)
    canceller.start()
    assert reached.wait(10)
    engine.stop()
    go.set()
    canceller.join(10)
    assert observer.outcomes == {Outcome.CANCELLED: 1}
    assert engine.drain(0)
