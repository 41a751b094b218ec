"""The law of guided requests and of candidates: each equals a plain reference, at any load."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.errors import ConstraintError
from server.engine.observer import Outcome
from tests.unit.server.engine.reference import expected, written
from tests.unit.server.engine.scenario import VOCABULARY, Arrival, Scenario, arrivals

CHUNK_SIZES = st.sampled_from([(1,), (1, 4), (1, 3, 8), (1, 16)])


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    slots=st.integers(1, 6),
    max_batch_size=st.integers(1, 6),
    chunk_sizes=CHUNK_SIZES,
    data=st.data(),
    first_steps=st.booleans(),
)
def test_candidates_do_not_depend_on_other_requests_and_no_slot_is_lost(
    slots: int, max_batch_size: int, chunk_sizes: tuple[int, ...], data: st.DataObject, first_steps: bool
) -> None:
    max_batch_size = min(slots, max_batch_size)
    strategy = st.lists(arrivals(max_candidates=slots, has_guides=True), min_size=1, max_size=8)
    arrived: list[Arrival] = data.draw(strategy)
    scenario = Scenario(slots, max_batch_size, chunk_sizes, arrived, first_steps=first_steps)
    scenario.run()

    observer, engine = scenario.observer, scenario.engine
    finished = stuck = 0
    for number, arrival in enumerate(arrived):
        future = scenario.handles[number].future
        if future.cancelled():
            assert arrival.cancel_run is not None
            continue
        finished += 1
        reference = expected(arrival.request, VOCABULARY)
        if reference:
            assert written(future.result()) == reference
        else:
            stuck += 1
            assert isinstance(future.exception(), ConstraintError)
    assert scenario.unbalanced == []
    assert observer.wrong == []
    assert observer.submissions == len(arrived)
    assert observer.outcomes[Outcome.CONSTRAINTS] == stuck
    assert observer.outcomes[Outcome.CANCELLED] == len(arrived) - finished
    assert observer.outcomes[Outcome.FAILED] == 0
    assert observer.starts <= len(arrived)
    assert len(engine._loop._prefills) == len(engine._loop._batch) == 0
    assert engine._loop._rows._sequences == {}
    assert len(engine._loop._batch._biases) == 1, "only the row of zeros is left"
    assert (engine.waiting, engine.running) == (0, 0)
    assert engine._scheduler._slots.free_count == slots
