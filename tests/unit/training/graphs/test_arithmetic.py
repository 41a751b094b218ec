"""Products in int8: exact on every CPU, whatever its kernels sum them in."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.session import onnxruntime
from training.graphs.builder import MICROSOFT
from training.graphs.weights import WEIGHT_LEVELS, ZERO_POINT, quantize

Array = NDArray[Any]
INPUTS, OUTPUTS = 129, 40  # an odd number: the last pair is half a pair


def product(activations: Array, weights: Array) -> Array:
    """What ONNX Runtime makes of uint8 activations (rows, inputs) and int8 weights (inputs, outputs)."""
    arrays = {"w": weights, "one": np.array(1, np.float32), "zero": np.array(ZERO_POINT, np.uint8)}
    node = helper.make_node("MatMulIntegerToFloat", ["a", "w", "one", "one", "zero"], ["out"], domain=MICROSOFT)
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, ("rows", INPUTS))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ("rows", OUTPUTS))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    out: Array = session.run(None, {"a": activations})[0]
    return out


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_possible_sums_are_exact(rows: int, sign: int) -> None:
    activations = np.full((rows, INPUTS), 255, np.uint8)
    activations[:, ::5] = 0
    weights = np.full((INPUTS, OUTPUTS), sign * WEIGHT_LEVELS, np.int8)
    weights[:, ::3] = -weights[:, ::3]
    expected = (activations.astype(np.int64) - ZERO_POINT) @ weights.astype(np.int64)
    assert product(activations, weights).tolist() == expected.astype(np.float32).tolist()


def test_quantised_weights_stay_within_their_levels() -> None:
    weights = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    weights[3] = 0.0
    scale, whole = quantize(weights)
    assert np.abs(whole).max(axis=1).tolist() == [WEIGHT_LEVELS] * 3 + [0] + [WEIGHT_LEVELS] * 26
    assert np.abs(whole * scale[:, None] - weights).max() <= scale.max() / 2 * 1.001
