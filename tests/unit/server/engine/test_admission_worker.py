"""First steps beside the batch, with cancellation, failure and shutdown meanwhile."""

import threading
import time
import weakref

import pytest

from runtime.runner import Chunk, SequenceState
from server.engine.chunk_sizer import MAX_CHUNK_SECONDS, MAX_CHUNK_SECONDS_WITH_ADMISSION_WORKER
from server.engine.engine import Engine
from server.engine.errors import EngineFailedError, EngineStoppedError
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import (
    FakeFirstTokenRunner,
    FakeRunner,
    Gate,
    RecordingObserver,
    eventually,
)

LONG = EngineRequest(seed=1, max_tokens=100_000)
SHORT = EngineRequest(seed=2, max_tokens=7)


def first_token_runner_of(runner: FakeRunner) -> FakeFirstTokenRunner:
    assert runner.first_token_runner is not None
    return runner.first_token_runner


def alone(make_engine: MakeEngine, request: EngineRequest) -> list[int]:
    engine = make_engine(FakeRunner(slots=1, chunk_sizes=(1,)))
    engine.start()
    tokens: list[int] = engine.submit(request).future.result(10).tokens.tolist()
    return tokens


def test_a_first_token_does_not_wait_for_the_chunk_that_runs(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=2, first_steps=True), RecordingObserver()
    gate = Gate(runner)
    engine = make_engine(runner, observer=observer)
    engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    submitted = time.perf_counter()
    handle = engine.submit(SHORT)
    eventually(lambda: engine._admission.has_admitted)  # the chunk still runs
    seconds = time.perf_counter() - submitted
    gate.open()
    completion = handle.future.result(10)
    assert completion.first_token_seconds < seconds
    assert completion.queue_seconds <= completion.first_token_seconds < completion.total_seconds
    assert completion.tokens.tolist() == alone(make_engine, SHORT)
    assert observer.first_tokens[1] == completion.first_token_seconds
    assert observer.first_steps == [(1, 1), (1, 1)]
    assert runner.resets == []
    assert 1 not in [steps for _, steps in runner.shapes[:2]], "no sequence awaits its first token in a chunk"


def test_the_first_token_runner_has_a_thread_of_its_own(make_engine: MakeEngine) -> None:
    runner = FakeRunner(first_steps=True)
    engine = make_engine(runner)
    engine.start()
    for _ in range(3):
        engine.submit(SHORT).future.result(10)
    assert len(runner.threads) == len(first_token_runner_of(runner).threads) == 1
    assert runner.threads.isdisjoint(first_token_runner_of(runner).threads)


@pytest.mark.parametrize(("width", "widths"), [(2, [2, 2, 2, 2, 2]), (10, [8, 2])])
def test_one_run_decodes_at_most_eight_first_steps(make_engine: MakeEngine, width: int, widths: list[int]) -> None:
    runner = FakeRunner(slots=10, max_batch_size=width, first_steps=True)
    engine = make_engine(runner)
    handles = [engine.submit(LONG) for _ in range(10)]
    engine.start()
    eventually(lambda: len(runner.resumed) == 10)
    assert [chunk.batch_size for chunk in first_token_runner_of(runner).chunks] == widths
    assert sorted(runner.resumed) == list(range(10))
    for handle in handles:
        handle.cancel()


@pytest.mark.parametrize(("chunk_sizes", "steps"), [((1, 4), 4), ((2, 5), 4), ((3,), 6), ((5, 9), 5)])
def test_a_few_forced_tokens_are_part_of_the_first_step(
    make_engine: MakeEngine, chunk_sizes: tuple[int, ...], steps: int
) -> None:
    runner, observer = FakeRunner(chunk_sizes=chunk_sizes, first_steps=True), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    engine.start()
    forced = EngineRequest(seed=3, max_tokens=9, forced=(1, 2, 3))
    assert engine.submit(forced).future.result(10).tokens.tolist() == alone(make_engine, forced)
    (chunk,) = first_token_runner_of(runner).chunks
    assert chunk.forced.tolist() == [[1, 2, 3] + [-1] * (steps - 3)]
    assert (runner.resets, len(observer.first_tokens)) == ([], 1)


def test_primers_and_very_short_sequences_get_no_first_step(make_engine: MakeEngine) -> None:
    runner = FakeRunner(first_steps=True)
    engine = make_engine(runner)
    engine.start()
    forced = EngineRequest(seed=3, max_tokens=3, forced=(1, 2))
    primed = EngineRequest(seed=3, max_tokens=90, forced=(1, 2, 3, 4) * 12)
    stopped = EngineRequest(seed=3, max_tokens=90, forced=(1, 2, 3, 4) * 12, stop_token=4, stop_count=2)
    one = EngineRequest(seed=3, max_tokens=1)
    for request in (forced, primed, stopped, one):
        assert engine.submit(request).future.result(10).tokens.tolist() == alone(make_engine, request)
    assert first_token_runner_of(runner).chunks == []
    assert len(runner.resets) == 4


