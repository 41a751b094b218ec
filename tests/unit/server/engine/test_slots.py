import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.slots import SlotPool


def test_the_lowest_free_slot_is_taken() -> None:
    pool = SlotPool(3)
    assert [pool.allocate() for _ in range(3)] == [0, 1, 2]
    pool.free(2)
    pool.free(0)
    assert pool.allocate() == 0
    assert pool.allocate() == 2


def test_an_empty_pool_has_nothing_to_give() -> None:
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
def test_no_slot_is_lost_or_held_twice(size: int, choices: list[int]) -> None:
    pool = SlotPool(size)
    held: list[int] = []
    for choice in choices:
        if choice < len(held):
            pool.free(held.pop(choice))
        elif pool.free_count:
            held.append(pool.allocate())
        assert len(set(held)) == len(held)
        assert pool.free_count + len(held) == size
