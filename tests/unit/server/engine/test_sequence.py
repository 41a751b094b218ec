from collections import defaultdict
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.completion import Completion
from server.engine.prefill_queue import prefill_tokens
from server.engine.request import EngineRequest
from server.engine.sequence import Sequence, SequenceStatus
from tests.unit.server.engine.scenario import CHUNK_SIZES, Arrival, Scenario, arrivals

ORDER = list(SequenceStatus)
WAITING, ADMITTED, PREFILLING, RUNNING, FINISHED = ORDER
ALLOWED = {
    (WAITING, ADMITTED),
    (ADMITTED, PREFILLING),
    (ADMITTED, RUNNING),
    (PREFILLING, RUNNING),
    *((status, FINISHED) for status in (WAITING, ADMITTED, PREFILLING, RUNNING)),
}


@pytest.mark.parametrize("before", ORDER)
@pytest.mark.parametrize("after", ORDER)
def test_a_status_changes_in_order_only(before: SequenceStatus, after: SequenceStatus) -> None:
    sequence = Sequence(EngineRequest(seed=1, max_tokens=1), submitted_at=0.0, status=before)
    if (before, after) in ALLOWED:
        sequence.move_to(after)
        assert sequence.status is after
    else:
        with pytest.raises(AssertionError, match=f"from {before.name} to {after.name}"):
            sequence.move_to(after)
        assert sequence.status is before


def test_durations_start_at_the_submission() -> None:
    sequence = Sequence(EngineRequest(seed=1, max_tokens=1), submitted_at=1.0, admitted_at=1.5, first_token_at=3.0)
    assert (sequence.queue_seconds, sequence.first_token_seconds) == (0.5, 2.0)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    slots=st.integers(1, 4),
    max_batch_size=st.integers(1, 4),
    chunk_sizes=CHUNK_SIZES,
    arrived=st.lists(arrivals(), min_size=1, max_size=10),
    first_steps=st.booleans(),
    failing_runs=st.sets(st.integers(1, 15), max_size=3),
    failing_first_steps=st.sets(st.integers(1, 5), max_size=2),
)
def test_every_sequence_passes_its_statuses_once(
    slots: int,
    max_batch_size: int,
    chunk_sizes: tuple[int, ...],
    arrived: list[Arrival],
    first_steps: bool,
    failing_runs: set[int],
    failing_first_steps: set[int],
) -> None:
    scenario = Scenario(
        slots,
        min(slots, max_batch_size),
        chunk_sizes,
        arrived,
        first_steps=first_steps,
        failing_runs=failing_runs,
        failing_first_steps=failing_first_steps,
    )
    engine = scenario.engine
    passed: defaultdict[Future[Completion], list[SequenceStatus]] = defaultdict(lambda: [WAITING])
    wrong: list[str] = []
    move_to = Sequence.move_to

    def record(sequence: Sequence, status: SequenceStatus) -> None:
        if not engine._lock._is_owned():  # type: ignore[attr-defined]
            wrong.append(f"{status.name} without the lock")
        if (status is FINISHED) == engine._scheduler.holds_slot(sequence) and status is not ADMITTED:
            wrong.append(f"{status.name} with a wrong slot")
        move_to(sequence, status)
        passed[sequence.future].append(status)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sequence, "move_to", record)
        scenario.run()

    for number, arrival in enumerate(arrived):
        future = scenario.handles[number].future
        statuses = passed.pop(future)
        assert statuses == sorted(set(statuses), key=ORDER.index)
        assert statuses[-1] is FINISHED
        if not future.cancelled() and future.exception(0) is None:
            prefilling = [PREFILLING] if len(prefill_tokens(arrival.request)) else []
            assert statuses == [WAITING, ADMITTED, *prefilling, RUNNING, FINISHED]
    assert (passed, wrong, scenario.observer.wrong) == ({}, [], [])
    assert (engine.waiting, engine.running, engine._in_flight.sequences) == (0, 0, [])
    assert engine._scheduler._slots.free_count == slots
