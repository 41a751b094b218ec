from hypothesis import given
from hypothesis import strategies as st

from server.engine.rota import Rota


def rota(width: int, *slots: int) -> Rota:
    made = Rota(width)
    for slot in slots:
        made.enter(slot)
    return made


def test_all_run_while_all_fit_and_the_list_stays_the_same() -> None:
    some = rota(3, 5, 1)
    first = some.turn(())
    assert first == [1, 5]
    assert some.turn({5}) is first
    some.enter(0)
    assert some.turn(()) == [0, 1, 5]
    some.leave(1)
    assert some.turn(()) == [0, 5]
    some.leave(0)
    some.enter(0)
    assert some.turn(()) is not first


def test_those_who_do_not_fit_take_turns() -> None:
    some = rota(2, 3, 2, 1, 0, 4)
    assert [some.turn(()) for _ in range(5)] == [[2, 3], [0, 1], [3, 4], [1, 2], [0, 4]]


def test_some_go_before_all_others_the_longest_waiting_first() -> None:
    some = rota(2, 0, 1, 2, 3)
    assert some.turn({3}) == [0, 3]
    assert some.turn({1, 2, 3}) == [1, 2]
    assert some.turn({1, 2, 3}) == [1, 3]
    assert some.turn(()) == [0, 2]


def test_nobody_is_left_when_all_go() -> None:
    some = rota(2, 0, 1, 2)
    some.turn(())
    some.clear()
    assert len(some) == 0
    assert some.turn(()) == []


@given(st.data())
def test_nobody_waits_longer_than_it_takes_all_to_have_had_a_turn(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 5))
    some, ran_at, now = Rota(width), dict[int, int](), 0
    for slot in range(data.draw(st.integers(width, 12))):
        some.enter(slot)
        ran_at[slot] = now
    for _ in range(40):
        now += 1
        chosen = some.turn(())
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(width, len(ran_at))
        ran_at |= dict.fromkeys(chosen, now)
        assert now - min(ran_at.values()) <= -(-len(ran_at) // width)
