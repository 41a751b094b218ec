"""Prefill of long primers: beside other sequences, with cancellation, failure and shutdown."""

import threading
from collections.abc import Callable

import pytest

import server.engine.prefill_queue
from server.engine.completion import Completion, FinishReason
from server.engine.engine import Engine
from server.engine.errors import EngineFailedError, EngineStoppedError
from server.engine.observer import Outcome
from server.engine.prefill_queue import SLICE_TOKENS
from server.engine.request import EngineRequest
from server.engine.scheduler import Scheduler
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, RecordingObserver, eventually

PRIMER = tuple((7 * index + index // 5) % 16 for index in range(3 * SLICE_TOKENS + 20))
SLICES = [SLICE_TOKENS] * 3 + [20]
PRIMED = EngineRequest(seed=5, max_tokens=len(PRIMER) + 30, forced=PRIMER)
LONG = EngineRequest(seed=1, max_tokens=100_000)
SHORT = EngineRequest(seed=2, max_tokens=3)


def complete(engine: Engine, request: EngineRequest) -> Completion:
    return engine.submit(request).future.result(10)


@pytest.fixture
def without_prefill(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[[EngineRequest], list[int]]:
    """Return what a request gives if its primer is decoded one token a step."""

    def without_prefill(request: EngineRequest) -> list[int]:
        with monkeypatch.context() as patch:
            patch.setattr(server.engine.prefill_queue, "MIN_PREFILL_TOKENS", 10**9)
            runner = FakeRunner()
            engine = make_engine(runner)
            engine.start()
            tokens: list[int] = complete(engine, request).tokens.tolist()
        assert runner.slices == []
        return tokens

    return without_prefill


def set_prefill_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(Scheduler, "prefill_seconds", lambda *arguments, **keywords: seconds)


def test_a_long_primer_is_prefilled_in_slices(
    make_engine: MakeEngine, without_prefill: Callable[[EngineRequest], list[int]]
) -> None:
    runner, observer = FakeRunner(), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    engine.start()
    completion = complete(engine, PRIMED)
    assert [tokens for _, tokens in runner.slices] == observer.slices == SLICES
    assert runner.runs[:5] == ["slice"] * 4 + ["chunk"]
    assert runner.shapes[0] == (1, 1)  # its first token is awaited
    assert sum(steps for _, steps in runner.shapes) == 30
    assert completion.tokens.tolist() == without_prefill(PRIMED)
    assert (observer.tokens, len(observer.first_tokens), observer.wrong) == (len(PRIMER) + 30, 1, [])
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
def test_prefill_does_not_change_the_end_of_a_sequence(
    make_engine: MakeEngine, without_prefill: Callable[[EngineRequest], list[int]], request_: EngineRequest
) -> None:
    runner = FakeRunner()
    engine = make_engine(runner)
    engine.start()
    completion = complete(engine, request_)
    assert runner.slices
    assert completion.tokens.tolist() == without_prefill(request_)
    ended = completion.tokens[-1] == request_.end_token
    assert completion.finish_reason is (FinishReason.END if ended else FinishReason.LENGTH)


def test_a_short_primer_is_not_prefilled(make_engine: MakeEngine) -> None:
    runner = FakeRunner()
    engine = make_engine(runner)
    engine.start()
    complete(engine, EngineRequest(seed=1, max_tokens=100, forced=PRIMER[: SLICE_TOKENS - 1]))
    assert runner.slices == []


def prefilled_beside_another(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, seconds: float) -> FakeRunner:
    """Return the runner after a prefill beside another sequence, with `seconds` of prefill in each turn."""
    set_prefill_seconds(monkeypatch, seconds)
    runner = FakeRunner(slots=2)
    engine = make_engine(runner)
    other, primed = engine.submit(LONG), engine.submit(PRIMED)
    engine.start()
    primed.future.result(10)
    other.cancel()
    return runner


def test_others_decode_between_the_slices(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = prefilled_beside_another(make_engine, monkeypatch, 0.0)
    assert runner.runs[:9] == ["slice", "chunk"] * 4 + ["chunk"]
    assert [chunk.rows.tolist() for chunk in runner.chunks[:4]] == [[0], [0], [0], [0, 1]]


def test_slices_run_for_as_long_as_the_scheduler_says(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = prefilled_beside_another(make_engine, monkeypatch, 1000.0)
    assert runner.runs[:5] == ["slice"] * 4 + ["chunk"]


def test_a_complete_prefill_does_not_wait_for_the_others(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_prefill_seconds(monkeypatch, 1000.0)
    runner = FakeRunner(slots=2)
    engine = make_engine(runner)
    shorter = EngineRequest(seed=1, max_tokens=200, forced=PRIMER[: 2 * SLICE_TOKENS])
    handles = [engine.submit(PRIMED), engine.submit(shorter)]
    engine.start()
    for handle in handles:
        handle.future.result(10)
    assert [slot for slot, _ in runner.slices] == [0, 1, 0, 1, 0, 0]
    assert runner.runs[:5] == ["slice"] * 4 + ["chunk"]


def test_a_request_that_arrives_during_a_slice_is_admitted_after_it(make_engine: MakeEngine) -> None:
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


def test_cancelling_during_a_slice_frees_the_slot_after_it(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    primed, waits = engine.submit(PRIMED), engine.submit(SHORT)

    def cancel(slot: int, tokens: int) -> None:
        if len(runner.slices) == 2:
            primed.cancel()

    runner.before_prefill = cancel
    engine.start()
    alone = waits.future.result(10).tokens.tolist()
    assert engine.drain(10)
    assert [tokens for _, tokens in runner.slices] == SLICES[:2]
    assert observer.outcomes == {Outcome.CANCELLED: 1, Outcome.LENGTH: 1}
    assert (observer.tokens, len(observer.freed), observer.in_flight, observer.wrong) == (
        2 * SLICE_TOKENS + 3,
        1,
        0,
        [],
    )
    assert len(engine._loop._prefills) == 0
    fresh = make_engine(FakeRunner(slots=1))
    fresh.start()
    assert complete(fresh, SHORT).tokens.tolist() == alone


def test_a_failed_slice_frees_every_slot(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=3), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    handles = [engine.submit(PRIMED), engine.submit(LONG), engine.submit(PRIMED)]

    def fail(slot: int, tokens: int) -> None:
        if len(runner.slices) == 3:
            raise RuntimeError("device lost")

    runner.before_prefill = fail
    engine.start()
    for handle in handles:
        assert isinstance(handle.future.exception(10), EngineFailedError)
    assert len(engine._loop._prefills) == 0
    assert len(complete(engine, PRIMED).tokens) == PRIMED.max_tokens
    assert (observer.outcomes, observer.in_flight) == ({Outcome.FAILED: 3, Outcome.LENGTH: 1}, 0)
    assert engine._scheduler._slots.free_count == 3


def test_a_prefill_that_stops_too_early_fails_the_sequence(make_engine: MakeEngine) -> None:
    runner = FakeRunner()
    runner.prefill = lambda slot, tokens, slice_tokens: iter([SLICE_TOKENS])  # type: ignore[method-assign]
    engine = make_engine(runner)
    engine.start()
    assert isinstance(engine.submit(PRIMED).future.exception(10), EngineFailedError)


def test_drain_waits_for_prefills(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=1)
    reached, go = threading.Event(), threading.Event()

    def hold(slot: int, tokens: int) -> None:
        reached.set()
        assert go.wait(10)

    runner.before_prefill = hold
    engine = make_engine(runner)
    handle = engine.submit(PRIMED)
    engine.start()
    assert reached.wait(10)
    assert not engine.drain(0.01)
    go.set()
    assert engine.drain(10)
    assert len(handle.future.result(0).tokens) == PRIMED.max_tokens


def test_stop_waits_for_the_present_slice(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1), RecordingObserver()
    reached, go = threading.Event(), threading.Event()

    def hold(slot: int, tokens: int) -> None:
        reached.set()
        assert go.wait(10)

    runner.before_prefill = hold
    engine = make_engine(runner, observer=observer)
    handle = engine.submit(PRIMED)
    engine.start()
    assert reached.wait(10)
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    eventually(lambda: not engine.accepting)
    go.set()
    stopper.join(10)
    assert isinstance(handle.future.exception(0), EngineStoppedError)
    assert [tokens for _, tokens in runner.slices] == SLICES[:1]
    assert observer.tokens == SLICE_TOKENS
    assert runner.closed == 1
