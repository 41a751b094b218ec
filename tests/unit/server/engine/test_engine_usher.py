"""First tokens that are found while a chunk runs, and whoever gives up, fails or stops meanwhile."""

import threading
import time
import weakref

import numpy as np
import pytest
from numpy.typing import NDArray

from server.engine.engine import Engine
from server.engine.errors import EngineFailedError, EngineStoppedError
from server.engine.observer import Outcome
from server.engine.pace import PATIENCE_SECONDS, USHERED_PATIENCE_SECONDS
from server.engine.request import EngineRequest
from server.engine.runner import Chunk, Opened, State
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeOpener, FakeRunner, Gate, Ledger, eventually

LONG = EngineRequest(seed=1, max_tokens=100_000)
SHORT = EngineRequest(seed=2, max_tokens=7)


def opener_of(runner: FakeRunner) -> FakeOpener:
    assert runner.opener is not None
    return runner.opener


def alone(make_engine: MakeEngine, request: EngineRequest) -> list[int]:
    engine = make_engine(FakeRunner(slots=1, chunk_sizes=(1,)))
    engine.start()
    tokens: list[int] = engine.submit(request).future.result(10).tokens.tolist()
    return tokens


def test_a_first_token_does_not_wait_for_the_chunk_that_runs(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=2, opens=True), Ledger()
    gate = Gate(runner)
    engine = make_engine(runner, observer=ledger)
    engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    submitted = time.perf_counter()
    ticket = engine.submit(SHORT)
    eventually(lambda: len(engine._entrants) == 1)  # the chunk goes on for longer than the opener takes
    opened = time.perf_counter() - submitted
    gate.open()
    completion = ticket.future.result(10)
    assert completion.first_token_seconds < opened
    assert completion.queue_seconds <= completion.first_token_seconds < completion.total_seconds
    assert completion.tokens.tolist() == alone(make_engine, SHORT)
    assert ledger.first_tokens[1] == completion.first_token_seconds
    assert ledger.openings == [(1, 1), (1, 1)]
    assert runner.resets == []
    assert 1 not in [steps for _, steps in runner.shapes[:2]], "nobody awaits a first token in a chunk"


def test_the_opener_has_a_thread_of_its_own_and_the_runner_another(make_engine: MakeEngine) -> None:
    runner = FakeRunner(opens=True)
    engine = make_engine(runner)
    engine.start()
    for _ in range(3):
        engine.submit(SHORT).future.result(10)
    assert len(runner.threads) == len(opener_of(runner).threads) == 1
    assert runner.threads.isdisjoint(opener_of(runner).threads)


@pytest.mark.parametrize(("width", "opened"), [(2, [2, 2, 2, 2, 2]), (10, [8, 2])])
def test_not_too_many_are_opened_at_once(make_engine: MakeEngine, width: int, opened: list[int]) -> None:
    runner = FakeRunner(slots=10, width=width, opens=True)
    engine = make_engine(runner)
    tickets = [engine.submit(LONG) for _ in range(10)]
    engine.start()
    eventually(lambda: len(runner.resumed) == 10)
    assert [chunk.width for chunk in opener_of(runner).chunks] == opened
    assert sorted(runner.resumed) == list(range(10))
    for ticket in tickets:
        ticket.cancel()


@pytest.mark.parametrize(("chunk_sizes", "steps"), [((1, 4), 4), ((2, 5), 4), ((3,), 6), ((5, 9), 5)])
def test_a_few_forced_tokens_are_part_of_the_opening(
    make_engine: MakeEngine, chunk_sizes: tuple[int, ...], steps: int
) -> None:
    runner, ledger = FakeRunner(chunk_sizes=chunk_sizes, opens=True), Ledger()
    engine = make_engine(runner, observer=ledger)
    engine.start()
    told = EngineRequest(seed=3, max_tokens=9, forced=(1, 2, 3))
    assert engine.submit(told).future.result(10).tokens.tolist() == alone(make_engine, told)
    (chunk,) = opener_of(runner).chunks
    assert chunk.forced.tolist() == [[1, 2, 3] + [-1] * (steps - 3)]
    assert (runner.resets, len(ledger.first_tokens)) == ([], 1)


def test_primers_and_pieces_as_short_as_an_opening_are_left_to_chunks(make_engine: MakeEngine) -> None:
    runner = FakeRunner(opens=True)
    engine = make_engine(runner)
    engine.start()
    told = EngineRequest(seed=3, max_tokens=3, forced=(1, 2))
    primed = EngineRequest(seed=3, max_tokens=90, forced=(1, 2, 3, 4) * 12)
    stopped = EngineRequest(seed=3, max_tokens=90, forced=(1, 2, 3, 4) * 12, stop_token=4, stop_count=2)
    one = EngineRequest(seed=3, max_tokens=1)
    for request in (told, primed, stopped, one):
        assert engine.submit(request).future.result(10).tokens.tolist() == alone(make_engine, request)
    assert opener_of(runner).chunks == []
    assert len(runner.resets) == 4


