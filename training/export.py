"""A trained network as an ONNX bundle, checked against PyTorch before it is called one."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from music.bundle import Bundle, load_bundle
from music.bundle_files import file_sha256
from music.manifest import Defaults, Graphs, Manifest, Network, TokenizerEntry, write_manifest
from music.tokenizers import Tokenizer
from server.engine.batch import Batch
from server.engine.onnx_runner import OnnxRunner, OnnxScorer
from server.engine.request import EngineRequest
from training.batches import EncodedPiece, model_inputs
from training.config import Config
from training.curves import CURVES, draw_curves
from training.decoded import DecodeScorer
from training.errors import ExportError
from training.graphs import ARITHMETIC, Weights, decode_graph, prefill_graph
from training.history import HISTORY, read_history
from training.model import MusicLSTM
from training.targets import check_target
from training.threads import usable_threads

CHUNK_SIZES: Final = (1, 4, 8, 16)
_SAMPLED_ROWS: Final = 4
_LEAST_REACH: Final = 1e-3
TOLERANCE: Final = 1e-4
"""Largest difference between a logit of the graph and the same logit of PyTorch."""


def export(
    model: MusicLSTM,
    target: Path,
    *,
    name: str,
    config: Config,
    tokenizer: Tokenizer,
    history: Path,
    check: Sequence[EncodedPiece],
    measure: Callable[[Bundle], dict[str, float]],
    provenance: dict[str, Any],
    known: Sequence[EncodedPiece] = (),
) -> Bundle:
    """Write a network as a bundle at `target`, replacing a bundle that is there.

    Args:
        model: in evaluation.
        target: the bundle's directory.
        name: of the model.
        config: what it was made from.
        tokenizer: whose tokens it writes.
        history: what its training recorded; need not be there.
        check: pieces over which graph and PyTorch must agree; nothing is left at `target` if they do not.
        measure: takes the finished bundle and says the metrics for its manifest.
        provenance: of the network, for the manifest.
        known: pieces that say how far the embeddings' sums reach, from which int8 takes its scale: those of the
            training, or `check` if there are none.

    Raises:
        ExportError: the graphs do not agree with PyTorch, or `target` is something else than a bundle.
    """
    check_target(target, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        graphs = _write_graphs(model, tokenizer, folder, known or check)
        _write_curves(history, folder)
        manifest = Manifest(
            name=name,
            description=config.bundle.description,
            tokenizer=TokenizerEntry(
                name=tokenizer.name, version=tokenizer.version, parameters=tokenizer.parameters, hash=tokenizer.hash
            ),
            network=Network(
                layers=config.network.layers,
                hidden=config.network.hidden,
                vocabulary=tokenizer.vocabulary_size,
                clock_rows=len(tokenizer.clock.successor),
                grammar_states=len(tokenizer.grammar.allowed),
                registers=model.voices.voicing.size if model.voices is not None else 0,
                parameters=model.parameter_count,
            ),
            graphs=graphs,
            defaults=Defaults(**config.bundle.model_dump(include=set(Defaults.model_fields))),
            max_steps=config.bundle.max_steps,
            provenance={
                **provenance,
                "config": config.model_dump(mode="json"),
                "versions": {package: version(package) for package in ("torch", "onnx", "numpy")}
                | {"python": ".".join(map(str, sys.version_info[:3]))},
            },
            metrics={},
            files={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        )
        write_manifest(folder, manifest)
        bundle = load_bundle(folder)
        check_agreement(model, tokenizer, bundle, check)
        _sample(bundle)
        write_manifest(folder, manifest.model_copy(update={"metrics": measure(bundle)}))
        if target.exists():
            target.replace(Path(scratch) / "replaced")  # goes with the scratch folder, once the new one stands
        folder.replace(target)
    return load_bundle(target)


def _write_graphs(model: MusicLSTM, tokenizer: Tokenizer, folder: Path, known: Sequence[EncodedPiece]) -> Graphs:
    weights = Weights(model, tokenizer, _reach(model, tokenizer, known))
    weights.save(folder)
    names = {
        precision: {steps: f"decode_{precision}_{steps}.onnx" for steps in CHUNK_SIZES} for precision in ARITHMETIC
    }
    files = {
        name: decode_graph(weights, steps, precision)
        for precision, graphs in names.items()
        for steps, name in graphs.items()
    }
    read = {precision: f"prefill_{precision}.onnx" for precision in ARITHMETIC}
    files |= {name: prefill_graph(weights, precision) for precision, name in read.items()}
    files["score.onnx"] = prefill_graph(weights, scoring=True)
    for name, graph in files.items():
        (folder / name).write_bytes(graph.SerializeToString(deterministic=True))
        onnx.checker.check_model(folder / name, full_check=True)
    return Graphs(
        prefill=read["float32"],
        prefill_int8=read["int8"],
        score="score.onnx",
        decode=names["float32"],
        decode_int8=names["int8"],
    )


def _reach(model: MusicLSTM, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece]) -> NDArray[np.float32]:
    """The greatest magnitude that each number of the summed embeddings comes to over the pieces, (embedding,)."""
    reach = np.full(model.config.embedding, _LEAST_REACH, np.float32)
    for piece in pieces:
        inputs = model_inputs(piece.tokens, piece.clock_start, tokenizer)
        with torch.inference_mode():
            said = model.embedding(*(torch.from_numpy(array)[:, None] for array in inputs))
        reach = np.maximum(reach, said.abs().amax((0, 1)).numpy())
    return reach


def _write_curves(history: Path, folder: Path) -> None:
    records = read_history(history)
    if records:
        shutil.copyfile(history, folder / HISTORY)
        draw_curves(records, folder / CURVES)


def _sample(bundle: Bundle) -> None:
    """Every decode graph must load and draw tokens that the grammar accepts."""
    for precision in ARITHMETIC:
        runner = OnnxRunner(bundle, slots=_SAMPLED_ROWS, provider="cpu", precision=precision)
        for steps in runner.chunk_sizes:
            batch = Batch(runner)
            for slot in range(_SAMPLED_ROWS):
                batch.join(slot, EngineRequest(seed=slot, max_tokens=steps))
                runner.reset(slot, clock_row=0)
            batch.turn()
            tokens = runner.decode(batch.chunk(steps))
            if not all(bundle.tokenizer.grammar.accepts(row) for row in tokens):
                raise ExportError(f"the {precision} graph of {steps} steps draws tokens that the grammar forbids")


def check_agreement(model: MusicLSTM, tokenizer: Tokenizer, bundle: Bundle, pieces: Sequence[EncodedPiece]) -> None:
    """Hold logits of whole pieces against those of a bundle's graph that reads and of the one that writes.

    Raises:
        ExportError: they differ by more than `TOLERANCE`.
    """
    threads = usable_threads()
    scorers = OnnxScorer(bundle, threads=threads), DecodeScorer(bundle, "float32", threads=threads)
    worst = 0.0
    for piece in pieces:
        inputs = model_inputs(piece.tokens, piece.clock_start, tokenizer)
        with torch.inference_mode():
            expected, _ = model(*(torch.from_numpy(array)[:, None] for array in inputs), model.zero_state(1))
        for scorer in scorers:
            (logits,) = scorer.logits([piece.tokens], [piece.clock_start])
            worst = max(worst, float(np.abs(logits - expected[:, 0].numpy()).max()))
    if not worst <= TOLERANCE:
        raise ExportError(f"graph and PyTorch differ by {worst:.2e} in a logit; at most {TOLERANCE:.0e} is allowed")
