import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.engine.nats import NatsSums

STEPS = st.lists(st.tuples(st.floats(-20, 0, width=32), st.booleans()), max_size=60)


def sums_of(steps: list[tuple[float, bool]], start: NatsSums | None = None) -> NatsSums:
    log_probabilities = np.array([value for value, _ in steps], np.float32)
    return (start or NatsSums()).after(log_probabilities, np.array([forced for _, forced in steps], np.bool_))


def test_tokens_before_the_first_sampled_one_do_not_count() -> None:
    sums = sums_of([(math.nan, True), (-1.0, True), (-2.0, False), (-4.0, True), (-8.0, False)])
    assert sums == NatsSums(nats=14.0, given_nats=4.0, started=True)
    assert sums_of([(math.nan, True)]) == NatsSums()
    assert sums_of([]) == NatsSums()


@given(steps=STEPS, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_the_sums_do_not_depend_on_the_division(steps: list[tuple[float, bool]], cuts: list[int]) -> None:
    divided = NatsSums()
    places = [0, *sorted(cuts), len(steps)]
    for begin, end in pairwise(places):
        divided = sums_of(steps[begin:end], divided)
    assert divided == sums_of(steps)


@given(steps=STEPS)
def test_the_terms_are_added_in_their_order(steps: list[tuple[float, bool]]) -> None:
    nats = given_nats = 0.0
    started = False
    for value, forced in steps:
        started |= not forced
        if started:
            nats += -float(np.float32(value))
            given_nats += -float(np.float32(value)) if forced else 0.0
    assert sums_of(steps) == NatsSums(nats, given_nats, started)
