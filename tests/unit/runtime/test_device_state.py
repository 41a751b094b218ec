"""`DeviceState` on the CPU, with runs that add one to the position of every row, against a dictionary."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.bundle import Bundle, load_bundle
from music.graph_names import POSITION
from runtime.device_state import Device, DeviceState

SLOTS = 4


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def run(state: DeviceState, rows: list[int]) -> list[int]:
    """Run a chunk that adds one to the position of every row, and return the positions before it."""
    state.load(np.array(rows))
    before = state.read(state.side)
    state.overwrite(1 - state.side, before | {POSITION: before[POSITION] + 1})
    state.swap()
    positions: list[int] = before[POSITION][rows].tolist()
    return positions


def at(state: DeviceState, position: int) -> dict[str, Any]:
    return {**state.start, POSITION: np.array(position, np.int64)}


def position(values: Any) -> int:
    return int(values[POSITION])


def test_rows_are_copied_with_all_their_values(small: Bundle) -> None:
    state = DeviceState(small, SLOTS, Device("cpu"))
    rows = [{name: np.full_like(value, slot + 1) for name, value in state.start.items()} for slot in range(SLOTS)]
    for slot, row in enumerate(rows):
        state.stage(slot, row)
    state.load(np.arange(SLOTS))
    state.swap()
    state.swap()
    state.copy([0, 1, 2], [1, 2, 3])
    for slot, source in enumerate((0, 0, 1, 2)):
        assert {name: value.tolist() for name, value in state.row(slot).items()} == {
            name: value.tolist() for name, value in rows[source].items()
        }


def test_a_row_that_skipped_a_chunk_is_lost_unless_it_was_staged(small: Bundle) -> None:
    state = DeviceState(small, SLOTS, Device("cpu"))
    for slot in range(3):
        state.stage(slot, at(state, 10 * slot))
    run(state, [0, 1, 2])
    state.stage(1, state.row(1))
    run(state, [0])
    for lost in (lambda: state.row(2), lambda: state.copy([2], [0])):
        with pytest.raises(AssertionError, match="slot 2 has no state"):
            lost()
    with pytest.raises(AssertionError, match=r"slots \[2\] skipped a chunk"):
        run(state, [0, 2])
    assert run(state, [0, 1]) == [2, 11]


actions = st.one_of(
    st.tuples(st.just("reset"), st.integers(0, SLOTS - 1), st.integers(0, 9)),
    st.tuples(st.just("hold"), st.integers(0, SLOTS - 1), st.just(0)),
    st.tuples(st.just("rewind"), st.sets(st.integers(0, SLOTS - 1)), st.just(0)),
    st.tuples(st.just("run"), st.sets(st.integers(0, SLOTS - 1), min_size=1), st.just(0)),
    st.tuples(
        st.just("copy"), st.lists(st.integers(0, SLOTS - 1), min_size=SLOTS, max_size=SLOTS), st.integers(1, SLOTS)
    ),
)


@given(st.lists(actions, max_size=40))
def test_states_follow_a_model(small: Bundle, steps: list[tuple[str, Any, int]]) -> None:
    """Resets, holds, runs of any rows, rewinds and copies in any order, and what `row_before` says in between."""
    state = DeviceState(small, SLOTS, Device("cpu"))
    model: dict[int, int] = {}
    held: set[int] = set()
    before: dict[int, int] = {}
    for kind, slots, number in steps:
        if kind == "reset":
            state.stage(slots, at(state, number))
            model[slots] = number
            held.add(slots)
        elif kind == "hold" and slots in model:
            state.stage(slots, state.row(slots))
            held.add(slots)
        elif kind == "rewind" and slots & before.keys():
            again = sorted(slots & before.keys())
            state.rewind(again)
            model |= {slot: before[slot] for slot in again}
            held |= set(again)
        elif kind == "copy":
            targets = [slot for slot in range(SLOTS) if slots[slot] in model][:number]
            sources = [slots[slot] for slot in targets]
            state.copy(sources, targets)
            fresh = set(targets) & {target for target, source in zip(targets, sources, strict=True) if source in held}
            held = (held - set(targets)) | fresh
            model |= {target: model[source] for target, source in [*zip(targets, sources, strict=True)]}
        elif kind == "run" and slots & model.keys():
            rows = sorted(slots & model.keys())
            before = {slot: model[slot] for slot in rows}
            assert run(state, rows) == list(before.values())
            held -= set(rows)
            model = {slot: value + (slot in before) for slot, value in model.items() if slot in before or slot in held}
        for slot, value in model.items():
            assert position(state.row(slot)) == value
        for slot, value in before.items():
            assert position(state.row_before(slot)) == value
