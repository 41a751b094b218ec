"""Sequences with long primers, in company and in trouble."""

import threading
from collections.abc import Callable

import pytest

import server.engine.primers
from server.engine.completion import Completion, FinishReason
from server.engine.engine import Engine
from server.engine.errors import EngineFailedError, EngineStoppedError
from server.engine.observer import Outcome
from server.engine.primers import SLICE_TOKENS
from server.engine.request import EngineRequest
from server.engine.scheduler import Scheduler
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, Ledger, eventually

PRIMER = tuple((7 * index + index // 5) % 16 for index in range(3 * SLICE_TOKENS + 20))
SLICES = [SLICE_TOKENS] * 3 + [20]
PRIMED = EngineRequest(seed=5, max_tokens=len(PRIMER) + 30, forced=PRIMER)
LONG = EngineRequest(seed=1, max_tokens=100_000)
SHORT = EngineRequest(seed=2, max_tokens=3)


def complete(engine: Engine, request: EngineRequest) -> Completion:
    return engine.submit(request).future.result(10)


@pytest.fixture
def stepped(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[[EngineRequest], list[int]]:
    """What a request gives if its primer is told to decode chunks, a token a step."""

    def stepped(request: EngineRequest) -> list[int]:
        with monkeypatch.context() as patch:
            patch.setattr(server.engine.primers, "SHORTEST_TOKENS", 10**9)
            runner = FakeRunner()
            engine = make_engine(runner)
            engine.start()
            tokens: list[int] = complete(engine, request).tokens.tolist()
        assert runner.slices == []
        return tokens

    return stepped


def reading_for(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(Scheduler, "reading_seconds", lambda *arguments, **keywords: seconds)


def test_a_long_primer_is_read_in_slices(
    make_engine: MakeEngine, stepped: Callable[[EngineRequest], list[int]]
) -> None:
    runner, ledger = FakeRunner(), Ledger()
    engine = make_engine(runner, observer=ledger)
    engine.start()
    completion = complete(engine, PRIMED)
    assert [tokens for _, tokens in runner.slices] == ledger.slices == SLICES
    assert runner.runs[:5] == ["slice"] * 4 + ["chunk"]
    assert runner.shapes[0] == (1, 1)  # its first token is awaited
    assert sum(steps for _, steps in runner.shapes) == 30
    assert completion.tokens.tolist() == stepped(PRIMED)
    assert (ledger.tokens, len(ledger.first_tokens), ledger.wrong) == (len(PRIMER) + 30, 1, [])
    assert len(runner.threads) == 1


@pytest.mark.parametrize(
    "request_",
    [
        EngineRequest(seed=5, max_tokens=len(PRIMER), forced=PRIMER),
        EngineRequest(seed=5, max_tokens=len(PRIMER) + 1, forced=PRIMER),
        EngineRequest(seed=5, max_tokens=len(PRIMER) + 9, forced=PRIMER, stop_token=3, stop_count=PRIMER.count(3)),
        EngineRequest(seed=5, max_tokens=len(PRIMER) + 99, forced=PRIMER, stop_token=3, stop_count=PRIMER.count(3) + 2),
        EngineRequest(seed=5, max_tokens=SLICE_TOKENS + 9, forced=PRIMER[:SLICE_TOKENS]),
        EngineRequest(seed=5, max_tokens=len(PRIMER) + 99, forced=tuple(t % 15 for t in PRIMER), end_token=15),
    ],
)
def test_the_end_of_a_sequence_is_where_it_is_without_slices(
    make_engine: MakeEngine, stepped: Callable[[EngineRequest], list[int]], request_: EngineRequest
) -> None:
    runner = FakeRunner()
    engine = make_engine(runner)
    engine.start()
    completion = complete(engine, request_)
    assert runner.slices
    assert completion.tokens.tolist() == stepped(request_)
    ended = completion.tokens[-1] == request_.end_token
    assert completion.finish_reason is (FinishReason.END if ended else FinishReason.LENGTH)


def test_a_short_primer_is_stepped_through(make_engine: MakeEngine) -> None:
    runner = FakeRunner()
    engine = make_engine(runner)
    engine.start()
    complete(engine, EngineRequest(seed=1, max_tokens=100, forced=PRIMER[: SLICE_TOKENS - 1]))
    assert runner.slices == []


def primed_beside_another(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, seconds: float) -> FakeRunner:
    """The runner once a primer is through, read for so long a turn while another sequence decoded."""
    reading_for(monkeypatch, seconds)
    runner = FakeRunner(slots=2)
    engine = make_engine(runner)
    other, primed = engine.submit(LONG), engine.submit(PRIMED)
    engine.start()
    primed.future.result(10)
    other.cancel()
    return runner


def test_others_decode_between_the_slices(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = primed_beside_another(make_engine, monkeypatch, 0.0)
    assert runner.runs[:9] == ["slice", "chunk"] * 4 + ["chunk"]
    assert [chunk.rows.tolist() for chunk in runner.chunks[:4]] == [[0], [0], [0], [0, 1]]


def test_slices_go_on_for_as_long_as_the_scheduler_says(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = primed_beside_another(make_engine, monkeypatch, 1000.0)
    assert runner.runs[:5] == ["slice"] * 4 + ["chunk"]


def test_whoever_is_through_does_not_wait_for_other_primers(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading_for(monkeypatch, 1000.0)
    runner = FakeRunner(slots=2)
    engine = make_engine(runner)
    shorter = EngineRequest(seed=1, max_tokens=200, forced=PRIMER[: 2 * SLICE_TOKENS])
    tickets = [engine.submit(PRIMED), engine.submit(shorter)]
    engine.start()
    for ticket in tickets:
        ticket.future.result(10)
    assert [slot for slot, _ in runner.slices] == [0, 1, 0, 1, 0, 0]
    assert runner.runs[:5] == ["slice"] * 4 + ["chunk"]


def test_who_comes_while_a_primer_is_read_gets_in_after_the_slice(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=2)
    engine = make_engine(runner)

    def arrive(slot: int, tokens: int) -> None:
        if len(runner.slices) == 2:
            engine.submit(SHORT)

    runner.before_prefill = arrive
    engine.start()
    complete(engine, PRIMED)
    assert runner.runs[:4] == ["slice", "slice", "slice", "chunk"]
    assert runner.chunks[0].rows.tolist() == [1]


def test_giving_up_while_the_primer_is_read_frees_the_slot_after_the_slice(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1), Ledger()
    engine = make_engine(runner, observer=ledger)
    primed, waits = engine.submit(PRIMED), engine.submit(SHORT)

    def give_up(slot: int, tokens: int) -> None:
        if len(runner.slices) == 2:
            primed.cancel()

    runner.before_prefill = give_up
    engine.start()
    alone = waits.future.result(10).tokens.tolist()
    assert engine.drain(10)
    assert [tokens for _, tokens in runner.slices] == SLICES[:2]
    assert ledger.outcomes == {Outcome.CANCELLED: 1, Outcome.LENGTH: 1}
    assert (ledger.tokens, len(ledger.freed), ledger.in_flight, ledger.wrong) == (2 * SLICE_TOKENS + 3, 1, 0, [])
    assert engine._primers.count == 0
    fresh = make_engine(FakeRunner(slots=1))
    fresh.start()
    assert complete(fresh, SHORT).tokens.tolist() == alone


def test_a_slice_that_fails_frees_every_slot(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=3), Ledger()
    engine = make_engine(runner, observer=ledger)
    tickets = [engine.submit(PRIMED), engine.submit(LONG), engine.submit(PRIMED)]

    def fail(slot: int, tokens: int) -> None:
        if len(runner.slices) == 3:
            raise RuntimeError("device lost")

    runner.before_prefill = fail
    engine.start()
    for ticket in tickets:
        assert isinstance(ticket.future.exception(10), EngineFailedError)
    assert engine._primers.count == 0
    assert len(complete(engine, PRIMED).tokens) == PRIMED.max_tokens
    assert (ledger.outcomes, ledger.in_flight) == ({Outcome.FAILED: 3, Outcome.LENGTH: 1}, 0)
    assert engine._scheduler._slots.free_count == 3


def test_a_runner_that_stops_reading_too_early_hangs_nobody(make_engine: MakeEngine) -> None:
    runner = FakeRunner()
    runner.prefill = lambda slot, tokens, slice_tokens: iter([SLICE_TOKENS])  # type: ignore[method-assign]
    engine = make_engine(runner)
    engine.start()
    assert isinstance(engine.submit(PRIMED).future.exception(10), EngineFailedError)


def test_draining_reads_primers_to_their_end(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=1)
    reached, go = threading.Event(), threading.Event()

    def hold(slot: int, tokens: int) -> None:
        reached.set()
        assert go.wait(10)

    runner.before_prefill = hold
    engine = make_engine(runner)
    ticket = engine.submit(PRIMED)
    engine.start()
    assert reached.wait(10)
    assert not engine.drain(0.01)
    go.set()
    assert engine.drain(10)
    assert len(ticket.future.result(0).tokens) == PRIMED.max_tokens


def test_stopping_ends_after_the_slice(make_engine: MakeEngine) -> None:
    runner, ledger = FakeRunner(slots=1), Ledger()
    reached, go = threading.Event(), threading.Event()

    def hold(slot: int, tokens: int) -> None:
        reached.set()
        assert go.wait(10)

    runner.before_prefill = hold
    engine = make_engine(runner, observer=ledger)
    ticket = engine.submit(PRIMED)
    engine.start()
    assert reached.wait(10)
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    eventually(lambda: not engine.accepting)
    go.set()
    stopper.join(10)
    assert isinstance(ticket.future.exception(0), EngineStoppedError)
    assert [tokens for _, tokens in runner.slices] == SLICES[:1]
    assert ledger.tokens == SLICE_TOKENS
    assert runner.closed == 1


def test_warming_up_reads_a_slice(make_engine: MakeEngine) -> None:
    runner = FakeRunner()
    make_engine(runner).warm_up()
    assert runner.slices == [(0, SLICE_TOKENS)]
    broken = FakeRunner()
    broken.prefill = lambda slot, tokens, slice_tokens: iter([1])  # type: ignore[method-assign]
    with pytest.raises(EngineFailedError) as caught:
        make_engine(broken).warm_up()
    assert "1 tokens of a primer" in str(caught.value.__cause__)
