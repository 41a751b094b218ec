"""Bundles of any size, with weights that were drawn and not learned."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from music.bundle import Bundle, load_bundle
from music.bundle_files import file_sha256
from music.manifest import Defaults, Graphs, Manifest, Network, write_manifest
from training.config import NetworkConfig
from training.graphs import ARITHMETIC, Weights, decode_graph, prefill_graph
from training.model import MusicLSTM


def write_bundle(
    folder: Path, like: Bundle, layers: int, hidden: int, change: Callable[[MusicLSTM], None] = lambda model: None
) -> Bundle:
    """Write a bundle with the tokenizer of another, and so many layers and units; decode graphs of the longest chunk.

    Embeddings are half as wide as the layers. What else the network has (voices, skips) is what the other one's recipe
    says, or the defaults where it tells none. `change` may alter the weights before they are written.
    """
    recipe = like.manifest.provenance.get("config", {}).get("network", {})
    config = NetworkConfig(**recipe | {"layers": layers, "hidden": hidden, "embedding": hidden // 2})
    torch.manual_seed(0)
    model = MusicLSTM(config, like.tokenizer)
    change(model)
    weights = Weights(model, like.tokenizer, np.ones(config.embedding, np.float32))
    steps = like.chunk_sizes[-1]
    names = {precision: f"decode_{precision}.onnx" for precision in ARITHMETIC}
    graphs = {name: decode_graph(weights, steps, precision) for precision, name in names.items()}
    folder.mkdir(parents=True)
    weights.save(folder)
    read = {precision: f"prefill_{precision}.onnx" for precision in ARITHMETIC}
    graphs |= {name: prefill_graph(weights, precision) for precision, name in read.items()}
    graphs["score.onnx"] = prefill_graph(weights, scoring=True)
    for name, graph in graphs.items():
        (folder / name).write_bytes(graph.SerializeToString(deterministic=True))
    manifest = Manifest(
        name=f"{layers}x{hidden}",
        description="Weights drawn at random.",
        tokenizer=like.manifest.tokenizer,
        network=Network(
            layers=layers,
            hidden=hidden,
            vocabulary=like.network.vocabulary,
            clock_rows=like.network.clock_rows,
            grammar_states=like.network.grammar_states,
            registers=model.voices.voicing.size if model.voices is not None else 0,
            parameters=model.parameter_count,
        ),
        graphs=Graphs(
            prefill=read["float32"],
            prefill_int8=read["int8"],
            score="score.onnx",
            decode={steps: names["float32"]},
            decode_int8={steps: names["int8"]},
        ),
        defaults=Defaults(),
        max_steps=like.max_steps,
        provenance={},
        metrics={},
        files={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
    )
    write_manifest(folder, manifest)
    return load_bundle(folder)
