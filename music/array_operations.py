"""Array operations that NumPy executes and that an ONNX graph records.

Code that advances a state by tokens is written once against `ArrayOperations`. With `NumpyOperations` it computes the
inputs of training; with the operations of `training.graphs` it builds the same computation into a decode graph. Values
have the batch as their first axis, and support `+ - * // %`, comparisons, and `& | ~` of booleans. Integers are int32.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

Value = Any
"""An array, or a value of a graph."""
_where: Final[Callable[..., NDArray[Any]]] = np.where


class ArrayOperations(Protocol):
    """What operators cannot express. All operations but `take` work along the last axis."""

    def constant(self, value: NDArray[Any]) -> Value:
        """A constant array, without a batch axis."""

    def where(self, condition: Value, chosen: Value, other: Value) -> Value:
        """`chosen` where the condition holds, else `other`."""

    def minimum(self, one: Value, other: Value) -> Value:
        """The smaller value, elementwise."""

    def maximum(self, one: Value, other: Value) -> Value:
        """The larger value, elementwise."""

    def take(self, table: NDArray[Any], index: Value) -> Value:
        """Rows of a constant table: an index (...) and a table (n, ...) give (..., ...)."""

    def pick(self, array: Value, index: Value) -> Value:
        """The elements of (..., n) at an index (..., k): (..., k)."""

    def put(self, array: Value, index: Value, values: Value) -> Value:
        """The array (..., n) with values (..., k) at an index (..., k). The array must not be used afterwards."""

    def concatenate(self, parts: Sequence[Value]) -> Value:
        """The parts joined along the last axis."""

    def split(self, array: Value, widths: Sequence[int]) -> list[Value]:
        """Parts of these widths along the last axis."""

    def slice(self, array: Value, start: int, stop: int) -> Value:
        """Elements `start` to `stop - 1` of the last axis."""

    def columns(self, array: Value, indices: Sequence[int]) -> Value:
        """Elements of the last axis at constant indices."""

    def sum(self, array: Value) -> Value:
        """The sum: (..., n) to (..., 1)."""

    def least(self, array: Value) -> Value:
        """The smallest element: (..., n) to (..., 1)."""

    def greatest(self, array: Value) -> Value:
        """The largest element: (..., n) to (..., 1)."""

    def reshape(self, array: Value, *shape: int) -> Value:
        """The array as (batch, *shape)."""

    def cast(self, array: Value, dtype: type[np.generic]) -> Value:
        """The array with another type."""


class NumpyOperations:
    """Executes the operations. See `ArrayOperations`."""

    def constant(self, value: NDArray[Any]) -> NDArray[Any]:
        """See `ArrayOperations.constant`."""
        return value

    def where(self, condition: Value, chosen: Value, other: Value) -> NDArray[Any]:
        """See `ArrayOperations.where`."""
        return _where(condition, chosen, other)

    def minimum(self, one: Value, other: Value) -> NDArray[Any]:
        """See `ArrayOperations.minimum`."""
        smaller: NDArray[Any] = np.minimum(one, other)
        return smaller

    def maximum(self, one: Value, other: Value) -> NDArray[Any]:
        """See `ArrayOperations.maximum`."""
        larger: NDArray[Any] = np.maximum(one, other)
        return larger

    def take(self, table: NDArray[Any], index: Value) -> NDArray[Any]:
        """See `ArrayOperations.take`."""
        rows: NDArray[Any] = table[index]
        return rows

    def pick(self, array: Value, index: Value) -> NDArray[Any]:
        """See `ArrayOperations.pick`."""
        return np.take_along_axis(array, index, -1)

    def put(self, array: Value, index: Value, values: Value) -> NDArray[Any]:
        """See `ArrayOperations.put`. The array is changed in place."""
        np.put_along_axis(array, index, values, -1)
        changed: NDArray[Any] = array
        return changed

    def concatenate(self, parts: Sequence[Value]) -> NDArray[Any]:
        """See `ArrayOperations.concatenate`."""
        return np.concatenate(parts, -1)

    def split(self, array: Value, widths: Sequence[int]) -> list[NDArray[Any]]:
        """See `ArrayOperations.split`."""
        return list(np.split(array, np.cumsum(widths)[:-1], -1))

    def columns(self, array: Value, indices: Sequence[int]) -> NDArray[Any]:
        """See `ArrayOperations.columns`."""
        return np.take(array, indices, -1)

    def slice(self, array: Value, start: int, stop: int) -> NDArray[Any]:
        """See `ArrayOperations.slice`."""
        part: NDArray[Any] = array[..., start:stop]
        return part

    def sum(self, array: Value) -> NDArray[Any]:
        """See `ArrayOperations.sum`."""
        total: NDArray[Any] = array.sum(-1, keepdims=True, dtype=array.dtype)
        return total

    def least(self, array: Value) -> NDArray[Any]:
        """See `ArrayOperations.least`."""
        smallest: NDArray[Any] = array.min(-1, keepdims=True)
        return smallest

    def greatest(self, array: Value) -> NDArray[Any]:
        """See `ArrayOperations.greatest`."""
        largest: NDArray[Any] = array.max(-1, keepdims=True)
        return largest

    def reshape(self, array: Value, *shape: int) -> NDArray[Any]:
        """See `ArrayOperations.reshape`."""
        reshaped: NDArray[Any] = array.reshape(-1, *shape)
        return reshaped

    def cast(self, array: Value, dtype: type[np.generic]) -> NDArray[Any]:
        """See `ArrayOperations.cast`."""
        converted: NDArray[Any] = array.astype(dtype)
        return converted
