"""A refused caller is told when there is room again, within a factor of two. The clock is virtual."""

from collections.abc import Sequence

import pytest

from server.engine.engine import Engine
from server.engine.errors import QueueFullError
from server.engine.request import EngineRequest
from server.engine.runner import Chunk
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner

QUEUE_LIMIT = 2


class Clock:
    """Stands in for the module `time`; moves only while the runner runs."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    def run(self, chunk: Chunk) -> None:
        """A run has a fixed price, and one for each row."""
        self.now += chunk.steps * (0.002 + 0.001 * chunk.width)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("server.engine.engine.time", clock)
    return clock


def exact(*lengths: int) -> list[EngineRequest]:
    return [EngineRequest(seed=seed, max_tokens=length) for seed, length in enumerate(lengths)]


def stopped(count: int, stops: int) -> list[EngineRequest]:
    """Sequences that take some 16 tokens for each of their stop tokens, a tenth of what they may."""
    return [
        EngineRequest(seed=100 + seed, max_tokens=160 * stops, stop_token=3, stop_count=stops) for seed in range(count)
    ]


def hint_and_truth(
    engine: Engine, runner: FakeRunner, clock: Clock, requests: Sequence[EngineRequest], chunks: int
) -> tuple[float, float]:
    """What a caller is told that comes when so many chunks have run, and after what time there is room.

    The requests fill the engine, which has not been started.
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
    tickets = [engine.submit(request) for request in requests]
    for ticket in tickets:
        ticket.future.add_done_callback(lambda future: room_at.append(clock.now))
    engine.start()
    for ticket in tickets:
        ticket.future.result(30)
    assert hints
    return hints[0], next(at for at in room_at if at > asked_at) - asked_at


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
    runner = FakeRunner(slots=4, width=width, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner, queue_limit=QUEUE_LIMIT)
    engine.warm_up()
    hint, truth = hint_and_truth(engine, runner, clock, requests, chunks)
    assert truth / 2 <= hint <= truth * 2


def test_short_pieces_before_do_not_make_the_hint_shorter(make_engine: MakeEngine, clock: Clock) -> None:
    runner = FakeRunner(slots=4, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner, queue_limit=QUEUE_LIMIT)
    engine.warm_up()
    hint: list[float] = []

    def run(chunk: Chunk) -> None:
        if chunk.width == 4 and not hint:
            with pytest.raises(QueueFullError) as caught:
                engine.submit(EngineRequest(seed=1, max_tokens=1))
            hint.append(caught.value.retry_after_seconds)
        clock.run(chunk)

    runner.before_decode = run
    engine.start()
    for seed in range(20):
        engine.submit(EngineRequest(seed=seed, max_tokens=8)).future.result(10)
    flood: list[float] = []
    with engine._lock:  # so that none runs before all are there
        tickets = [engine.submit(request) for request in exact(*[2000] * (4 + QUEUE_LIMIT))]
        began = clock.now
    for ticket in tickets:
        ticket.future.add_done_callback(lambda future: flood.append(clock.now - began))
    for ticket in tickets:
        ticket.future.result(60)
    assert flood[0] / 2 <= hint[0] <= flood[0] * 2


@pytest.mark.parametrize("width", [2, 4])
def test_a_length_that_is_not_known_before_is_learned_from_pieces_that_ended(
    make_engine: MakeEngine, clock: Clock, width: int
) -> None:
    runner = FakeRunner(slots=4, width=width, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner, queue_limit=10)
    engine.warm_up()
    requests = stopped(14, stops=40)
    hints: list[tuple[float, float]] = []
    room_at: list[float] = []

    def run(chunk: Chunk) -> None:
        if len(room_at) == 4 and not hints:  # four have ended, four others have just begun
            for seed in range(5):
                try:
                    engine.submit(EngineRequest(seed=seed, max_tokens=6400, stop_token=3, stop_count=40))
                except QueueFullError as error:
                    hints.append((clock.now, error.retry_after_seconds))
        clock.run(chunk)

    runner.before_decode = run
    tickets = [engine.submit(request) for request in requests]
    for ticket in tickets:
        ticket.future.add_done_callback(lambda future: room_at.append(clock.now))
    engine.start()
    for ticket in tickets:
        ticket.future.result(60)
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


def test_what_is_left_of_one_request(make_engine: MakeEngine, clock: Clock) -> None:
    runner = FakeRunner(slots=2, chunk_sizes=(1, 8))
    runner.before_decode = clock.run
    engine = make_engine(runner)
    engine.warm_up()
    short, long = (engine.submit(request) for request in exact(300, 1500))
    told = engine.seconds_left(short), engine.seconds_left(long)
    began = clock.now
    ended: dict[str, float] = {}
    short.future.add_done_callback(lambda future: ended.setdefault("short", clock.now - began))
    engine.start()
    short.future.result(10)
    assert told[0] == pytest.approx(ended["short"], rel=0.05)
    assert told[1] == pytest.approx(5 * told[0])
    long.future.result(10)
    engine.drain(10)
    assert engine.seconds_left(short) == engine.seconds_left(long) == 0.0


def test_tokens_that_a_request_will_take(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    exact_request = EngineRequest(seed=1, max_tokens=1000, end_token=5, may_end=False)
    open_ended = EngineRequest(seed=1, max_tokens=1000, end_token=5)
    (counted,) = stopped(1, stops=10)
    assert engine.expected_tokens(exact_request) == 1000
    assert engine.expected_tokens(open_ended) == 250, "nothing is known yet"
    engine.start()
    lengths = [len(engine.submit(request).future.result(10).tokens) for request in stopped(8, stops=10)]
    mean = sum(lengths) / len(lengths)
    assert engine.expected_tokens(counted) == pytest.approx(mean, abs=1)
    assert engine.expected_tokens(exact_request) == 1000
