"""Cancellation at every stage of a request."""

import asyncio
from concurrent.futures import CancelledError

import pytest

from runtime.runner import Chunk
from server.engine.completion import RequestHandle
from server.engine.engine import Engine
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, Gate, RecordingObserver, eventually

LONG = EngineRequest(seed=1, max_tokens=100_000)
SHORT = EngineRequest(seed=2, max_tokens=3)


def test_a_cancelled_running_sequence_leaves_within_one_chunk(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=2), RecordingObserver()
    gate = Gate(runner)
    engine = make_engine(runner, observer=observer)
    handle = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    handle.cancel()
    assert handle.future.cancelled()
    assert engine.running == 1  # the chunk still runs
    gate.open()
    eventually(lambda: observer.in_flight == 0)
    assert len(runner.chunks) == 1
    assert engine.running == 0
    assert observer.outcomes == {Outcome.CANCELLED: 1}
    assert observer.tokens == 1
    assert len(observer.freed) == 1
    assert observer.wrong == []


def test_the_freed_slot_is_used_in_the_next_chunk(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=2)
    gate = Gate(runner)
    engine = make_engine(runner)
    cancelled, _, waits = (engine.submit(LONG), engine.submit(LONG), engine.submit(SHORT))
    engine.start()
    gate.wait_until_reached()
    cancelled.cancel()
    gate.open()
    assert len(waits.future.result(10).tokens) == 3
    assert [slot for slot, _ in runner.resets] == [0, 1, 0]
    assert [chunk.rows.tolist() for chunk in runner.chunks[:2]] == [[0, 1], [0, 1]]


def test_a_cancelled_waiting_sequence_leaves_at_once(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1), RecordingObserver()
    gate = Gate(runner)
    engine = make_engine(runner, queue_limit=1, observer=observer)
    running, waiting = engine.submit(LONG), engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    waiting.cancel()
    assert (engine.waiting, engine.running) == (0, 1)
    assert observer.outcomes == {Outcome.CANCELLED: 1}
    assert observer.freed == []  # it had no slot to free
    instead = engine.submit(SHORT)  # the queue has room again
    running.cancel()
    gate.open()
    assert len(instead.future.result(10).tokens) == 3
    assert len(runner.resets) == 2


def test_cancelling_twice_counts_once(make_engine: MakeEngine) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(), observer=observer)
    handle = engine.submit(LONG)
    handle.cancel()
    handle.cancel()
    assert observer.outcomes == {Outcome.CANCELLED: 1}
    with pytest.raises(CancelledError):
        handle.future.result(0)


def test_cancelling_a_finished_request_has_no_effect(make_engine: MakeEngine) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(), observer=observer)
    engine.start()
    handle = engine.submit(SHORT)
    completion = handle.future.result(10)
    handle.cancel()
    assert handle.future.result(0) is completion
    assert observer.outcomes == {Outcome.LENGTH: 1}


def test_cancelling_during_the_last_chunk_has_effect(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1), RecordingObserver()
    gate = Gate(runner)
    engine = make_engine(runner, observer=observer)
    handle = engine.submit(EngineRequest(seed=1, max_tokens=1))
    engine.start()
    gate.wait_until_reached()
    handle.cancel()
    gate.open()
    eventually(lambda: observer.in_flight == 0)
    assert observer.outcomes == {Outcome.CANCELLED: 1}
    assert len(observer.freed) == 1
    assert len(engine.submit(SHORT).future.result(10).tokens) == 3  # no other sequence is dropped in its place
    assert observer.outcomes == {Outcome.CANCELLED: 1, Outcome.LENGTH: 1}


def test_cancelling_while_the_result_is_reported_has_no_effect(make_engine: MakeEngine) -> None:
    handles: list[RequestHandle] = []

    class Late(RecordingObserver):
        def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
            super().finished(outcome, total_seconds, tokens)
            handles[0].cancel()

    observer = Late()
    engine = make_engine(FakeRunner(), observer=observer)
    handles.append(engine.submit(SHORT))
    engine.start()
    assert len(handles[0].future.result(10).tokens) == 3
    assert observer.outcomes == {Outcome.LENGTH: 1}


def test_cancelling_from_the_engines_thread(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    running, waiting = engine.submit(LONG), engine.submit(LONG)

    def cancel_both(chunk: Chunk) -> None:
        running.cancel()
        waiting.cancel()

    runner.before_decode = cancel_both
    engine.start()
    eventually(lambda: observer.in_flight == 0)
    assert observer.outcomes == {Outcome.CANCELLED: 2}
    assert len(runner.chunks) == 1


async def until_idle(observer: RecordingObserver, engine: Engine) -> None:
    async with asyncio.timeout(10):
        while observer.in_flight or engine.running:
            await asyncio.sleep(0.001)


async def test_a_cancelled_task_gives_its_slot_back(make_engine: MakeEngine) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(slots=1), observer=observer)
    engine.start()

    async def call() -> None:
        await asyncio.wrap_future(engine.submit(LONG).future)

    task = asyncio.create_task(call())
    while not engine.running:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(observer, engine)
    assert observer.outcomes == {Outcome.CANCELLED: 1}


async def test_a_deadline_that_passes_in_the_queue_frees_its_place(make_engine: MakeEngine) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(slots=1), queue_limit=1, observer=observer)
    engine.start()
    running = engine.submit(LONG)
    waiting = engine.submit(LONG)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.wrap_future(waiting.future), 0.01)
    assert engine.waiting == 0
    running.cancel()
    await until_idle(observer, engine)
    assert observer.outcomes == {Outcome.CANCELLED: 2}
    assert observer.starts == 1


async def test_futures_can_be_awaited(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    engine.start()
    futures = [asyncio.wrap_future(engine.submit(SHORT).future) for _ in range(20)]
    pieces = [completion.tokens.tolist() for completion in await asyncio.gather(*futures)]
    assert all(piece == pieces[0] for piece in pieces)
