"""The limits of the queue, and its order."""

import pytest

from server.engine.errors import QueueFullError
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
