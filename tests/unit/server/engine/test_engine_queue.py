"""The limits of the queue, and its order."""

import pytest

from server.engine.errors import DisplacedError, QueueFullError
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, Gate, RecordingObserver, eventually

REQUEST = EngineRequest(seed=1, max_tokens=3)


@pytest.mark.parametrize("queue_limit", [0, 1, 5])
def test_a_full_queue_refuses_requests(make_engine: MakeEngine, queue_limit: int) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(slots=2), queue_limit=queue_limit, observer=observer)
    handles = [engine.submit(REQUEST) for _ in range(2 + queue_limit)]
    with pytest.raises(QueueFullError, match="fake is full") as caught:
        engine.submit(REQUEST)
    assert 0.1 <= caught.value.retry_after_seconds <= 30.0
    assert (observer.submissions, observer.refusals) == (2 + queue_limit, 1)
    engine.start()
    for handle in handles:
        handle.future.result(10)
    assert len(engine.submit(REQUEST).future.result(10).tokens) == 3


def test_a_full_queue_refuses_requests_while_a_chunk_runs(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=1)
    gate = Gate(runner)
    engine = make_engine(runner, queue_limit=1)
    engine.start()
    engine.submit(REQUEST)
    gate.wait_until_reached()
    engine.submit(REQUEST)
    assert (engine.waiting, engine.running) == (1, 1)
    with pytest.raises(QueueFullError):
        engine.submit(REQUEST)
    gate.open()


def test_the_queue_is_served_in_order(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=1), queue_limit=9)
    order: list[int] = []
    handles = [engine.submit(REQUEST) for _ in range(10)]
    for number, handle in enumerate(handles):
        handle.future.add_done_callback(lambda future, number=number: order.append(number))  # type: ignore[misc]
    engine.start()
    for handle in handles:
        handle.future.result(10)
    eventually(lambda: len(order) == 10)  # a future has its result before its callbacks run
    assert order == list(range(10))


def test_a_flooding_caller_keeps_no_other_out(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=2), queue_limit=4)
    flood, refused, order = [], 0, []
    for _ in range(10_000):
        try:
            flood.append(engine.submit(REQUEST, caller="flooder"))
        except QueueFullError:
            refused += 1
    polite = [engine.submit(REQUEST, caller=caller) for caller in ("one", "two", "two")]
    assert (len(flood), refused, engine.waiting) == (6, 9_994, 6)
    displaced = [handle.future.exception(10) for handle in flood[3:]]
    assert all(isinstance(error, DisplacedError) for error in displaced)
    assert all("callers with fewer requests come first" in str(error) for error in displaced)
    for caller, handles in (("flooder", flood[:3]), ("polite", polite)):
        for handle in handles:
            handle.future.add_done_callback(lambda _, caller=caller: order.append(caller))  # type: ignore[misc]
    engine.start()
    tokens = [handle.future.result(10).tokens.tolist() for handle in (*flood[:3], *polite)]
    assert tokens == [tokens[0]] * 6, "the caller has no effect on the tokens"
    eventually(lambda: len(order) == 6)
    assert sorted(order[:2]) == ["flooder", "polite"]


def test_requests_that_were_displaced_leave_nothing_behind(make_engine: MakeEngine) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(slots=1), queue_limit=2, observer=observer)
    flood = [engine.submit(REQUEST, caller="flooder") for _ in range(3)]
    last = engine.submit(EngineRequest(seed=1, max_tokens=3, candidates=1), caller="polite")
    assert observer.outcomes == {Outcome.DISPLACED: 1}
    flood[2].cancel()
    engine.start()
    for handle in (*flood[:2], last):
        handle.future.result(10)
    eventually(lambda: observer.in_flight == 0)
    assert (engine.waiting, engine.running) == (0, 0)


def test_the_place_in_the_queue_of_a_request_depends_on_its_caller(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=1), queue_limit=50)
    for _ in range(40):
        engine.submit(REQUEST, caller="flooder")
    flooder, _ = engine.seconds_needed(REQUEST, caller="flooder")
    polite, _ = engine.seconds_needed(REQUEST, caller="polite")
    assert 0 < polite < flooder / 10
