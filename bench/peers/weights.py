"""A bundle's weights as arrays."""

from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from music.bundle import Bundle


def read_weights(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """The initializers of the graph that scores whole pieces, by their names."""
    model = onnx.load(bundle.file(bundle.manifest.graphs.score))
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