def test_those_left_to_chunks_do_not_wait_for_the_others_opening(make_engine: MakeEngine) -> None:
    runner = FakeRunner(opens=True)
    hold = Gate(opener_of(runner))
    engine = make_engine(runner)
    opened, plain = engine.submit(SHORT), engine.submit(EngineRequest(seed=3, max_tokens=1))
    engine.start()
    hold.wait_until_reached()
    assert len(plain.future.result(10).tokens) == 1
    assert not opened.future.done()
    hold.open()
    assert opened.future.result(10).tokens.tolist() == alone(make_engine, SHORT)


@pytest.mark.parametrize("what", ["end", "stop"])
def test_an_opening_that_may_finish_its_sequence_is_left_to_chunks(make_engine: MakeEngine, what: str) -> None:
    runner = FakeRunner(opens=True)
    engine = make_engine(runner)
    engine.start()
    first = alone(make_engine, SHORT)[0]
    if what == "end":
        request = EngineRequest(seed=SHORT.seed, max_tokens=7, end_token=first)
    else:
        request = EngineRequest(seed=SHORT.seed, max_tokens=7, stop_token=first, stop_count=1)
    assert engine.submit(request).future.result(10).tokens.tolist() == [first]
    assert len(opener_of(runner).chunks) == 1
    assert (runner.resumed, len(runner.resets)) == ([], 1)


def test_a_stop_token_that_is_not_the_last_one_is_no_hindrance(make_engine: MakeEngine) -> None:
    runner = FakeRunner(opens=True)
    engine = make_engine(runner)
    engine.start()
    first = alone(make_engine, SHORT)[0]
    request = EngineRequest(seed=SHORT.seed, max_tokens=40, stop_token=first, stop_count=2)
    assert engine.submit(request).future.result(10).tokens.tolist() == alone(make_engine, request)
    assert (len(runner.resumed), runner.resets) == (1, [])


def test_of_those_opened_together_some_may_be_left_to_chunks(make_engine: MakeEngine) -> None:
    runner = FakeRunner(opens=True)
    engine = make_engine(runner)
    ends = EngineRequest(seed=SHORT.seed, max_tokens=7, end_token=alone(make_engine, SHORT)[0])
    requests = [SHORT, ends, EngineRequest(seed=5, max_tokens=7)]
    tickets = [engine.submit(request) for request in requests]
    engine.start()
    for ticket, request in zip(tickets, requests, strict=True):
        assert ticket.future.result(10).tokens.tolist() == alone(make_engine, request)
    assert [chunk.width for chunk in opener_of(runner).chunks] == [3]
    assert (sorted(runner.resumed), [slot for slot, _ in runner.resets]) == ([0, 2], [1])


def test_who_gives_up_while_it_is_opened_leaves_and_its_slot_is_the_next_ones(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1, opens=True), Ledger()
    hold = Gate(opener_of(runner))
    engine = make_engine(runner, observer=ledger)
    engine.start()
    given_up, waits = engine.submit(LONG), engine.submit(SHORT)
    hold.wait_until_reached()
    given_up.cancel()
    eventually(lambda: ledger.outcomes[Outcome.CANCELLED] == 1)  # the opener still holds it
    assert (engine.running, engine.waiting) == (0, 1)
    hold.open()
    assert waits.future.result(10).tokens.tolist() == alone(make_engine, SHORT)
    assert runner.resumed == [0], "what the opener brought of the first was thrown away"
    assert (ledger.starts, len(ledger.freed), ledger.wrong) == (1, 1, [])


def test_who_gives_up_between_its_opening_and_the_next_chunk_is_never_seated(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=2, opens=True), Ledger()
    gate = Gate(runner)
    engine = make_engine(runner, observer=ledger)
    running = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    given_up = engine.submit(SHORT)
    eventually(lambda: len(engine._entrants) == 1)
    given_up.cancel()
    running.cancel()
    gate.open()
    eventually(lambda: ledger.in_flight == 0)
    assert ledger.outcomes == {Outcome.CANCELLED: 2}
    assert (runner.resumed, engine.running) == ([0], 0)


