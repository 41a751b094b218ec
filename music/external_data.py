"""The external files that an ONNX graph reads.

ONNX models are Protocol Buffers; the field numbers below are those of `onnx.proto`
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3), the encoding is
https://protobuf.dev/programming-guides/encoding/. Decoded by hand: the server has no `onnx`.
"""

from collections.abc import Iterator
from typing import Final

_PARTS: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Messages that can contain a tensor: by message, the field numbers of its parts and their messages."""
_KEY, _VALUE = 1, 2  # fields of an entry of TensorProto.external_data
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS: Final = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES: Final = 10


def external_files(model: bytes) -> set[str]:
    """The external locations of all tensors of a model. Bytes that are not UTF-8 become U+FFFD.

    Args:
        model: a serialized ONNX ModelProto.

    Raises:
        ValueError: the bytes are not a Protocol Buffers message.
    """
    locations = set()
    messages = [("model", memoryview(model))]
    while messages:
        kind, data = messages.pop()
        if kind == "entry":
            entry = {number: bytes(value) for number, value in _fields(data)}
            if entry.get(_KEY) == b"location":
                locations.add(entry.get(_VALUE, b"").decode(errors="replace"))
        else:
            parts = _PARTS[kind]
            messages.extend((parts[number], value) for number, value in _fields(data) if number in parts)
    return locations


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of every length-delimited field: text, packed numbers or another message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _BYTES:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("a field ends beyond its message")
            yield number, data[at : at + length]
            at += length
        elif wire in _WIDTHS:
            at += _WIDTHS[wire]
        else:
            raise ValueError(f"unknown wire type {wire}")
    if at != len(data):
        raise ValueError("a message ends within a field")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The varint at an offset and the offset after it. A varint has seven bits in a byte, the lowest first."""
    value = 0
    for index, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("a varint does not end")
