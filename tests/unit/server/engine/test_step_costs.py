"""The duration of a step by the batch size, measured under mixed loads with made-up costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.step_costs import StepCosts

MAX_BATCH_SIZE = 64
CHUNK_SIZES = (1, 4, 16, 64)
RUN_SECONDS = 1e-3
"""Fixed cost of a run: a step in a chunk of one costs ten times as much as in a long one."""

Load = tuple[int, int, int]
"""Rows, steps of a chunk, number of chunks."""


def step_seconds(rows: int) -> float:
    return 100e-6 + 10e-6 * rows


class Machine:
    """Runs chunks on a made-up clock.

    Args:
        slowness: all durations are longer by this factor.
    """

    def __init__(self, *, slowness: float = 1.0) -> None:
        self.costs = StepCosts(MAX_BATCH_SIZE)
        self.now = 1000.0
        self.slowness = slowness

    def run(self, rows: int, steps: int, chunks: int = 1) -> None:
        for _ in range(chunks):
            seconds = self.slowness * (RUN_SECONDS + steps * step_seconds(rows))
            self.now += seconds
            self.costs.record(rows, steps, seconds, self.now)

    def warm_up(self) -> None:
        for rows in (1, MAX_BATCH_SIZE):
            self.run(rows, CHUNK_SIZES[-1])

    def least(self, rows: int) -> float:
        return float(self.costs.least_seconds(np.array([rows]))[0])

    def present(self, rows: int) -> float:
        return float(self.costs.present_seconds(np.array([rows]))[0])


loads: st.SearchStrategy[list[Load]] = st.lists(
    st.tuples(st.integers(1, MAX_BATCH_SIZE), st.sampled_from(CHUNK_SIZES), st.integers(1, 300)), max_size=8
)


@given(loads)
def test_any_load_leaves_the_costs_of_all_batch_sizes_right(loads: list[Load]) -> None:
    machine = Machine()
    machine.warm_up()
    for rows, steps, chunks in loads:
        machine.run(rows, steps, chunks)
    for rows in (1, 16, 64):
        assert step_seconds(rows) / 1.5 < machine.least(rows) < step_seconds(rows) * 1.5


@given(loads)
def test_a_larger_batch_never_takes_less(loads: list[Load]) -> None:
    machine = Machine()
    machine.warm_up()
    for rows, steps, chunks in loads:
        machine.slowness = 0.3 if machine.slowness > 1 else 3.0
        machine.run(rows, steps, chunks)
    sizes = np.arange(1, MAX_BATCH_SIZE + 1)
    for costs in (machine.costs.least_seconds(sizes), machine.costs.present_seconds(sizes)):
        assert (np.diff(costs) >= -1e-12).all()


def test_the_present_cost_is_that_of_chunks_as_long_as_of_late() -> None:
    machine = Machine()
    machine.warm_up()
    machine.run(16, 1, 3000)
    assert machine.present(16) == pytest.approx(RUN_SECONDS + step_seconds(16), rel=0.1)
    machine.run(16, 64, 100)
    assert machine.present(16) == pytest.approx(RUN_SECONDS / 64 + step_seconds(16), rel=0.1)


def test_a_new_measurement_replaces_one_of_long_ago() -> None:
    machine = Machine(slowness=20.0)
    machine.run(4, 16, 1000)
    machine.slowness = 1.0
    machine.now += 600.0
    machine.run(4, 16)
    assert machine.least(4) == pytest.approx(RUN_SECONDS / 16 + step_seconds(4), rel=0.01)


def test_a_newer_measurement_of_another_batch_size_corrects_an_older_one() -> None:
    machine = Machine(slowness=20.0)
    machine.run(2, 16, 100)
    slow = machine.least(2)
    machine.slowness = 1.0
    machine.run(8, 16)
    fast = machine.least(8)
    assert fast < slow
    assert machine.least(2) == pytest.approx(fast)
    machine.slowness = 20.0
    machine.run(4, 16)
    assert machine.least(8) == pytest.approx(machine.least(4)) == pytest.approx(20 * (RUN_SECONDS / 16 + 140e-6))


def test_one_long_run_hardly_changes_a_mean() -> None:
    machine = Machine()
    machine.run(4, 16, 1000)
    machine.slowness = 20.0
    machine.run(4, 16)
    assert machine.least(4) == pytest.approx(RUN_SECONDS / 16 + step_seconds(4), rel=0.4)


def test_outside_the_measured_batch_sizes_the_cost_is_at_least_the_true_one() -> None:
    machine = Machine()
    machine.run(8, 64)
    at_eight = machine.least(8)
    assert machine.least(1) == at_eight
    assert machine.least(32) == pytest.approx(4 * at_eight)


def test_without_a_measurement_a_step_takes_a_millisecond() -> None:
    costs = StepCosts(MAX_BATCH_SIZE)
    assert costs.least_seconds(np.array([1, 64])).tolist() == [0.001, 0.001]
    assert costs.present_seconds(np.array([1, 64])).tolist() == [0.001, 0.001]
