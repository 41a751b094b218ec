"""The retry hint of a refused caller is right within a factor of two. The clock is virtual."""

from collections.abc import Sequence

import pytest

from runtime.runner import Chunk
from server.engine.engine import Engine
from server.engine.errors import QueueFullError
from server.engine.request import EngineRequest
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, eventually

QUEUE_LIMIT = 2


class Clock:
    """Replaces the module `time`. It moves only while the runner runs."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    def run(self, chunk: Chunk) -> None:
        """Move the time by the cost of a run: a fixed one, and one for each row."""
        self.now += chunk.steps * (0.002 + 0.001 * chunk.batch_size)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("engine", "run_loop", "in_flight", "warm_up"):
        monkeypatch.setattr(f"server.engine.{module}.time", clock)
    return clock


def exact(*lengths: int) -> list[EngineRequest]:
    return [EngineRequest(seed=seed, max_tokens=length) for seed, length in enumerate(lengths)]


def stopped(count: int, stops: int) -> list[EngineRequest]:
    """Requests for sequences of about 16 tokens for each stop token, a tenth of `max_tokens`."""
    return [
        EngineRequest(seed=100 + seed, max_tokens=160 * stops, stop_token=3, stop_count=stops) for seed in range(count)
    ]


def hint_and_truth(
    engine: Engine, runner: FakeRunner, clock: Clock, requests: Sequence[EngineRequest], chunks: int
) -> tuple[float, float]:
    """Return the hint of a caller that is refused after `chunks` chunks, and the time until there is room.

    The requests fill the engine, which is not started yet.
    """
    hints: list[float] = []
    asked_at = 0.0
    room_at: list[float] = []
    before = len(runner.chunks)

    def run(chunk: Chunk) -> None:
        nonlocal asked_at
        if len(runner.chunks) - before == chunks + 1:
            asked_at = clock.now
            with pytest.raises(QueueFullError) as caught:
                engine.submit(requests[0])
            hints.append(caught.value.retry_after_seconds)
        clock.run(chunk)

    runner.before_decode = run
    handles = [engine.submit(request) for request in requests]
    for handle in handles:
        handle.future.add_done_callback(lambda future: room_at.append(clock.now))
    engine.start()
    for handle in handles:
        handle.future.result(30)
    assert hints
    return hints[0], next(at for at in room_at if at > asked_at) - asked_at


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [0, 1, 20])
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize(
    "requests",
    [exact(*[500] * 6), exact(*range(200, 800, 100)), exact(900, *[300] * 5)],
    ids=["equal", "staggered", "one longer"],
)
def test_the_hint_is_within_a_factor_of_two(
    make_engine: MakeEngine, clock: Clock, requests: list[EngineRequest], width: int, chunks: int
) -> None:
    runner = FakeRunner(slots=4, max_batch_size=width, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner, queue_limit=QUEUE_LIMIT)
    engine.warm_up()
    hint, truth = hint_and_truth(engine, runner, clock, requests, chunks)
    assert truth / 2 <= hint <= truth * 2


@pytest.mark.slow
def test_short_sequences_before_do_not_shorten_the_hint(make_engine: MakeEngine, clock: Clock) -> None:
    runner = FakeRunner(slots=4, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner, queue_limit=QUEUE_LIMIT)
    engine.warm_up()
    hint: list[float] = []

    def run(chunk: Chunk) -> None:
        if chunk.batch_size == 4 and not hint:
            with pytest.raises(QueueFullError) as caught:
                engine.submit(EngineRequest(seed=1, max_tokens=1))
            hint.append(caught.value.retry_after_seconds)
        clock.run(chunk)

    runner.before_decode = run
    engine.start()
    for seed in range(20):
        engine.submit(EngineRequest(seed=seed, max_tokens=8)).future.result(10)
    finished: list[float] = []
    with engine._lock:  # no request runs before all are submitted
        handles = [engine.submit(request) for request in exact(*[2000] * (4 + QUEUE_LIMIT))]
        began = clock.now
    for handle in handles:
        handle.future.add_done_callback(lambda future: finished.append(clock.now - began))
    for handle in handles:
        handle.future.result(60)
    assert finished[0] / 2 <= hint[0] <= finished[0] * 2


@pytest.mark.slow
@pytest.mark.parametrize("width", [2, 4])
def test_unknown_lengths_are_estimated_from_finished_sequences(
    make_engine: MakeEngine, clock: Clock, width: int
) -> None:
    runner = FakeRunner(slots=4, max_batch_size=width, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner, queue_limit=10)
    engine.warm_up()
    requests = stopped(14, stops=40)
    hints: list[tuple[float, float]] = []
    room_at: list[float] = []

    def run(chunk: Chunk) -> None:
        if len(room_at) == 4 and not hints:  # four sequences have finished, four others have just begun
            for seed in range(5):
                try:
                    engine.submit(EngineRequest(seed=seed, max_tokens=6400, stop_token=3, stop_count=40))
                except QueueFullError as error:
                    hints.append((clock.now, error.retry_after_seconds))
        clock.run(chunk)

    runner.before_decode = run
    handles = [engine.submit(request) for request in requests]
    for handle in handles:
        handle.future.add_done_callback(lambda future: room_at.append(clock.now))
    engine.start()
    for handle in handles:
        handle.future.result(60)
    asked_at, hint = hints[0]
    truth = next(at for at in room_at if at > asked_at) - asked_at
    assert truth / 2 <= hint <= truth * 2


def test_the_hint_has_bounds(make_engine: MakeEngine, clock: Clock) -> None:
    for length, expected in ((1, 0.1), (10**9, 600.0)):
        engine = make_engine(FakeRunner(slots=1), queue_limit=0)
        engine.submit(EngineRequest(seed=1, max_tokens=length))
        with pytest.raises(QueueFullError) as caught:
            engine.submit(EngineRequest(seed=1, max_tokens=1))
        assert caught.value.retry_after_seconds == expected


def test_the_remaining_time_of_one_request(make_engine: MakeEngine, clock: Clock) -> None:
    runner = FakeRunner(slots=2, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner)
    engine.warm_up()
    short, long = (engine.submit(request) for request in exact(300, 1500))
    estimated = engine.seconds_left(short), engine.seconds_left(long)
    began = clock.now
    finished: list[float] = []
    short.future.add_done_callback(lambda future: finished.append(clock.now - began))
    engine.start()
    short.future.result(10)
    eventually(lambda: bool(finished))  # a future has its result before its callbacks run
    assert estimated[0] == pytest.approx(finished[0], rel=0.05)
    assert estimated[1] == pytest.approx(5 * estimated[0])
    long.future.result(10)
    engine.drain(10)
    assert engine.seconds_left(short) == engine.seconds_left(long) == 0.0


def test_the_expected_tokens_of_a_request(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    exact_request = EngineRequest(seed=1, max_tokens=1000, end_token=5, may_end=False)
    open_ended = EngineRequest(seed=1, max_tokens=1000, end_token=5)
    (counted,) = stopped(1, stops=10)
    assert engine.expected_tokens(exact_request) == 1000
    assert engine.expected_tokens(open_ended) == 250, "the mean of the default lengths"
    engine.start()
    lengths = [len(engine.submit(request).future.result(10).tokens) for request in stopped(8, stops=10)]
    mean = sum(lengths) / len(lengths)
    assert engine.expected_tokens(counted) == pytest.approx(mean, abs=1)
    assert engine.expected_tokens(exact_request) == 1000


def test_many_candidates_before_do_not_lengthen_the_estimate_for_one_piece(
    make_engine: MakeEngine, clock: Clock
) -> None:
    runner = FakeRunner(slots=64, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner)
    engine.warm_up()
    engine.start()
    for seed in range(3):
        engine.submit(EngineRequest(seed=seed, max_tokens=401, candidates=64)).future.result(30)
    piece = EngineRequest(seed=9, max_tokens=2000)
    queue_seconds, run_seconds = engine.seconds_needed(piece)
    began = clock.now
    engine.submit(piece).future.result(30)
    engine.drain(10)
    truth = clock.now - began
    assert queue_seconds == 0.0
    assert truth / 1.5 < run_seconds < truth * 1.5


def test_the_estimate_counts_the_other_rows_only_while_they_run(make_engine: MakeEngine, clock: Clock) -> None:
    runner = FakeRunner(slots=65, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner)
    engine.warm_up()
    piece = EngineRequest(seed=9, max_tokens=2000)
    alone = engine.seconds_needed(piece)[1]
    engine.submit(EngineRequest(seed=1, max_tokens=80, candidates=64))  # the engine is not started
    beside = engine.seconds_needed(piece)[1]
    assert beside - alone == pytest.approx(80 * 64 * 0.001, rel=0.05)
