from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.host_state import HostState

LAYERS, SLOTS, HIDDEN = 2, 5, 3


@pytest.fixture
def state() -> HostState:
    return make_state()


def make_state() -> HostState:
    h = np.arange(LAYERS * SLOTS * HIDDEN, dtype=np.float32).reshape(LAYERS, SLOTS, HIDDEN)
    return HostState({"h": h, "c": -h, "clock": np.arange(SLOTS) * 10}, SLOTS)


def run(state: HostState, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """A run that adds one to every value."""
    gathered = state.gather(rows)
    state.update([values + 1 for values in gathered.values()])
    return gathered


def test_rows_are_gathered_in_order(state: HostState) -> None:
    gathered = state.gather(np.array([1, 4]))
    assert gathered["h"].shape == (LAYERS, 2, HIDDEN)
    assert gathered["h"][1].tolist() == [[18, 19, 20], [27, 28, 29]]
    assert gathered["clock"].tolist() == [10, 40]


def test_the_same_rows_get_the_outputs_of_the_last_run_without_a_copy(state: HostState) -> None:
    rows = np.array([0, 2])
    state.gather(rows)
    outputs: list[NDArray[Any]] = [
        np.full((LAYERS, 2, HIDDEN), 7, np.float32),
        np.zeros((LAYERS, 2, HIDDEN), np.float32),
        np.ones(2),
    ]
    state.update(outputs)
    assert all(one is other for one, other in zip(state.gather(rows).values(), outputs, strict=True))


def test_writing_a_slot_keeps_the_outputs_of_other_slots(state: HostState) -> None:
    rows = np.array([0, 2])
    run(state, rows)
    state.write(2, {"h": 0.0, "c": 3.0, "clock": 5})
    state.write(4, {"h": 0.0, "c": 3.0, "clock": 6})
    assert state.gather(np.array([0, 2]))["clock"].tolist() == [1, 5]
    assert state.read(0)["clock"] == 1
    assert state.read(2)["clock"] == 5
    assert not state.read(2)["h"].any()
    assert state.read(2)["c"].tolist() == [[3] * HIDDEN] * LAYERS
    assert state.read(0)["c"].tolist() == [[1, 0, -1], [-14, -15, -16]]
    assert state.read(4)["clock"] == 6


@given(st.lists(st.sets(st.integers(0, SLOTS - 1), min_size=1).map(sorted), max_size=12))
def test_only_the_rows_of_a_run_advance(chunks: list[list[int]]) -> None:
    state, runs = make_state(), [0] * SLOTS
    last: NDArray[np.intp] | None = None
    for chunk in chunks:
        rows = last if last is not None and last.tolist() == chunk else np.array(chunk)
        gathered = run(state, rows)
        assert gathered["clock"].tolist() == [slot * 10 + runs[slot] for slot in chunk]
        for slot in chunk:
            runs[slot] += 1
        last = rows
    for slot in range(SLOTS):
        assert state.read(slot)["clock"] == slot * 10 + runs[slot]
        assert state.read(slot)["h"][1, 0] == 15 + 3 * slot + runs[slot]


rows_of_a_run = st.sets(st.integers(0, SLOTS - 1), min_size=1).map(sorted)
actions: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("run"), rows_of_a_run, st.just([])),
    st.tuples(st.just("rewind"), rows_of_a_run, st.just([])),
    st.tuples(st.just("write"), st.integers(0, SLOTS - 1).map(lambda slot: [slot]), st.just([])),
    st.permutations(range(SLOTS)).flatmap(
        lambda targets: st.integers(0, SLOTS).flatmap(
            lambda count: st.tuples(
                st.just("copy"),
                st.lists(st.integers(0, SLOTS - 1), min_size=count, max_size=count),
                st.just(targets[:count]),
            )
        )
    ),
)


@given(st.lists(actions, max_size=25))
def test_states_follow_a_model(steps: list[tuple[str, list[int], list[int]]]) -> None:
    """Runs, rewinds, writes and copies in any order, and what `read_before` says in between."""
    state = make_state()
    model = [slot * 10 for slot in range(SLOTS)]
    before: dict[int, int] = {}
    last: NDArray[np.intp] | None = None
    for number, (kind, slots, targets) in enumerate(steps):
        if kind == "run":
            rows = last if last is not None and last.tolist() == slots else np.array(slots)
            before, last = {slot: model[slot] for slot in slots}, rows
            run(state, rows)
            for slot in slots:
                model[slot] += 1
        elif kind == "rewind":
            again = [slot for slot in slots if slot in before]
            if again:
                state.rewind(np.array(again))
            model = [before[slot] if slot in again else value for slot, value in enumerate(model)]
        elif kind == "write":
            model[slots[0]] = 1000 + number
            state.write(slots[0], {"h": 0.0, "c": 0.0, "clock": 1000 + number})
        else:
            state.copy(np.array(slots, np.intp), np.array(targets, np.intp))
            for target, value in [(target, model[source]) for target, source in zip(targets, slots, strict=True)]:
                model[target] = value
        assert [state.read(slot)["clock"] for slot in range(SLOTS)] == model
        assert {slot: state.read_before(slot)["clock"] for slot in before} == before


def test_copies_take_all_values_and_are_copies(state: HostState) -> None:
    run(state, np.array([0, 2]))
    first = state.read(0)
    state.copy(np.array([0, 0, 3]), np.array([2, 4, 0]))
    for slot in (2, 4):
        assert {name: value.tolist() for name, value in state.read(slot).items()} == {
            name: value.tolist() for name, value in first.items()
        }
    assert state.read(0)["h"].tolist() == [[9, 10, 11], [24, 25, 26]]
    read = state.read(2)
    read["h"][:] = 99
    assert state.read(2)["h"].tolist() == first["h"].tolist()
    with pytest.raises(AssertionError, match="slot 4 was not in the last run"):
        state.read_before(4)


def test_only_slots_of_the_last_run_can_be_rewound(state: HostState) -> None:
    start = state.read(2)
    run(state, np.array([0, 2]))
    state.rewind(np.array([2]))
    assert {name: value.tolist() for name, value in state.read(2).items()} == {
        name: value.tolist() for name, value in start.items()
    }
    with pytest.raises(AssertionError, match="not all in the last run"):
        state.rewind(np.array([0, 1]))


def test_a_copy_among_the_rows_of_a_run_moves_no_other_slot(state: HostState, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows stay gathered: the next run of the same rows copies nothing."""
    rows = np.array([1, 3, 4])
    run(state, rows)
    gathered = state.gather(rows)
    state.copy(np.array([1, 1]), np.array([3, 4]))
    monkeypatch.setattr(HostState, "_scatter", None)
    assert all(one is other for one, other in zip(state.gather(rows).values(), gathered.values(), strict=True))
    assert state.gather(rows)["clock"].tolist() == [11, 11, 11]
