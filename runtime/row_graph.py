"""A small ONNX graph that replaces rows of arrays in device memory. Encoded by hand: the server has no `onnx`.

ONNX models are Protocol Buffers; the field numbers below are those of `onnx.proto`
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from music.graph_names import NEXT

SOURCE: Final = "source"
ROWS: Final = "_rows"

_IR_VERSION: Final = 9
_OPSET: Final = 17
_INT_ATTRIBUTE: Final = 2
_KINDS: Final = {np.dtype(np.float32): 1, np.dtype(np.int32): 6, np.dtype(np.int64): 7}


@dataclass(frozen=True, slots=True)
class SlotArray:
    """Shape of an array with a row for each slot."""

    shape: tuple[int, ...]
    """Of all slots."""
    dtype: np.dtype[Any]
    """float32, int32 or int64."""
    axis: int
    """Axis of the slots."""


def row_graph(arrays: Mapping[str, SlotArray]) -> bytes:
    """A serialized ONNX model that returns every array with some of its rows replaced.

    Inputs, for each array `x` with n rows: `x`, and `x_rows` with m new rows, for any m. One more input, `source` (n,)
    int64, is the source of each row: i below n is row i of `x`, n + j is row j of `x_rows`.
    Outputs: `x_next`, in the shape of `x`.
    """
    (slots,) = {array.shape[array.axis] for array in arrays.values()}
    nodes, inputs, outputs = [], [_value(SOURCE, np.dtype(np.int64), (slots,))], []
    for name, array in arrays.items():
        axis = array.axis
        rows: list[int | str] = list(array.shape)
        rows[axis] = "rows"
        inputs += [_value(name, array.dtype, array.shape), _value(name + ROWS, array.dtype, rows)]
        outputs.append(_value(name + NEXT, array.dtype, array.shape))
        nodes.append(_node("Concat", [name, name + ROWS], name + "_all", axis))
        nodes.append(_node("Gather", [name + "_all", SOURCE], name + NEXT, axis))
    graph = _messages(1, nodes) + _text(2, "write_rows") + _messages(11, inputs) + _messages(12, outputs)
    return _number(1, _IR_VERSION) + _message(7, graph) + _message(8, _text(1, "") + _number(2, _OPSET))


def _node(kind: str, inputs: list[str], output: str, axis: int) -> bytes:
    attribute = _text(1, "axis") + _number(3, axis) + _number(20, _INT_ATTRIBUTE)
    input_names = b"".join(_text(1, name) for name in inputs)
    return input_names + _text(2, output) + _text(4, kind) + _message(5, attribute)


def _value(name: str, dtype: np.dtype[Any], shape: tuple[int, ...] | list[int | str]) -> bytes:
    dimensions = [_number(1, size) if isinstance(size, int) else _text(2, size) for size in shape]
    tensor = _number(1, _KINDS[dtype]) + _message(2, _messages(1, dimensions))
    return _text(1, name) + _message(2, _message(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _messages(field: int, payloads: list[bytes]) -> bytes:
    return b"".join(_message(field, payload) for payload in payloads)


def _varint(value: int) -> bytes:
    """Seven bits in a byte, the lowest first; the eighth bit says that more follow."""
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])
