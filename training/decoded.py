"""What the decode graphs themselves say: logits of pieces that are told to them token by token."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from music.bundle import Bundle
from server.engine.onnx_runner import initial_state, open_session
from server.engine.precision import Precision, decode_graphs

_LOGITS: Final = "logits_{}"


class DecodeScorer:
    """The longest decode graph with its logits as outputs; it scores what is really served, int8 included.

    Every token is forced, so the graph draws nothing that matters.
    """

    def __init__(self, bundle: Bundle, precision: Precision, *, threads: int = 0) -> None:
        self._bundle = bundle
        graphs = decode_graphs(bundle, precision)
        self._steps = max(graphs)
        model = onnx.load_model_from_string(bundle.read(graphs[self._steps]))
        shape = ("batch", bundle.network.vocabulary)
        self._outputs = [_LOGITS.format(step) for step in range(self._steps)]
        model.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in self._outputs
        )
        self._session = open_session(
            bundle, graphs[self._steps], provider="cpu", threads=threads, changed=model.SerializeToString()
        )

    def logits(
        self, tokens: Sequence[NDArray[np.integer[Any]]], clock_starts: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        """See `OnnxScorer.logits`."""
        network, width = self._bundle.network, len(tokens)
        longest = max(map(len, tokens))
        chunks = -(-longest // self._steps)
        forced = np.zeros((width, chunks * self._steps), np.int64)  # what comes after the end is not looked at
        for row, piece in enumerate(tokens):
            forced[row, : len(piece)] = piece
        state: dict[str, NDArray[Any]] = {
            name: np.stack([value] * width) for name, value in initial_state(self._bundle).items()
        }
        state["clock"] = np.array(clock_starts, np.int64)
        state |= {name: np.zeros((network.layers, width, network.hidden), np.float32) for name in ("h", "c")}
        settings = {
            "uniforms": np.zeros((width, self._steps), np.float32),
            "temperature": np.ones(width, np.float32),
            "top_k": np.zeros(width, np.int64),
            "top_p": np.ones(width, np.float32),
            "allowed": np.ones((width, network.vocabulary), np.bool_),
        }
        parts = []
        for first in range(0, forced.shape[1], self._steps):
            now = {"forced": np.ascontiguousarray(forced[:, first : first + self._steps])}
            names = (*self._outputs, *(f"{name}_next" for name in state))
            results = self._session.run(names, {**state, **settings, **now})
            parts.extend(results[: self._steps])
            state = dict(zip(state, results[self._steps :], strict=True))
        logits = np.stack(parts, axis=1)
        return [logits[row, : len(piece)] for row, piece in enumerate(tokens)]