def test_a_sequence_without_a_first_step_does_not_wait_for_one(make_engine: MakeEngine) -> None:
    runner = FakeRunner(first_steps=True)
    gate_of_worker = Gate(first_token_runner_of(runner))
    engine = make_engine(runner)
    first_step, plain = engine.submit(SHORT), engine.submit(EngineRequest(seed=3, max_tokens=1))
    engine.start()
    gate_of_worker.wait_until_reached()
    assert len(plain.future.result(10).tokens) == 1
    assert not first_step.future.done()
    gate_of_worker.open()
    assert first_step.future.result(10).tokens.tolist() == alone(make_engine, SHORT)


@pytest.mark.parametrize("what", ["end", "stop"])
def test_a_first_step_that_may_complete_its_sequence_is_repeated_in_the_batch(
    make_engine: MakeEngine, what: str
) -> None:
    runner = FakeRunner(first_steps=True)
    engine = make_engine(runner)
    engine.start()
    first = alone(make_engine, SHORT)[0]
    if what == "end":
        request = EngineRequest(seed=SHORT.seed, max_tokens=7, end_token=first)
    else:
        request = EngineRequest(seed=SHORT.seed, max_tokens=7, stop_token=first, stop_count=1)
    assert engine.submit(request).future.result(10).tokens.tolist() == [first]
    assert len(first_token_runner_of(runner).chunks) == 1
    assert (runner.resumed, len(runner.resets)) == ([], 1)


def test_a_first_step_may_hold_a_stop_token_that_is_not_the_last(make_engine: MakeEngine) -> None:
    runner = FakeRunner(first_steps=True)
    engine = make_engine(runner)
    engine.start()
    first = alone(make_engine, SHORT)[0]
    request = EngineRequest(seed=SHORT.seed, max_tokens=40, stop_token=first, stop_count=2)
    assert engine.submit(request).future.result(10).tokens.tolist() == alone(make_engine, request)
    assert (len(runner.resumed), runner.resets) == (1, [])


def test_only_a_part_of_one_run_may_be_repeated_in_the_batch(make_engine: MakeEngine) -> None:
    runner = FakeRunner(first_steps=True)
    engine = make_engine(runner)
    ends = EngineRequest(seed=SHORT.seed, max_tokens=7, end_token=alone(make_engine, SHORT)[0])
    requests = [SHORT, ends, EngineRequest(seed=5, max_tokens=7)]
    handles = [engine.submit(request) for request in requests]
    engine.start()
    for handle, request in zip(handles, requests, strict=True):
        assert handle.future.result(10).tokens.tolist() == alone(make_engine, request)
    assert [chunk.batch_size for chunk in first_token_runner_of(runner).chunks] == [3]
    assert (sorted(runner.resumed), [slot for slot, _ in runner.resets]) == ([0, 2], [1])


def test_a_sequence_cancelled_during_its_first_step_frees_its_slot(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1, first_steps=True), RecordingObserver()
    gate_of_worker = Gate(first_token_runner_of(runner))
    engine = make_engine(runner, observer=observer)
    engine.start()
    cancelled, waits = engine.submit(LONG), engine.submit(SHORT)
    gate_of_worker.wait_until_reached()
    cancelled.cancel()
    eventually(lambda: observer.outcomes[Outcome.CANCELLED] == 1)  # while the first-token runner runs
    assert (engine.running, engine.waiting) == (0, 1)
    gate_of_worker.open()
    assert waits.future.result(10).tokens.tolist() == alone(make_engine, SHORT)
    assert runner.resumed == [0], "the first step of the cancelled sequence was dropped"
    assert (observer.starts, len(observer.freed), observer.wrong) == (1, 1, [])


def test_a_sequence_cancelled_after_its_first_step_is_never_activated(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=2, first_steps=True), RecordingObserver()
    gate = Gate(runner)
    engine = make_engine(runner, observer=observer)
    running = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    cancelled = engine.submit(SHORT)
    eventually(lambda: engine._admission.has_admitted)
    cancelled.cancel()
    running.cancel()
    gate.open()
    eventually(lambda: observer.in_flight == 0)
    assert observer.outcomes == {Outcome.CANCELLED: 2}
    assert (runner.resumed, engine.running) == ([0], 0)


