import numpy as np
import pytest

from music.array_operations import ArrayOperations, NumpyOperations, Value
from tests.unit.training.graphs.values import run_graph

INTEGERS = np.arange(24, dtype=np.int32).reshape(3, 8)[:, ::-1] % 7
OTHERS = np.arange(24, dtype=np.int32).reshape(3, 8) % 5
FLOATS = INTEGERS.astype(np.float32) / 3
INDICES = np.array([[0, 3], [7, 1], [2, 2]], np.int32)


def arithmetic(ops: ArrayOperations, a: Value, b: Value, f: Value, i: Value) -> list[Value]:
    return [
        a + b,
        a - b,
        a * 2,
        a // 3,
        a % 4,
        a < b,
        a <= b,
        a > 2,
        a >= b,
        a == b,
        a != 3,
        (a < b) & ~(b == 1) | (a == 6),
    ]


def choices(ops: ArrayOperations, a: Value, b: Value, f: Value, i: Value) -> list[Value]:
    return [
        ops.where(a < b, a, -1),
        ops.where(a < b, 0.5, f),
        ops.minimum(a, b),
        ops.maximum(a, 3),
        ops.least(a),
        ops.greatest(f),
        ops.sum(a),
        ops.cast(a > 3, np.int32),
        ops.cast(a, np.int64),
    ]


def places(ops: ArrayOperations, a: Value, b: Value, f: Value, i: Value) -> list[Value]:
    table = np.arange(600, dtype=np.float32).reshape(10, 60)
    return [
        ops.take(table[:, 0], a),
        ops.take(table, b),
        ops.pick(f, i),
        ops.concatenate([a, b]),
        *ops.split(a, [3, 5]),
        ops.slice(a, 2, 5),
        ops.slice(a, -3, -1),
        ops.columns(f, [1, 1, 6]),
        ops.reshape(a, 2, 4),
        ops.constant(np.arange(8, dtype=np.int32)) == a,
        ops.put(a + 0, i, i * 10),
    ]


@pytest.mark.parametrize("work", [arithmetic, choices, places])
def test_a_graph_computes_what_numpy_computes(work: object) -> None:
    assert callable(work)
    expected = work(NumpyOperations(), INTEGERS, OTHERS, FLOATS, INDICES)
    found = run_graph(work, [INTEGERS, OTHERS, FLOATS, INDICES])
    assert len(found) == len(expected)
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.dtype == other.dtype, index
        np.testing.assert_array_equal(one, other, err_msg=str(index))
