import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.request import EngineRequest
from server.engine.scheduler import Scheduler, SlotPool
from server.engine.sequence import Sequence


def sequence(rows: int = 1) -> Sequence:
    return Sequence(EngineRequest(seed=1, max_tokens=1, candidates=rows), submitted_at=0.0)


def filled(slots: int, waiting: int, chunk_sizes: tuple[int, ...] = (1, 8, 16)) -> Scheduler:
    scheduler = Scheduler(slots, queue_limit=waiting, chunk_sizes=chunk_sizes)
    for _ in range(slots + waiting):
        scheduler.enqueue(sequence())
    scheduler.admit(99, now=0.0)
    assert (scheduler.running_count, scheduler.waiting_count) == (slots, waiting)
    return scheduler


def steps(scheduler: Scheduler, remaining: list[int], steps_to_first_token: list[int] | None = None) -> int:
    return scheduler.chunk_steps(np.array(remaining), np.array(steps_to_first_token or [], np.int64))


def test_sequences_are_admitted_first_come_first_served() -> None:
    scheduler = Scheduler(slots=2, queue_limit=2, chunk_sizes=(1,))
    queue = [sequence() for _ in range(4)]
    for each in queue:
        scheduler.enqueue(each)
    assert scheduler.admit(99, now=1.0) == queue[:2]
    assert [each.slots for each in queue] == [(0,), (1,), (), ()]
    assert queue[0].admitted_at == 1.0
    scheduler.release(queue[0])
    assert scheduler.admit(99, now=2.0) == [queue[2]]
    assert queue[2].slots == (0,)
    assert scheduler.admit(99, now=3.0) == []


@pytest.mark.parametrize("queue_limit", [0, 3])
def test_the_slots_and_the_queue_limit_the_number_of_sequences(queue_limit: int) -> None:
    scheduler = Scheduler(slots=2, queue_limit=queue_limit, chunk_sizes=(1,))
    for count in range(2 + queue_limit):
        assert scheduler.has_room(1)
        scheduler.enqueue(sequence())
        if count == 0:
            scheduler.admit(99, now=0.0)  # whether it already runs makes no difference
    assert not scheduler.has_room(1)
    with pytest.raises(AssertionError):
        scheduler.enqueue(sequence())


def test_admit_keeps_its_limit() -> None:
    scheduler = Scheduler(slots=3, queue_limit=2, chunk_sizes=(1,))
    queue = [sequence() for _ in range(5)]
    for each in queue:
        scheduler.enqueue(each)
    assert scheduler.can_admit
    assert scheduler.admit(2, now=0.0) == queue[:2]
    assert scheduler.can_admit
    assert scheduler.admit(2, now=0.0) == queue[2:3]
    assert not scheduler.can_admit


def test_cancel_removes_waiting_sequences_at_once_and_running_ones_later() -> None:
    scheduler = Scheduler(slots=1, queue_limit=2, chunk_sizes=(1,))
    runs, waits, follows = sequence(), sequence(), sequence()
    for each in (runs, waits, follows):
        scheduler.enqueue(each)
    scheduler.admit(99, now=0.0)
    assert scheduler.cancel(waits, now=1.0)
    assert scheduler.waiting_count == 1
    assert not scheduler.cancel(runs, now=1.0)
    assert scheduler.running_count == 1
    assert scheduler.has_cancelled
    assert scheduler.release_cancelled() == [runs]
    assert scheduler.admit(99, now=2.0) == [follows]
    assert follows.slots == runs.slots == (0,)


def test_cancelling_a_sequence_that_has_left_changes_nothing() -> None:
    scheduler = Scheduler(slots=1, queue_limit=2, chunk_sizes=(1,))
    gone, runs = sequence(), sequence()
    scheduler.enqueue(gone)
    scheduler.admit(99, now=0.0)
    scheduler.cancel(gone, now=0.0)
    scheduler.release(gone)
    scheduler.enqueue(runs)
    assert (scheduler.release_cancelled(), scheduler.admit(99, now=0.0)) == ([], [runs])
    assert not scheduler.cancel(gone, now=0.0)
    assert scheduler.release_cancelled() == []
    assert not scheduler.cancel(sequence(), now=0.0)
    assert scheduler.running_count == 1


