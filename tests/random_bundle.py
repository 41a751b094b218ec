"""Bundles of any size with random weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from music.bundle import Bundle, load_bundle
from music.bundle_files import file_sha256
from music.manifest import Defaults, Graphs, Manifest, Network, TokenizerEntry, write_manifest
from music.tokenizers import Tokenizer
from runtime.precision import Precision
from training.config import NetworkConfig, load_config
from training.graphs import ARITHMETIC, Weights, decode_graph, prefill_graph
from training.network.model import MusicLSTM


def write_bundle(
    folder: Path, like: Bundle, layers: int, hidden: int, change: Callable[[MusicLSTM], None] = lambda model: None
) -> Bundle:
    """Write a bundle with the tokenizer of another, and decode graphs for its longest chunk.

    Args:
        folder: where to write it; it must not exist.
        like: the bundle whose tokenizer and network options (voices, skips) it gets.
        layers: LSTM layers.
        hidden: units of a layer; embeddings are half as wide.
        change: alters the weights before they are written.
    """
    recipe = like.manifest.provenance.get("config", {}).get("network", {})
    config = NetworkConfig(**recipe | {"layers": layers, "hidden": hidden, "embedding": hidden // 2})
    torch.manual_seed(0)
    model = MusicLSTM(config, like.tokenizer)
    change(model)
    weights = Weights(model, like.tokenizer, np.ones(config.embedding, np.float32))
    # Without prefill graphs, given tokens are read by a graph of one step.
    chunks = {like.chunk_sizes[-1]} | (set() if model.notes is None else {1})
    names = {
        precision: {steps: f"decode_{precision}_{steps}.onnx" for steps in sorted(chunks)} for precision in ARITHMETIC
    }
    graphs = {
        name: decode_graph(weights, steps, precision) for precision in names for steps, name in names[precision].items()
    }
    read: dict[Precision, str] = {}
    if model.notes is None:
        read = {precision: f"prefill_{precision}.onnx" for precision in ARITHMETIC}
        graphs |= {name: prefill_graph(weights, precision) for precision, name in read.items()}
        graphs["score.onnx"] = prefill_graph(weights, scoring=True)
    folder.mkdir(parents=True)
    weights.save(folder)
    for name, graph in graphs.items():
        (folder / name).write_bytes(graph.SerializeToString(deterministic=True))
    manifest = Manifest(
        name=f"{layers}x{hidden}",
        description="Random weights.",
        tokenizer=like.manifest.tokenizer,
        network=Network(
            layers=layers,
            hidden=hidden,
            vocabulary=like.network.vocabulary,
            position_count=like.network.position_count,
            grammar_states=like.network.grammar_states,
            voice_state_size=model.voices.tracker.size if model.voices is not None else 0,
            note_state_size=model.notes.tracker.size if model.notes is not None else 0,
            length_input=config.length_input,
            parameters=model.parameter_count,
        ),
        graphs=Graphs(
            prefill=read.get("float32"),
            prefill_int8=read.get("int8"),
            score="score.onnx" if read else None,
            decode=names["float32"],
            decode_int8=names["int8"],
        ),
        defaults=Defaults(),
        max_steps=like.max_steps,
        provenance={"config": load_config("smoke").model_copy(update={"network": config}).model_dump(mode="json")},
        metrics={},
        files={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
    )
    write_manifest(folder, manifest)
    return load_bundle(folder)


def with_tokenizer(bundle: Bundle, tokenizer: Tokenizer) -> Bundle:
    """The bundle without files, with the manifest of another tokenizer."""
    entry = TokenizerEntry(
        name=tokenizer.name, version=tokenizer.version, parameters=tokenizer.parameters, hash=tokenizer.hash
    )
    network = bundle.manifest.network.model_copy(
        update={
            "vocabulary": tokenizer.vocabulary_size,
            "position_count": len(tokenizer.positions),
            "grammar_states": len(tokenizer.grammar.allowed),
        }
    )
    recipe = {"config": {"network": dict.fromkeys(("dropout_input", "dropout_between", "dropout_output"), 0.0)}}
    manifest = bundle.manifest.model_copy(
        update={"tokenizer": entry, "network": network, "max_steps": 160, "provenance": recipe}
    )
    return Bundle(bundle.path, manifest, bundle.digest, tokenizer)
