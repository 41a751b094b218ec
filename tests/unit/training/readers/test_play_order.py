from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.readers.play_order import MAX_PLAYED_BARS, BarMarks, play_order

BARS: dict[str, Callable[[], BarMarks]] = {
    "-": BarMarks,
    "[": lambda: BarMarks(repeat_start=True),
    "]": lambda: BarMarks(repeat_times=2),
    "3]": lambda: BarMarks(repeat_times=3),
    "[]": lambda: BarMarks(repeat_start=True, repeat_times=2),
    "1": lambda: BarMarks(endings=frozenset({1}), ending_start=True),
    "1+": lambda: BarMarks(endings=frozenset({1})),
    "1]": lambda: BarMarks(endings=frozenset({1}), ending_start=True, repeat_times=2),
    "1+]": lambda: BarMarks(endings=frozenset({1}), repeat_times=2),
    "2": lambda: BarMarks(endings=frozenset({2}), ending_start=True),
    "2]": lambda: BarMarks(endings=frozenset({2}), ending_start=True, repeat_times=2),
    "12]": lambda: BarMarks(endings=frozenset({1, 2}), ending_start=True, repeat_times=2),
    "2[": lambda: BarMarks(repeat_start=True, endings=frozenset({2}), ending_start=True),
    "2+": lambda: BarMarks(endings=frozenset({2})),
    "3": lambda: BarMarks(endings=frozenset({3}), ending_start=True),
    "segno": lambda: BarMarks(segno="s"),
    "coda": lambda: BarMarks(coda="c"),
    "tocoda": lambda: BarMarks(to_coda="c"),
    "ds": lambda: BarMarks(dal_segno="s"),
    "dc": lambda: BarMarks(da_capo=True),
    "fine": lambda: BarMarks(fine=True),
    "fine]": lambda: BarMarks(fine=True, repeat_times=2),
    "dc]": lambda: BarMarks(da_capo=True, repeat_times=2),
}


def marks(signs: str) -> list[BarMarks]:
    return [BARS[sign]() for sign in signs.split()]


@pytest.mark.parametrize(
    ("signs", "order"),
    [
        ("- - -", "0 1 2"),
        ("[ ] -", "0 1 0 1 2"),
        ("- ] -", "0 1 0 1 2"),  # no start: from the beginning
        ("- ] - ] -", "0 1 0 1 2 3 2 3 4"),  # no start: from the end of the repeat before
        ("- [] -", "0 1 1 2"),
        ("- 3] -", "0 1 0 1 0 1 2"),
        ("- 1] 2 -", "0 1 0 2 3"),
        ("- 1 1+] 2 -", "0 1 2 0 3 4"),
        ("[ - 1] 2 [ - 1] 2", "0 1 2 0 1 3 4 5 6 4 5 7"),
        ("- 1] 2] 3 -", "0 1 0 2 0 3 4"),
        ("- 12] 3 -", "0 1 0 1 0 2 3"),
        ("- 1] - ] -", "0 1 0 2 3 2 3 4"),  # a lone first bracket is left out the second time
        ("- 1] 2 - ] -", "0 1 0 2 3 4 3 4 5"),
        ("- ] 2 -", "0 1 0 1 2 3"),  # the first ending without its bracket
        ("- 1] 2[ 2+ - ] -", "0 1 0 2 3 4 5 2 3 4 5 6"),  # a repeat begins with the last ending
        ("- fine - dc", "0 1 2 3 0 1"),
        ("- segno - fine ds", "0 1 2 3 4 1 2 3"),
        ("segno tocoda - ds coda -", "0 1 2 3 0 1 4 5"),
        ("[ fine] [ dc]", "0 1 0 1 2 3 2 3 0 1"),  # repeats are not taken after the jump
        ("- 1] 2 dc", "0 1 0 2 3 0 2 3"),  # and the last ending is played
        ("- - dc", "0 1 2 0 1 2"),
        ("- coda - -", "0 1 2 3"),
    ],
)  # fmt: skip
def test_bars_are_played_by_the_conventions(signs: str, order: str) -> None:
    assert play_order(marks(signs)) == [int(index) for index in order.split()]


@pytest.mark.parametrize(
    "signs",
    [
        "- ds -",  # no sign to go to
        "- 2 -",  # a second ending without a first
        "- 1 2] -",  # the first ending leads on into the second
        "- dc -",  # a D.C. in the middle that no Fine ends
        "- fine dc - -",  # bars behind a D.C. that no coda leads to
    ],
)
def test_a_structure_that_makes_no_sense_has_no_order(signs: str) -> None:
    assert play_order(marks(signs)) is None


def test_a_structure_cannot_play_for_ever() -> None:
    assert play_order([BarMarks(repeat_times=10**9)]) is None
    assert play_order([BarMarks() for _ in range(MAX_PLAYED_BARS + 1)]) is not None, "a long piece without repeats"


@given(st.lists(st.sampled_from(sorted(BARS)), max_size=30))
def test_any_order_plays_every_bar_and_none_too_often(signs: list[str]) -> None:
    order = play_order([BARS[sign]() for sign in signs])
    if order is not None:
        assert set(order) == set(range(len(signs)))
        assert len(order) <= MAX_PLAYED_BARS
