"""Callers who give up, at every moment that there is."""

import asyncio
from concurrent.futures import CancelledError

import pytest

from server.engine.engine import Engine
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from server.engine.runner import Chunk
from server.engine.ticket import Ticket
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, Gate, Ledger, eventually

LONG = EngineRequest(seed=1, max_tokens=100_000)
SHORT = EngineRequest(seed=2, max_tokens=3)


def test_a_running_sequence_leaves_within_one_chunk(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=2), Ledger()
    gate = Gate(runner)
    engine = make_engine(runner, observer=ledger)
    ticket = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    ticket.cancel()
    assert ticket.future.cancelled()
    assert engine.running == 1  # the chunk still runs
    gate.open()
    eventually(lambda: ledger.in_flight == 0)
    assert len(runner.chunks) == 1
    assert engine.running == 0
    assert ledger.outcomes == {Outcome.CANCELLED: 1}
    assert ledger.tokens == 1
    assert len(ledger.freed) == 1
    assert ledger.wrong == []


def test_its_slot_is_the_next_ones_in_the_very_next_chunk(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=2)
    gate = Gate(runner)
    engine = make_engine(runner)
    given_up, _, waits = (engine.submit(LONG), engine.submit(LONG), engine.submit(SHORT))
    engine.start()
    gate.wait_until_reached()
    given_up.cancel()
    gate.open()
    assert len(waits.future.result(10).tokens) == 3
    assert [slot for slot, _ in runner.resets] == [0, 1, 0]
    assert [chunk.rows.tolist() for chunk in runner.chunks[:2]] == [[0, 1], [0, 1]]


def test_a_waiting_sequence_leaves_at_once(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1), Ledger()
    gate = Gate(runner)
    engine = make_engine(runner, queue_limit=1, observer=ledger)
    running, waiting = engine.submit(LONG), engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    waiting.cancel()
    assert (engine.waiting, engine.running) == (0, 1)
    assert ledger.outcomes == {Outcome.CANCELLED: 1}
    assert ledger.freed == []  # it had no slot to free
    instead = engine.submit(SHORT)  # the queue has room again
    running.cancel()
    gate.open()
    assert len(instead.future.result(10).tokens) == 3
    assert len(runner.resets) == 2


def test_cancelling_twice_is_cancelling_once(make_engine: MakeEngine) -> None:
    ledger = Ledger()
    engine = make_engine(FakeRunner(), observer=ledger)
    ticket = engine.submit(LONG)
    ticket.cancel()
    ticket.cancel()
    assert ledger.outcomes == {Outcome.CANCELLED: 1}
    with pytest.raises(CancelledError):
        ticket.future.result(0)


def test_cancelling_what_is_finished_does_nothing(make_engine: MakeEngine) -> None:
    ledger = Ledger()
    engine = make_engine(FakeRunner(), observer=ledger)
    engine.start()
    ticket = engine.submit(SHORT)
    completion = ticket.future.result(10)
    ticket.cancel()
    assert ticket.future.result(0) is completion
    assert ledger.outcomes == {Outcome.LENGTH: 1}


def test_cancelling_during_the_last_chunk_is_in_time(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1), Ledger()
    gate = Gate(runner)
    engine = make_engine(runner, observer=ledger)
    ticket = engine.submit(EngineRequest(seed=1, max_tokens=1))
    engine.start()
    gate.wait_until_reached()
    ticket.cancel()
    gate.open()
    eventually(lambda: ledger.in_flight == 0)
    assert ledger.outcomes == {Outcome.CANCELLED: 1}
    assert len(ledger.freed) == 1
    assert len(engine.submit(SHORT).future.result(10).tokens) == 3  # nobody is dropped in its stead
    assert ledger.outcomes == {Outcome.CANCELLED: 1, Outcome.LENGTH: 1}


def test_cancelling_while_the_result_is_being_told_is_too_late(make_engine: MakeEngine) -> None:
    tickets: list[Ticket] = []

    class Late(Ledger):
        def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
            super().finished(outcome, total_seconds, tokens)
            tickets[0].cancel()

    ledger = Late()
    engine = make_engine(FakeRunner(), observer=ledger)
    tickets.append(engine.submit(SHORT))
    engine.start()
    assert len(tickets[0].future.result(10).tokens) == 3
    assert ledger.outcomes == {Outcome.LENGTH: 1}


def test_cancelling_from_inside_the_runners_thread(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1), Ledger()
    engine = make_engine(runner, observer=ledger)
    running, waiting = engine.submit(LONG), engine.submit(LONG)

    def cancel_both(chunk: Chunk) -> None:
        running.cancel()
        waiting.cancel()

    runner.before_decode = cancel_both
    engine.start()
    eventually(lambda: ledger.in_flight == 0)
    assert ledger.outcomes == {Outcome.CANCELLED: 2}
    assert len(runner.chunks) == 1


async def until_idle(ledger: Ledger, engine: Engine) -> None:
    async with asyncio.timeout(10):
        while ledger.in_flight or engine.running:
            await asyncio.sleep(0.001)


async def test_a_cancelled_task_gives_its_slot_back(make_engine: MakeEngine) -> None:
    ledger = Ledger()
    engine = make_engine(FakeRunner(slots=1), observer=ledger)
    engine.start()

    async def call() -> None:
        await asyncio.wrap_future(engine.submit(LONG).future)

    task = asyncio.create_task(call())
    while not engine.running:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(ledger, engine)
    assert ledger.outcomes == {Outcome.CANCELLED: 1}


async def test_a_deadline_that_passes_in_the_queue_empties_its_place(make_engine: MakeEngine) -> None:
    ledger = Ledger()
    engine = make_engine(FakeRunner(slots=1), queue_limit=1, observer=ledger)
    engine.start()
    running = engine.submit(LONG)
    waiting = engine.submit(LONG)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.wrap_future(waiting.future), 0.01)
    assert engine.waiting == 0
    running.cancel()
    await until_idle(ledger, engine)
    assert ledger.outcomes == {Outcome.CANCELLED: 2}
    assert ledger.starts == 1


async def test_an_awaited_sequence_arrives(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    engine.start()
    futures = [asyncio.wrap_future(engine.submit(SHORT).future) for _ in range(20)]
    pieces = [completion.tokens.tolist() for completion in await asyncio.gather(*futures)]
    assert all(piece == pieces[0] for piece in pieces)
