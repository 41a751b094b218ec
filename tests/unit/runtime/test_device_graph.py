"""`DeviceBiases` on the CPU; the device runner's tests cover the graphs."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.device_graph import DeviceBiases
from runtime.device_state import Device
from runtime.runner import Chunk

SLOTS, STEPS, VOCABULARY = 3, 4, 5


@pytest.fixture
def biases() -> DeviceBiases:
    return DeviceBiases(SLOTS, STEPS, VOCABULARY, Device("cpu"))


def chunk(bias: NDArray[np.float32], bias_index: NDArray[np.int64]) -> Chunk:
    batch, steps = bias_index.shape
    return Chunk(
        rows=np.arange(batch),
        uniforms=np.zeros((batch, steps), np.float32),
        forced=np.full((batch, steps), -1, np.int64),
        temperature=np.ones(batch, np.float32),
        top_k=np.zeros(batch, np.int64),
        top_p=np.ones(batch, np.float32),
        bias=bias,
        bias_index=bias_index,
    )


def table(rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(rows).random((rows, VOCABULARY), dtype=np.float32)


def test_the_device_has_the_biases_of_every_token(biases: DeviceBiases) -> None:
    random = np.random.default_rng(0)
    address = biases._array.data_ptr()
    for rows in (1, 7, 1000, 3, 1000):
        bias = table(rows)
        for _ in range(5):
            index = random.integers(0, rows, (random.integers(1, SLOTS + 1), random.integers(1, STEPS + 1)))
            on_device = biases.send(chunk(bias, index))
            assert np.array_equal(biases._array.numpy()[on_device], bias[index])
            assert not biases._array.numpy()[0].any(), "for idle slots"
    assert biases._array.data_ptr() == address
    full = np.arange(SLOTS * STEPS).reshape(SLOTS, STEPS)  # another row for every token
    assert np.array_equal(biases._array.numpy()[biases.send(chunk(bias, full))], bias[full])


def test_the_table_is_sent_only_if_the_rows_in_use_change(
    biases: DeviceBiases, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    array = type(biases._array)
    real = array.update_inplace

    def update_inplace(sent_to: Any, values: NDArray[Any]) -> None:
        sent.append(len(values))
        real(sent_to, values)

    monkeypatch.setattr(array, "update_inplace", update_inplace)
    bias = table(9)
    biases.send(chunk(bias, np.array([[2, 3, 3, 2]])))
    assert len(sent) == 1
    biases.send(chunk(bias, np.array([[3], [2]])))
    biases.send(chunk(bias.copy(), np.array([[3], [2]])))
    assert len(sent) == 1, "the same rows"
    biases.send(chunk(bias + 1, np.array([[3], [2]])))
    biases.send(chunk(bias, np.array([[3], [4]])))
    assert len(sent) == 3
