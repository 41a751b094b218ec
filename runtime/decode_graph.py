"""Checks the shapes of a decode graph against the manifest."""

from typing import Any

from music.bundle import Bundle
from music.errors import BundleMismatchError
from runtime.state import initial_state, slot_axis


def check_decode_graph(bundle: Bundle, name: str, session: Any, steps: int) -> None:
    """Compare the shapes of a decode graph with the manifest.

    Args:
        bundle: whose graph it is.
        name: file name of the graph.
        session: an ONNX Runtime session on it.
        steps: number of steps that it decodes.

    Raises:
        BundleMismatchError: they differ.
    """
    network = bundle.network
    shapes = {value.name: list(value.shape) for value in (*session.get_inputs(), *session.get_outputs())}
    expected = {
        "uniforms": ["batch", steps],
        "bias": ["biases", network.vocabulary],
        "bias_index": ["batch", steps],
        "forced": ["batch", steps],
        "tokens": ["batch", steps],
        "log_probabilities": ["batch", steps],
    }
    for value, initial in initial_state(bundle).items():
        expected[value] = list(initial.shape)
        expected[value].insert(slot_axis(value), "batch")
    for value, shape in expected.items():
        if shapes.get(value) != shape:
            raise BundleMismatchError(
                f"{bundle.path}: {name}: {value} has shape {shapes.get(value)}, the manifest says {shape}"
            )
