import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.fair_queue import FairQueue

Entry = tuple[str, int]
"""Caller and number of an item."""


def queue_of(*callers: str, cost: float = 1.0) -> FairQueue[Entry]:
    queue: FairQueue[Entry] = FairQueue()
    for number, caller in enumerate(callers):
        queue.push(caller, (caller, number), size=1, cost=cost)
    return queue


def served(queue: FairQueue[Entry]) -> str:
    return "".join(queue.pop()[0] for _ in range(len(queue)))


def test_one_caller_is_served_in_order_of_arrival() -> None:
    queue = queue_of(*"aaaaaa")
    assert list(queue) == [("a", number) for number in range(6)]
    assert [queue.pop()[1] for _ in range(6)] == list(range(6))
    assert (len(queue), queue.size, queue.head) == (0, 0, None)


def test_callers_take_turns() -> None:
    assert served(queue_of(*"aaaaaabbbc")) == "abcababaaa"


def test_a_caller_that_comes_late_is_next_after_one_item_of_each_other() -> None:
    queue = queue_of(*["a"] * 1000, *["b"] * 1000)
    for _ in range(500):
        queue.pop()
    queue.push("late", ("late", 0), size=1, cost=1.0)
    assert ("late", 0) in [queue.pop() for _ in range(3)]


def test_shares_are_of_cost_not_of_number() -> None:
    queue: FairQueue[Entry] = FairQueue()
    for number in range(100):
        queue.push("long", ("long", number), size=1, cost=8.0)
        queue.push("short", ("short", number), size=1, cost=1.0)
    first = [queue.pop()[0] for _ in range(90)]
    assert first.count("long") == pytest.approx(10, abs=1)


def test_new_callers_without_end_do_not_keep_an_older_one_waiting() -> None:
    queue = queue_of("a", "a", "old", "old")
    pops = []
    for number in range(40):
        queue.push(f"new{number}", (f"new{number}", 0), size=1, cost=1.0)
        queue.push(f"newer{number}", (f"newer{number}", 0), size=1, cost=1.0)
        pops.append(queue.pop()[0])
        pops.append(queue.pop()[0])
    assert pops.count("old") == 2


def test_an_item_that_is_removed_costs_its_caller_nothing() -> None:
    queue = queue_of("a", "a", "b", "b")
    assert queue.remove(("a", 0))
    assert not queue.remove(("a", 0))
    assert served(queue) == "abb"
    queue = queue_of("a", "b", "b")
    assert queue.remove(("a", 0))
    queue.push("a", ("a", 9), size=1, cost=1.0)
    assert served(queue) == "bab"


def test_what_is_ahead_of_a_new_item() -> None:
    queue = queue_of(*"aaaa")
    assert queue.ahead_of("a") == [("a", number) for number in range(4)]
    assert queue.ahead_of("b") == [("a", 0)]


def test_the_caller_with_the_most_makes_room_for_one_with_nothing() -> None:
    queue = queue_of(*"aaaab")
    assert queue.displace("c", 1, 1) == [("a", 3)]
    assert queue.displace("c", 2, 2) == [("a", 2), ("a", 1)]
    assert queue.displace("c", 1, 1) is None, "the oldest of each caller stays"
    assert sorted(queue) == [("a", 0), ("b", 4)]


def test_a_caller_displaces_only_callers_that_have_more() -> None:
    queue = queue_of(*"aaabb")
    assert queue.displace("a", 1, 1) is None
    assert queue.displace("b", 1, 1) is None, "it would have three, like the other"
    assert len(queue) == 5
    queue.push("a", ("a", 9), size=1, cost=1.0)
    assert queue.displace("b", 1, 1) == [("a", 9)]


def test_nothing_is_displaced_if_that_is_not_enough() -> None:
    queue = queue_of(*"aaa")
    assert queue.displace("b", 3, 3) is None
    assert (len(queue), queue.size) == (3, 3)


moves = st.lists(
    st.tuples(st.sampled_from(["push", "pop", "remove", "displace"]), st.sampled_from("abc"), st.integers(1, 4)),
    max_size=80,
)


@given(moves)
def test_nothing_is_lost_and_each_caller_keeps_its_order(moves: list[tuple[str, str, int]]) -> None:
    queue: FairQueue[Entry] = FairQueue()
    held: dict[Entry, int] = {}
    last = dict.fromkeys("abc", -1)
    for number, (move, caller, size) in enumerate(moves):
        if move == "push":
            held[caller, number] = size
            queue.push(caller, (caller, number), size=size, cost=float(size))
        elif move == "pop" and held:
            expected = queue.head
            assert next(iter(queue)) == expected
            item = queue.pop()
            assert item == expected
            assert item[1] == min(number for name, number in held if name == item[0])
            last[item[0]] = item[1]
            del held[item]
        elif move == "remove" and held:
            item = sorted(held)[number % len(held)]
            assert queue.remove(item)
            del held[item]
        elif move == "displace":
            oldest = {name: min(n for c, n in held if c == name) for name, _ in held}
            gone = queue.displace(caller, size, size)
            for item in gone or ():
                assert item[0] != caller
                assert item[1] != oldest[item[0]]
                del held[item]
            assert gone is None or sum(1 for _ in gone) >= 1
        assert queue.size == sum(held.values())
        assert sorted(queue) == sorted(held)
        assert (queue.head is None) == (not held)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 200))
def test_callers_that_always_wait_get_equal_shares(costs: list[int], pops: int) -> None:
    queue: FairQueue[Entry] = FairQueue()
    got = [0.0] * len(costs)
    for number in range(pops + 2):
        for caller, cost in enumerate(costs):
            queue.push(str(caller), (str(caller), number), size=1, cost=cost)
    for _ in range(pops):
        caller = int(queue.pop()[0])
        got[caller] += costs[caller]
    assert max(got) - min(got) <= 2 * max(costs)
