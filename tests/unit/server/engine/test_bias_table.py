from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.composition.guide import NO_BIAS
from server.engine.bias_table import BiasTable

VOCABULARY = 3


def row(value: float) -> NDArray[np.float32]:
    return np.array([0, value, -value], np.float32)


def test_zeros_are_row_no_bias_and_stay() -> None:
    table = BiasTable(VOCABULARY)
    assert table.rows[NO_BIAS].tolist() == [0, 0, 0]
    assert table.add(row(0)) == table.add(np.array([0, -0.0, 0], np.float32)) == NO_BIAS
    for _ in range(2):
        table.release(NO_BIAS)
    assert len(table) == 1
    with pytest.raises(AssertionError, match="row 0 is not in use"):
        table.release(NO_BIAS)


def test_equal_rows_are_stored_once_until_the_last_is_released() -> None:
    table = BiasTable(VOCABULARY)
    index = table.add(row(5))
    assert table.add(row(5)) == index
    assert table.add(row(6)) != index
    assert len(table) == 3
    table.release(index)
    assert table.add(row(5)) == index
    table.release(index)
    table.release(index)
    assert len(table) == 2
    with pytest.raises(AssertionError, match=f"row {index} is not in use"):
        table.release(index)
    assert table.add(row(7)) == index, "the lowest free row is used first"


def test_the_table_is_another_object_only_after_a_change() -> None:
    table = BiasTable(VOCABULARY)
    before = table.rows
    index = table.add(row(1))
    after = table.rows
    assert after is not before
    assert not after.flags.writeable
    assert table.add(row(1)) == index
    table.release(index)
    assert table.rows is after


@given(st.lists(st.integers(0, 40), max_size=120), st.randoms())
def test_every_row_in_use_keeps_its_values(values: list[int], random: Random) -> None:
    """While others come and go, and the table grows."""
    table, used = BiasTable(VOCABULARY), list[tuple[int, int]]()
    for value in values:
        if used and random.random() < 0.3:
            table.release(used.pop(random.randrange(len(used)))[1])
        used.append((value, table.add(row(value))))
        for expected, index in used:
            assert table.rows[index].tolist() == row(expected).tolist()
    assert len(table) == len({value for value, _ in used} | {0})
    assert len({index for _, index in used}) == len({value for value, _ in used})
