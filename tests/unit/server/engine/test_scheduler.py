import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.request import EngineRequest
from server.engine.scheduler import Scheduler
from server.engine.sequence import Sequence


def sequence() -> Sequence:
    return Sequence(EngineRequest(seed=1, max_tokens=1), submitted_at=0.0)


def filled(slots: int, waiting: int, chunk_sizes: tuple[int, ...] = (1, 8, 16)) -> Scheduler:
    scheduler = Scheduler(slots, queue_limit=waiting, chunk_sizes=chunk_sizes)
    for _ in range(slots + waiting):
        scheduler.enqueue(sequence())
    scheduler.admit(99, now=0.0)
    assert (scheduler.running_count, scheduler.waiting_count) == (slots, waiting)
    return scheduler


def steps(scheduler: Scheduler, remaining: list[int], until_first_token: list[int] | None = None) -> int:
    return scheduler.chunk_steps(np.array(remaining), np.array(until_first_token or [], np.int64))


def test_first_come_first_served() -> None:
    scheduler = Scheduler(slots=2, queue_limit=2, chunk_sizes=(1,))
    queue = [sequence() for _ in range(4)]
    for each in queue:
        scheduler.enqueue(each)
    assert scheduler.admit(99, now=1.0) == queue[:2]
    assert [each.slot for each in queue] == [0, 1, None, None]
    assert queue[0].started_at == 1.0
    scheduler.retire(queue[0])
    assert scheduler.admit(99, now=2.0) == [queue[2]]
    assert queue[2].slot == 0
    assert scheduler.admit(99, now=3.0) == []


@pytest.mark.parametrize("queue_limit", [0, 3])
def test_there_is_room_for_the_slots_and_the_queue(queue_limit: int) -> None:
    scheduler = Scheduler(slots=2, queue_limit=queue_limit, chunk_sizes=(1,))
    for count in range(2 + queue_limit):
        assert scheduler.has_room
        scheduler.enqueue(sequence())
        if count == 0:
            scheduler.admit(99, now=0.0)  # whether it already runs makes no difference
    assert not scheduler.has_room
    with pytest.raises(AssertionError):
        scheduler.enqueue(sequence())


def test_no_more_are_admitted_than_asked_for() -> None:
    scheduler = Scheduler(slots=3, queue_limit=2, chunk_sizes=(1,))
    queue = [sequence() for _ in range(5)]
    for each in queue:
        scheduler.enqueue(each)
    assert scheduler.may_admit
    assert scheduler.admit(2, now=0.0) == queue[:2]
    assert scheduler.may_admit
    assert scheduler.admit(2, now=0.0) == queue[2:3]
    assert not scheduler.may_admit


def test_the_waiting_leave_at_once_and_the_running_are_dropped_later() -> None:
    scheduler = Scheduler(slots=1, queue_limit=2, chunk_sizes=(1,))
    runs, waits, follows = sequence(), sequence(), sequence()
    for each in (runs, waits, follows):
        scheduler.enqueue(each)
    scheduler.admit(99, now=0.0)
    assert scheduler.withdraw(waits, now=1.0)
    assert scheduler.waiting_count == 1
    assert not scheduler.withdraw(runs, now=1.0)
    assert scheduler.running_count == 1
    assert scheduler.must_drop
    assert scheduler.drop() == [runs]
    assert scheduler.admit(99, now=2.0) == [follows]
    assert follows.slot == runs.slot == 0


def test_cancelling_what_has_left_changes_nothing() -> None:
    scheduler = Scheduler(slots=1, queue_limit=2, chunk_sizes=(1,))
    gone, runs = sequence(), sequence()
    scheduler.enqueue(gone)
    scheduler.admit(99, now=0.0)
    scheduler.withdraw(gone, now=0.0)
    scheduler.retire(gone)
    scheduler.enqueue(runs)
    assert (scheduler.drop(), scheduler.admit(99, now=0.0)) == ([], [runs])
    assert not scheduler.withdraw(gone, now=0.0)
    assert scheduler.drop() == []
    assert not scheduler.withdraw(sequence(), now=0.0)
    assert scheduler.running_count == 1


def test_clear_frees_every_slot() -> None:
    scheduler = filled(slots=3, waiting=2)
    scheduler.clear()
    assert not scheduler.may_admit
    assert (scheduler.running_count, scheduler.waiting_count) == (0, 0)
    for _ in range(3):
        scheduler.enqueue(sequence())
    assert len(scheduler.admit(99, now=0.0)) == 3


def test_chunks_are_long_when_nobody_awaits_anything() -> None:
    scheduler = filled(slots=2, waiting=0)
    assert steps(scheduler, [100, 3]) == 16
    assert steps(scheduler, [15, 3]) == 8
    assert steps(scheduler, [7, 3]) == 1


def test_a_first_token_is_awaited() -> None:
    scheduler = filled(slots=2, waiting=0)
    assert steps(scheduler, [100, 100], [1]) == 1
    assert steps(scheduler, [100, 100], [5]) == 8  # four forced tokens, then its first own
    assert steps(scheduler, [100, 100], [50]) == 16


def test_chunks_are_no_longer_than_one_who_waits_for_a_slot_should_wait_and_no_shorter_for_its_sake() -> None:
    full, wanted = filled(slots=2, waiting=0), filled(slots=2, waiting=1)
    for scheduler in (full, wanted):
        for size in (1, 8, 16) * 3:
            scheduler.ran(size, size * 1e-3)
    assert steps(full, [100, 3]) == 16
    assert steps(wanted, [100, 3]) == 8


def test_the_shortest_chunk_runs_when_even_that_is_too_long() -> None:
    assert steps(filled(slots=2, waiting=0, chunk_sizes=(4, 8)), [3, 2]) == 4


def test_chunks_are_no_longer_than_a_newcomer_should_wait_where_a_slot_is_free() -> None:
    full, free = filled(slots=2, waiting=0), Scheduler(slots=3, queue_limit=0, chunk_sizes=(1, 8, 16))
    for _ in range(2):
        free.enqueue(sequence())
    free.admit(99, now=0.0)
    for scheduler in (full, free):
        for size in (1, 8, 16) * 3:
            scheduler.ran(size, size * 1e-3)
    assert steps(free, [100, 100]) == 8
    assert steps(full, [100, 100]) == 16


def test_primers_are_read_for_less_than_a_chunk_takes_unless_somebody_would_wait() -> None:
    scheduler = filled(slots=2, waiting=0)
    assert scheduler.reading_seconds(2, awaited=False) == 0.0
    for seconds in (0.02, 0.02, 0.02, 0.2, 0.2):
        scheduler.ran(16, seconds)
    assert 0.01 < scheduler.reading_seconds(2, awaited=False) < 0.02
    assert scheduler.reading_seconds(2, awaited=True) == 0.0
    assert scheduler.reading_seconds(0, awaited=False) == 0.0


@given(
    remaining=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    silent=st.lists(st.integers(1, 60), max_size=5),
    waiting=st.integers(0, 2),
    sizes=st.sets(st.integers(1, 40), min_size=1, max_size=4),
)
def test_no_chunk_outlasts_everybody(remaining: list[int], silent: list[int], waiting: int, sizes: set[int]) -> None:
    ordered = tuple(sorted(sizes))
    scheduler = filled(len(remaining), waiting, ordered)
    until = [min(first, left) for first, left in zip(silent, remaining, strict=False)]
    chosen = steps(scheduler, remaining, until)
    assert chosen in sizes
    assert chosen <= max(remaining) or chosen == ordered[0]