def test_a_failed_first_step_fails_the_sequences_of_its_run_alone(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(first_steps=True), RecordingObserver()
    gate = Gate(runner)

    def fail_once(chunk: Chunk) -> None:
        first_token_runner_of(runner).before_decode = lambda chunk: None
        raise RuntimeError("device lost")

    engine = make_engine(runner, observer=observer)
    running = engine.submit(SHORT)
    engine.start()
    gate.wait_until_reached()
    first_token_runner_of(runner).before_decode = fail_once
    fails = engine.submit(SHORT)
    eventually(lambda: engine._admission.has_admitted)
    gate.open()
    error = fails.future.exception(10)
    assert isinstance(error, EngineFailedError)
    assert isinstance(error.__cause__, RuntimeError)
    assert running.future.result(10).tokens.tolist() == alone(make_engine, SHORT)
    assert engine.submit(SHORT).future.result(10).tokens.tolist() == alone(make_engine, SHORT)
    assert observer.outcomes == {Outcome.FAILED: 1, Outcome.LENGTH: 2}
    assert (observer.in_flight, engine.running, observer.wrong) == (0, 0, [])


def test_a_failure_of_resume_fails_the_sequence(make_engine: MakeEngine) -> None:
    class NotResuming(FakeRunner):
        def resume(self, slot: int, state: SequenceState) -> None:
            raise RuntimeError("the state is unknown")

    engine = make_engine(NotResuming(first_steps=True))
    engine.start()
    assert isinstance(engine.submit(SHORT).future.exception(10), EngineFailedError)
    assert engine.drain(10)


@pytest.mark.parametrize("first_steps", [False, True])
def test_chunks_may_be_longer_with_an_admission_worker(make_engine: MakeEngine, first_steps: bool) -> None:
    engine = make_engine(FakeRunner(first_steps=first_steps))
    assert engine._scheduler._chunk_sizer.max_chunk_seconds == (
        MAX_CHUNK_SECONDS_WITH_ADMISSION_WORKER if first_steps else MAX_CHUNK_SECONDS
    )


def test_a_failed_chunk_does_not_fail_a_sequence_in_its_first_step(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=2, first_steps=True), RecordingObserver()
    gate = Gate(runner)
    passing = runner.before_decode

    def fail_first(chunk: Chunk) -> None:
        passing(chunk)
        if len(runner.chunks) == 1:
            raise RuntimeError("device lost")

    runner.before_decode = fail_first
    engine = make_engine(runner, observer=observer)
    fails = engine.submit(LONG)
    engine.start()
    gate.wait_until_reached()
    gate_of_worker = Gate(first_token_runner_of(runner))
    handle = engine.submit(SHORT)
    gate_of_worker.wait_until_reached()
    gate.open()
    assert isinstance(fails.future.exception(10), EngineFailedError)
    gate_of_worker.open()
    assert handle.future.result(10).tokens.tolist() == alone(make_engine, SHORT)
    assert observer.outcomes == {Outcome.FAILED: 1, Outcome.LENGTH: 1}


def test_a_broken_admission_worker_fails_every_request(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1, first_steps=True), RecordingObserver()

    def broken(chunk: Chunk) -> None:
        raise SystemExit("a bug of ours")

    first_token_runner_of(runner).before_decode = broken
    engine = make_engine(runner, observer=observer)
    engine.start()
    handles = [engine.submit(LONG), engine.submit(SHORT)]
    for handle in handles:
        assert isinstance(handle.future.exception(10), EngineFailedError)
    with pytest.raises(EngineStoppedError):
        engine.submit(SHORT)
    engine.stop()
    assert (engine.waiting, engine.running, observer.in_flight, runner.closed) == (0, 0, 0, 1)


def test_stop_waits_for_the_first_token_runner_before_it_closes_the_runner(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=1, first_steps=True), RecordingObserver()
    gate_of_worker = Gate(first_token_runner_of(runner))
    engine = make_engine(runner, observer=observer)
    engine.start()
    handle = engine.submit(SHORT)
    gate_of_worker.wait_until_reached()
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    stopper.join(0.05)
    assert stopper.is_alive()
    assert runner.closed == 0
    gate_of_worker.open()
    stopper.join(10)
    assert not stopper.is_alive()
    assert isinstance(handle.future.exception(10), EngineStoppedError)
    assert (runner.closed, observer.outcomes, runner.resumed) == (1, {Outcome.FAILED: 1}, [])


def test_a_stopped_engine_leaves_nothing_in_memory() -> None:
    runner = FakeRunner(first_steps=True)
    engine = Engine(runner, queue_limit=0, name="gone")
    engine.start()
    assert len(engine.submit(SHORT).future.result(10).tokens) == 7
    engine.stop()
    gone = weakref.ref(first_token_runner_of(runner))
    runner.first_token_runner = None
    assert gone() is None, "the engine keeps the model"
    runner_gone = weakref.ref(runner)
    del engine, runner
    assert runner_gone() is None, "the model would stay in memory until the next garbage collection"
