"""The network of a bundle, in PyTorch again, to export it anew without the run that it came from.

The graphs hold embeddings summed, scaled and stacked; this takes them apart. What a sum does not say (which share of a
clock row's embedding is whose feature's) is chosen, since any choice gives the same sum. So the network is that of the
bundle but for rounding.
"""

from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from music.bundle import Bundle
from music.manifest import MANIFEST
from training.config import Config, config_of
from training.errors import ExportError
from training.graphs.weights import GATES, row_order
from training.model import MusicLSTM
from training.voices import SHARES, Voices

_PYTORCH_GATES: Final = ("i", "f", "g", "o")

Arrays = dict[str, NDArray[Any]]


def recipe(bundle: Bundle) -> Config:
    """The configuration that a bundle's network was made from.

    Raises:
        ExportError: the bundle does not say.
        ConfigurationError: what it says is no configuration.
    """
    tables = bundle.manifest.provenance.get("config")
    if not isinstance(tables, dict):
        raise ExportError(f"{bundle.path} does not say what its network was made from: export its run")
    return config_of(tables, f"{bundle.path / MANIFEST}: provenance.config")


def restored(bundle: Bundle) -> MusicLSTM:
    """The network whose graphs a bundle holds.

    Raises:
        ExportError: the bundle does not say what its network was made from.
        ConfigurationError: what it says is no configuration.
    """
    network = MusicLSTM(recipe(bundle).network, bundle.tokenizer)
    arrays = read_arrays(bundle)
    with torch.no_grad():
        _set(network.token.weight, arrays["rows_token"])
        _take_apart(network.clock, bundle.tokenizer.clock.features, arrays["rows_clock"])
        if "rows_grammar" in arrays:
            features = bundle.tokenizer.grammar.features
            assert features is not None
            _take_apart(network.grammar, features, arrays["rows_grammar"])
        for index, layer in enumerate(network.layers):
            _set(layer.input, _gates(arrays[f"input_{index}_viewed"], layer.input.shape))
            _set(layer.recurrent, _gates(arrays[f"recurrent_{index}_viewed"], layer.recurrent.shape))
            _set(layer.input_bias, _gates(arrays[f"bias_{index}_viewed"], layer.input_bias.shape))
            layer.recurrent_bias.zero_()
        vocabulary = network.vocabulary
        _set(network.output.weight, arrays["output"][:vocabulary])
        _set(network.output.bias, arrays["output_bias"][:vocabulary])
        if network.voices is not None:
            _restore_voices(network.voices, arrays, vocabulary)
    return network.eval()


def read_arrays(bundle: Bundle) -> Arrays:
    """The initializers of the graph that scores whole pieces, by their names."""
    model = onnx.load_model_from_string(bundle.read(bundle.manifest.graphs.score))
    files: dict[str, bytes] = {}
    for tensor in filter(uses_external_data, model.graph.initializer):
        # Not onnx's own reading, which refuses files that are links into a store.
        stored = ExternalDataInfo(tensor)
        if stored.location not in files:
            files[stored.location] = bundle.read(stored.location)
        start = stored.offset or 0
        end = None if stored.length is None else start + stored.length
        tensor.raw_data = files[stored.location][start:end]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _restore_voices(voices: Voices, arrays: Arrays, vocabulary: int) -> None:
    rows = np.empty_like(arrays["rows_voices"])
    rows[row_order(voices)] = arrays["rows_voices"]
    _set(voices.table.weight, rows)
    if voices.key is not None:
        _set(voices.key.weight, (arrays["key"] / np.float32(SHARES)).T)
    if voices.output is not None:
        _set(voices.output.weight, arrays["output"][vocabulary:])
        _set(voices.output.bias, arrays["output_bias"][vocabulary:])


def _take_apart(embeddings: torch.nn.ModuleList, features: NDArray[np.integer[Any]], summed: NDArray[Any]) -> None:
    """Embeddings whose sums over features (rows, features) are `summed` (rows, embedding): the smallest such."""
    tables = [embedding.weight for embedding in embeddings if isinstance(embedding, torch.nn.Embedding)]
    sizes = [len(table) for table in tables]
    chosen = np.concatenate([np.eye(size)[features[:, column]] for column, size in enumerate(sizes)], axis=1)
    solution = np.linalg.lstsq(chosen, summed.astype(np.float64), rcond=None)[0]
    for table, rows in zip(tables, np.split(solution, np.cumsum(sizes)[:-1]), strict=True):
        _set(table, rows)


def _gates(stacked: NDArray[Any], shape: torch.Size) -> NDArray[Any]:
    """Back from the order of `GATES` to PyTorch's, in the shape that PyTorch has."""
    parts = dict(zip(GATES, np.split(stacked.reshape(shape), len(GATES)), strict=True))
    return np.concatenate([parts[gate] for gate in _PYTORCH_GATES])


def _set(parameter: torch.Tensor, values: NDArray[Any]) -> None:
    parameter.copy_(torch.from_numpy(np.array(values, np.float32)))
