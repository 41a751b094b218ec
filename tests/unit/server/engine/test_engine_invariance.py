"""The law of the engine: the tokens of a request do not depend on other requests, and no request is lost."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.completion import FinishReason
from server.engine.engine import Engine
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from tests.unit.server.engine.fake_runner import FakeRunner
from tests.unit.server.engine.scenario import CHUNK_SIZES, VOCABULARY, Arrival, Scenario, arrivals


@cache
def alone(request: EngineRequest) -> tuple[list[int], FinishReason]:
    """Return what an engine gives that has this request alone, and one step in a chunk."""
    engine = Engine(FakeRunner(1, VOCABULARY, chunk_sizes=(1,)), queue_limit=0, name="alone")
    engine.start()
    completion = engine.submit(request).future.result(10)
    engine.stop()
    return completion.tokens.tolist(), completion.finish_reason


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    slots=st.integers(1, 4),
    max_batch_size=st.integers(1, 4),
    chunk_sizes=CHUNK_SIZES,
    arrived=st.lists(arrivals(), min_size=1, max_size=10),
    first_steps=st.booleans(),
)
def test_tokens_do_not_depend_on_other_requests_and_no_request_is_lost(
    slots: int, max_batch_size: int, chunk_sizes: tuple[int, ...], arrived: list[Arrival], first_steps: bool
) -> None:
    max_batch_size = min(slots, max_batch_size)
    scenario = Scenario(slots, max_batch_size, chunk_sizes, arrived, first_steps=first_steps)
    scenario.run()

    finished = 0
    for number, arrival in enumerate(arrived):
        future = scenario.handles[number].future
        assert future.done()
        if future.cancelled():
            assert arrival.cancel_run is not None
            continue
        completion = future.result()
        assert (completion.tokens.tolist(), completion.finish_reason) == alone(arrival.request)
        finished += 1
    observer = scenario.observer
    assert scenario.unbalanced == []
    assert observer.wrong == []
    assert observer.submissions == len(arrived)
    assert observer.in_flight == 0
    assert observer.outcomes[Outcome.CANCELLED] == len(arrived) - finished
    assert observer.outcomes[Outcome.FAILED] == 0
    assert observer.starts == len(scenario.runner.resets) + len(scenario.runner.resumed)
    assert len(scenario.engine._loop._prefills) == 0
    assert (scenario.engine.waiting, scenario.engine.running) == (0, 0)
    assert scenario.engine._scheduler._slots.free_count == slots
    assert max((size for size, _ in observer.chunks), default=0) <= max_batch_size