def test_clear_frees_every_slot() -> None:
    scheduler = filled(slots=3, waiting=2)
    scheduler.clear()
    assert not scheduler.can_admit
    assert (scheduler.running_count, scheduler.waiting_count) == (0, 0)
    for _ in range(3):
        scheduler.enqueue(sequence())
    assert len(scheduler.admit(99, now=0.0)) == 3


def test_chunks_are_long_when_no_sequence_awaits_its_first_token() -> None:
    scheduler = filled(slots=2, waiting=0)
    assert steps(scheduler, [100, 3]) == 16
    assert steps(scheduler, [15, 3]) == 8
    assert steps(scheduler, [7, 3]) == 1


def test_the_chunk_reaches_the_first_awaited_token() -> None:
    scheduler = filled(slots=2, waiting=0)
    assert steps(scheduler, [100, 100], [1]) == 1
    assert steps(scheduler, [100, 100], [5]) == 8  # four forced tokens, then its first own
    assert steps(scheduler, [100, 100], [50]) == 16


def test_chunks_keep_the_maximum_while_the_queue_is_not_empty() -> None:
    full, wanted = filled(slots=2, waiting=0), filled(slots=2, waiting=1)
    for scheduler in (full, wanted):
        for size in (1, 8, 16) * 3:
            scheduler.record_chunk(size, size * 1e-3)
    assert steps(full, [100, 3]) == 16
    assert steps(wanted, [100, 3]) == 8


def test_the_shortest_size_is_used_even_if_it_is_too_long() -> None:
    assert steps(filled(slots=2, waiting=0, chunk_sizes=(4, 8)), [3, 2]) == 4


def test_chunks_keep_the_maximum_while_a_slot_is_free() -> None:
    full, free = filled(slots=2, waiting=0), Scheduler(slots=3, queue_limit=0, chunk_sizes=(1, 8, 16))
    for _ in range(2):
        free.enqueue(sequence())
    free.admit(99, now=0.0)
    for scheduler in (full, free):
        for size in (1, 8, 16) * 3:
            scheduler.record_chunk(size, size * 1e-3)
    assert steps(free, [100, 100]) == 8
    assert steps(full, [100, 100]) == 16


def test_prefill_takes_less_than_a_chunk_and_one_slice_while_a_first_token_is_awaited() -> None:
    scheduler = filled(slots=2, waiting=0)
    assert scheduler.prefill_seconds(2, awaiting_first=False) == 0.0
    for seconds in (0.02, 0.02, 0.02, 0.2, 0.2):
        scheduler.record_chunk(16, seconds)
    assert 0.01 < scheduler.prefill_seconds(2, awaiting_first=False) < 0.02
    assert scheduler.prefill_seconds(2, awaiting_first=True) == 0.0
    assert scheduler.prefill_seconds(0, awaiting_first=False) == 0.0


@given(
    remaining=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    silent=st.lists(st.integers(1, 60), max_size=5),
    waiting=st.integers(0, 2),
    sizes=st.sets(st.integers(1, 40), min_size=1, max_size=4),
)
def test_no_chunk_is_longer_than_every_sequence(
    remaining: list[int], silent: list[int], waiting: int, sizes: set[int]
) -> None:
    ordered = tuple(sorted(sizes))
    scheduler = filled(len(remaining), waiting, ordered)
    until = [min(first, left) for first, left in zip(silent, remaining, strict=False)]
    chosen = steps(scheduler, remaining, until)
    assert chosen in sizes
    assert chosen <= max(remaining) or chosen == ordered[0]


