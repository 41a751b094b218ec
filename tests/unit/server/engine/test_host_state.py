from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.engine.host_state import HostState

LAYERS, SLOTS, HIDDEN = 2, 5, 3


@pytest.fixture
def state() -> HostState:
    return fresh()


def fresh() -> HostState:
    h = np.arange(LAYERS * SLOTS * HIDDEN, dtype=np.float32).reshape(LAYERS, SLOTS, HIDDEN)
    return HostState({"h": h, "c": -h, "clock": np.arange(SLOTS) * 10})


def run(state: HostState, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """What every run does here: it adds one to everything."""
    taken = state.take(rows)
    state.advance([values + 1 for values in taken.values()])
    return taken


def test_rows_come_in_the_order_asked_for(state: HostState) -> None:
    taken = state.take(np.array([1, 4]))
    assert taken["h"].shape == (LAYERS, 2, HIDDEN)
    assert taken["h"][1].tolist() == [[18, 19, 20], [27, 28, 29]]
    assert taken["clock"].tolist() == [10, 40]


def test_what_the_same_rows_take_next_is_what_the_run_gave_and_no_copy(state: HostState) -> None:
    rows = np.array([0, 2])
    state.take(rows)
    given_back: list[NDArray[Any]] = [
        np.full((LAYERS, 2, HIDDEN), 7, np.float32),
        np.zeros((LAYERS, 2, HIDDEN), np.float32),
        np.ones(2),
    ]
    state.advance(given_back)
    assert all(one is other for one, other in zip(state.take(rows).values(), given_back, strict=True))


def test_putting_a_slot_leaves_what_the_last_run_gave_the_others(state: HostState) -> None:
    rows = np.array([0, 2])
    run(state, rows)
    state.put(2, {"h": 0.0, "c": 3.0, "clock": 5})
    state.put(4, {"h": 0.0, "c": 3.0, "clock": 6})
    assert state.take(np.array([0, 2]))["clock"].tolist() == [1, 5]
    assert state.of(0)["clock"] == 1
    assert state.of(2)["clock"] == 5
    assert not state.of(2)["h"].any()
    assert state.of(2)["c"].tolist() == [[3] * HIDDEN] * LAYERS
    assert state.of(0)["c"].tolist() == [[1, 0, -1], [-14, -15, -16]]
    assert state.of(4)["clock"] == 6


@given(st.lists(st.sets(st.integers(0, SLOTS - 1), min_size=1).map(sorted), max_size=12))
def test_whoever_runs_advances_and_nobody_else(turns: list[list[int]]) -> None:
    state, runs = fresh(), [0] * SLOTS
    last: NDArray[np.intp] | None = None
    for turn in turns:
        rows = last if last is not None and last.tolist() == turn else np.array(turn)
        taken = run(state, rows)
        assert taken["clock"].tolist() == [slot * 10 + runs[slot] for slot in turn]
        for slot in turn:
            runs[slot] += 1
        last = rows
    for slot in range(SLOTS):
        assert state.of(slot)["clock"] == slot * 10 + runs[slot]
        assert state.of(slot)["h"][1, 0] == 15 + 3 * slot + runs[slot]