def test_an_opening_that_fails_fails_those_who_shared_it_and_nobody_else(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(opens=True), Ledger()
    gate = Gate(runner)

    def fail_once(chunk: Chunk) -> None:
        opener_of(runner).before_open = lambda chunk: None
        raise RuntimeError("device lost")

    engine = make_engine(runner, observer=ledger)
    running = engine.submit(SHORT)
    engine.start()
    gate.wait_until_reached()
    opener_of(runner).before_open = fail_once
    fails = engine.submit(SHORT)
    eventually(lambda: len(engine._entrants) == 1)
    gate.open()
    error = fails.future.exception(10)
    assert isinstance(error, EngineFailedError)
    assert isinstance(error.__cause__, RuntimeError)
    assert running.future.result(10).tokens.tolist() == alone(make_engine, SHORT)
    assert engine.submit(SHORT).future.result(10).tokens.tolist() == alone(make_engine, SHORT)
    assert ledger.outcomes == {Outcome.FAILED: 1, Outcome.LENGTH: 2}
    assert (ledger.in_flight, engine.running, ledger.wrong) == (0, 0, [])


def test_an_opening_that_cannot_be_resumed_is_a_failure_like_any_other(make_engine: MakeEngine) -> None:
    class Forgetful(FakeRunner):
        def resume(self, slot: int, state: State) -> None:
            raise RuntimeError("what state?")

    engine = make_engine(Forgetful(opens=True))
    engine.start()
    assert isinstance(engine.submit(SHORT).future.exception(10), EngineFailedError)
    assert engine.drain(10)


def test_warming_up_finds_an_opener_that_draws_something_else(make_engine: MakeEngine) -> None:
    class Wrong(FakeOpener):
        def open(self, clock_rows: NDArray[np.int64], chunk: Chunk) -> Opened:
            opened = super().open(clock_rows, chunk)
            return Opened(opened.tokens + 1, opened.states)

    runner = FakeRunner(opens=True)
    make_engine(runner).warm_up()
    assert len(opener_of(runner).chunks) == 1
    runner.opener = Wrong(runner)
    with pytest.raises(EngineFailedError):
        make_engine(runner).warm_up()


@pytest.mark.parametrize("opens", [False, True])
def test_chunks_may_be_longer_where_first_tokens_do_not_wait_for_them(make_engine: MakeEngine, opens: bool) -> None:
    engine = make_engine(FakeRunner(opens=opens))
    assert engine._scheduler._pace._patience == (USHERED_PATIENCE_SECONDS if opens else PATIENCE_SECONDS)


def test_a_chunk_that_fails_does_not_fail_who_is_being_opened(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=2, opens=True), Ledger()
    gate = Gate(runner)
    passing = runner.before_decode

    def fail_first(chunk: Chunk) -> None:
        passing(chunk)
        if len(runner.chunks) == 1:
            raise RuntimeError("device lost")

    runner.before_decode = fail_first
    engine = make_engine(runner, observer=ledger)
    fails = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    hold = Gate(opener_of(runner))
    ticket = engine.submit(SHORT)
    hold.wait_until_reached()
    gate.open()
    assert isinstance(fails.future.exception(10), EngineFailedError)
    hold.open()
    assert ticket.future.result(10).tokens.tolist() == alone(make_engine, SHORT)
    assert ledger.outcomes == {Outcome.FAILED: 1, Outcome.LENGTH: 1}


def test_an_usher_that_breaks_hangs_nobody(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1, opens=True), Ledger()

    def broken(chunk: Chunk) -> None:
        raise SystemExit("a bug of ours")

    opener_of(runner).before_open = broken
    engine = make_engine(runner, observer=ledger)
    engine.start()
    tickets = [engine.submit(LONG), engine.submit(SHORT)]
    for ticket in tickets:
        assert isinstance(ticket.future.exception(10), EngineFailedError)
    with pytest.raises(EngineStoppedError):
        engine.submit(SHORT)
    engine.stop()
    assert (engine.waiting, engine.running, ledger.in_flight, runner.closed) == (0, 0, 0, 1)


def test_stopping_waits_for_the_opener_before_the_model_is_closed(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1, opens=True), Ledger()
    hold = Gate(opener_of(runner))
    engine = make_engine(runner, observer=ledger)
    engine.start()
    ticket = engine.submit(SHORT)
    hold.wait_until_reached()
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    stopper.join(0.05)
    assert stopper.is_alive()
    assert runner.closed == 0
    hold.open()
    stopper.join(10)
    assert not stopper.is_alive()
    assert isinstance(ticket.future.exception(10), EngineStoppedError)
    assert (runner.closed, ledger.outcomes, runner.resumed) == (1, {Outcome.FAILED: 1}, [])


def test_nothing_is_left_of_an_engine_that_was_stopped() -> None:
    runner = FakeRunner(opens=True)
    engine = Engine(runner, queue_limit=0, name="gone")
    engine.start()
    assert len(engine.submit(SHORT).future.result(10).tokens) == 7
    engine.stop()
    gone = weakref.ref(opener_of(runner))
    runner.opener = None
    del engine, runner
    assert gone() is None, "its model would stay in memory until somebody collects garbage"