def test_the_lowest_free_slot_is_taken() -> None:
    pool = SlotPool(3)
    assert [pool.allocate() for _ in range(3)] == [0, 1, 2]
    pool.free(2)
    pool.free(0)
    assert pool.allocate() == 0
    assert pool.allocate() == 2


def test_an_empty_pool_cannot_allocate() -> None:
    pool = SlotPool(1)
    pool.allocate()
    with pytest.raises(AssertionError, match="no slot is free"):
        pool.allocate()


@pytest.mark.parametrize("slot", [0, 1, -1, 7])
def test_only_a_taken_slot_can_be_freed(slot: int) -> None:
    pool = SlotPool(2)
    pool.free(pool.allocate())
    with pytest.raises(AssertionError, match="not taken"):
        pool.free(slot)


@given(size=st.integers(1, 5), choices=st.lists(st.integers(0, 4)))
def test_no_slot_is_lost_or_taken_twice(size: int, choices: list[int]) -> None:
    pool = SlotPool(size)
    held: list[int] = []
    for choice in choices:
        if choice < len(held):
            pool.free(held.pop(choice))
        elif pool.free_count:
            held.append(pool.allocate())
        assert len(set(held)) == len(held)
        assert pool.free_count + len(held) == size


def test_a_sequence_gets_all_its_slots_at_once_and_no_younger_one_passes_it() -> None:
    scheduler = Scheduler(slots=4, queue_limit=5, chunk_sizes=(1,))
    first, group, last = sequence(2), sequence(3), sequence()
    for each in (first, group, last):
        scheduler.enqueue(each)
    assert (scheduler.waiting_count, scheduler.running_count) == (6, 0)
    assert scheduler.admit(99, now=0.0) == [first]
    assert (first.slots, group.slots, last.slots) == ((0, 1), (), ())
    assert not scheduler.can_admit, "two slots are free, and the oldest sequence needs three"
    scheduler.release_slot(1)
    assert scheduler.holds_slot(first)
    assert scheduler.admit(99, now=0.0) == [group]
    assert group.slots == (1, 2, 3)
    scheduler.release(first)
    assert scheduler.admit(99, now=0.0) == [last]
    assert (scheduler.waiting_count, scheduler.running_count) == (0, 4)


def test_a_group_that_leaves_the_queue_makes_way_for_a_smaller_one() -> None:
    scheduler = Scheduler(slots=2, queue_limit=3, chunk_sizes=(1,))
    runs, group, single = sequence(), sequence(2), sequence()
    for each in (runs, group, single):
        scheduler.enqueue(each)
    scheduler.admit(99, now=0.0)
    assert not scheduler.can_admit
    assert scheduler.cancel(group, now=1.0)
    assert scheduler.waiting_count == 1
    assert scheduler.admit(99, now=1.0) == [single]


@given(rows=st.lists(st.integers(1, 4), max_size=12), queue_limit=st.integers(0, 6))
def test_the_queue_limit_counts_rows(rows: list[int], queue_limit: int) -> None:
    scheduler = Scheduler(slots=4, queue_limit=queue_limit, chunk_sizes=(1,))
    taken = 0
    for each in rows:
        assert scheduler.has_room(each) == (taken + each <= 4 + queue_limit)
        if scheduler.has_room(each):
            scheduler.enqueue(sequence(each))
            taken += each
        scheduler.admit(99, now=0.0)
        assert scheduler.waiting_count + scheduler.running_count == taken


@pytest.mark.parametrize(("known", "expected"), [(None, 16), (16, 16), (15, 8), (8, 8), (7, 1), (1, 1)])
def test_a_chunk_has_no_more_steps_than_guides_tell(known: int | None, expected: int) -> None:
    scheduler = filled(slots=2, waiting=0)
    assert scheduler.chunk_steps(np.array([50, 60]), np.zeros(0, np.int64), known) == expected
