from hypothesis import given
from hypothesis import strategies as st

from server.engine.round_robin import RoundRobin


def round_robin(max_batch_size: int, *slots: int) -> RoundRobin:
    made = RoundRobin(max_batch_size)
    for slot in slots:
        made.add(slot)
    return made


def test_all_slots_run_while_they_fit_and_the_list_is_reused() -> None:
    some = round_robin(3, 5, 1)
    first = some.next_slots(())
    assert first == [1, 5]
    assert some.next_slots({5}) is first
    some.add(0)
    assert some.next_slots(()) == [0, 1, 5]
    some.remove(1)
    assert some.next_slots(()) == [0, 5]
    some.remove(0)
    some.add(0)
    assert some.next_slots(()) is not first


def test_slots_that_do_not_fit_take_turns() -> None:
    some = round_robin(2, 3, 2, 1, 0, 4)
    assert [some.next_slots(()) for _ in range(5)] == [[2, 3], [0, 1], [3, 4], [1, 2], [0, 4]]


def test_priority_slots_run_first_in_round_robin_order() -> None:
    some = round_robin(2, 0, 1, 2, 3)
    assert some.next_slots({3}) == [0, 3]
    assert some.next_slots({1, 2, 3}) == [1, 2]
    assert some.next_slots({1, 2, 3}) == [1, 3]
    assert some.next_slots(()) == [0, 2]


def test_slots_are_iterated_in_their_order() -> None:
    some = round_robin(2, 0, 1, 2)
    some.next_slots(())
    assert list(some) == [2, 0, 1]


@given(st.data())
def test_no_slot_waits_longer_than_one_round(data: st.DataObject) -> None:
    max_batch_size = data.draw(st.integers(1, 5))
    some, ran_at, now = RoundRobin(max_batch_size), dict[int, int](), 0
    for slot in range(data.draw(st.integers(max_batch_size, 12))):
        some.add(slot)
        ran_at[slot] = now
    for _ in range(40):
        now += 1
        chosen = some.next_slots(())
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(max_batch_size, len(ran_at))
        ran_at |= dict.fromkeys(chosen, now)
        assert now - min(ran_at.values()) <= -(-len(ran_at) // max_batch_size)
