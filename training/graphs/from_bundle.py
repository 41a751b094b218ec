"""Loads the network of a bundle into PyTorch, to export it again without its run.

The graphs hold embeddings summed, scaled and stacked; this takes them apart. A sum over features does not say how much
each feature contributes. Any contributions with the same sum will do, so the network equals that of the bundle except
for rounding.
"""

from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from music.bundle import Bundle
from music.graph_names import POSITION_EMBEDDING
from music.manifest import MANIFEST
from training.config import Config, parse_config
from training.errors import ExportError
from training.graphs.builder import VIEWED
from training.graphs.note_rows import output_rows
from training.graphs.weights import GATES, voice_row_order
from training.network.model import MusicLSTM
from training.network.note_layers import SHARE_SCALE, NoteLayers
from training.network.voice_layers import PROFILE_SCALE, VoiceLayers

_PYTORCH_GATES: Final = ("i", "f", "g", "o")

Arrays = dict[str, NDArray[Any]]


def bundle_config(bundle: Bundle) -> Config:
    """The configuration of a bundle's network, from its provenance.

    Raises:
        ExportError: the bundle has none.
        ConfigurationError: it is not valid.
    """
    tables = bundle.manifest.provenance.get("config")
    if not isinstance(tables, dict):
        raise ExportError(f"{bundle.path} holds no configuration of its network: export its run instead")
    return parse_config(tables, f"{bundle.path / MANIFEST}: provenance.config")


def network_from_bundle(bundle: Bundle) -> MusicLSTM:
    """The network of a bundle, in evaluation mode.

    Raises:
        ExportError: the bundle holds no configuration.
        ConfigurationError: the configuration is not valid.
    """
    network = MusicLSTM(bundle_config(bundle).network, bundle.tokenizer)
    arrays = read_initializers(bundle)
    with torch.no_grad():
        _set(network.token.weight, arrays["rows_token"])
        _set_features(network.position, bundle.tokenizer.positions.features, arrays[POSITION_EMBEDDING])
        if "rows_grammar" in arrays:
            ends = np.cumsum(bundle.tokenizer.grammar.feature_sizes)[:-1]
            for weight, values in zip(
                network.grammar.parameters(), np.split(arrays["rows_grammar"], ends), strict=True
            ):
                _set(weight, values)
        for index, embedding in enumerate(network.remaining):
            assert isinstance(embedding, torch.nn.Embedding)
            _set(embedding.weight, arrays[f"rows_remaining_{index}"])
        for index, layer in enumerate(network.layers):
            _set(layer.input, _reorder_gates(_viewed(arrays, f"input_{index}"), layer.input.shape))
            _set(layer.recurrent, _reorder_gates(_viewed(arrays, f"recurrent_{index}"), layer.recurrent.shape))
            _set(layer.input_bias, _reorder_gates(_viewed(arrays, f"bias_{index}"), layer.input_bias.shape))
            layer.recurrent_bias.zero_()
        vocabulary = network.vocabulary
        _set(network.output.weight, arrays["output"][:vocabulary])
        _set(network.output.bias, arrays["output_bias"][:vocabulary])
        if network.voices is not None:
            _set_voices(network.voices, arrays, vocabulary)
        if network.notes is not None:
            _set_notes(network.notes, arrays, vocabulary)
    return network.eval()


def weights_from_bundle(bundle: Bundle) -> Arrays:
    """The arrays of all graphs of a bundle, by the names of `Weights`."""
    arrays: Arrays = {}
    for name in sorted(bundle.manifest.graphs.names):
        arrays |= {array.removesuffix(VIEWED): values for array, values in read_initializers(bundle, name).items()}
    return arrays


def read_initializers(bundle: Bundle, name: str | None = None) -> Arrays:
    """The initializers of one of a bundle's graphs, by name; by default of a graph in float32."""
    graphs = bundle.manifest.graphs
    model = onnx.load_model_from_string(bundle.read(name or graphs.score or graphs.decode[min(graphs.decode)]))
    files: dict[str, bytes] = {}
    for tensor in filter(uses_external_data, model.graph.initializer):
        # onnx's own reader refuses symbolic links.
        stored = ExternalDataInfo(tensor)
        if stored.location not in files:
            files[stored.location] = bundle.read(stored.location)
        start = stored.offset or 0
        end = None if stored.length is None else start + stored.length
        tensor.raw_data = files[stored.location][start:end]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _set_voices(voices: VoiceLayers, arrays: Arrays, vocabulary: int) -> None:
    rows = np.empty_like(arrays["rows_voices"])
    rows[voice_row_order(voices)] = arrays["rows_voices"]
    _set(voices.table.weight, rows)
    if voices.key is not None:
        _set(voices.key.weight, (arrays["key"] / np.float32(PROFILE_SCALE)).T)
    if voices.output is not None:
        _set(voices.output.weight, arrays["output"][vocabulary:])
        _set(voices.output.bias, arrays["output_bias"][vocabulary:])


def _viewed(arrays: Arrays, name: str) -> NDArray[Any]:
    """An array that some graphs view in another shape."""
    return arrays[name + VIEWED] if name + VIEWED in arrays else arrays[name]


def _set_notes(notes: NoteLayers, arrays: Arrays, vocabulary: int) -> None:
    _set(notes.table.weight, arrays["rows"][-len(notes.table.weight) :])  # the graphs read them as part of all rows
    _set(notes.window.weight, arrays["note_window"].T)
    _set(notes.profile.weight, (arrays["note_shares"] / np.float32(SHARE_SCALE)).T)
    _set(notes.trust.weight, arrays["note_trust"][:, None])
    rows = output_rows(notes)
    ends = np.cumsum([layer.out_features for layer, _ in notes.masked_outputs])
    places = np.full(ends[-1], rows.argmin())  # a row of zeros, for outputs that no graph needs
    places[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    places += vocabulary
    for (layer, _), own in zip(notes.masked_outputs, np.split(places, ends[:-1]), strict=True):
        _set(layer.weight, arrays["output"][own])
        _set(layer.bias, arrays["output_bias"][own])


def _set_features(embeddings: torch.nn.ModuleList, features: NDArray[np.integer[Any]], summed: NDArray[Any]) -> None:
    """Set embeddings whose sums over `features` (rows, features) are `summed` (rows, embedding): the smallest ones."""
    tables = [embedding.weight for embedding in embeddings if isinstance(embedding, torch.nn.Embedding)]
    sizes = [len(table) for table in tables]
    chosen = np.concatenate([np.eye(size)[features[:, column]] for column, size in enumerate(sizes)], axis=1)
    solution = np.linalg.lstsq(chosen, summed.astype(np.float64), rcond=None)[0]
    for table, rows in zip(tables, np.split(solution, np.cumsum(sizes)[:-1]), strict=True):
        _set(table, rows)


def _reorder_gates(stacked: NDArray[Any], shape: torch.Size) -> NDArray[Any]:
    """Reorder gates from `GATES` to PyTorch's order, in PyTorch's shape."""
    parts = dict(zip(GATES, np.split(stacked.reshape(shape), len(GATES)), strict=True))
    return np.concatenate([parts[gate] for gate in _PYTORCH_GATES])


def _set(parameter: torch.Tensor, values: NDArray[Any]) -> None:
    parameter.copy_(torch.from_numpy(np.array(values, np.float32)))
