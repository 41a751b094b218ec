"""Writes a network as an ONNX bundle, and checks the graphs against PyTorch."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from music.remaining_length import UNKNOWN
from music.tokenizers import Tokenizer
from runtime.host_runner import HostRunner
from runtime.philox import first_uniforms
from runtime.precision import Precision
from runtime.runner import Chunk
from runtime.scorer import Scorer
from training.bundle_targets import check_target
from training.config import Config
from training.curves import CURVES, draw_curves
from training.errors import ExportError
from training.evaluation.decode_scoring import DecodeScorer
from training.graphs import ARITHMETIC, Weights, decode_graph, prefill_graph
from training.loop.hardware import usable_threads
from training.loop.history import HISTORY, read_history
from training.loop.tbptt import EncodedPiece, with_notes
from training.network.inputs import model_inputs
from training.network.model import MusicLSTM

CHUNK_SIZES: Final = (1, 4, 8, 16)
"""Steps of the decode graphs."""
_DRAFT_CHUNK_SIZES: Final = (1, 8)
_SCORE: Final = "score.onnx"
_SAMPLED_ROWS: Final = 4
_CHECKED_TOKENS: Final = 2048
_SAMPLED_TOKENS: Final = 200_000
_MIN_EMBEDDING_SCALE: Final = 1e-3
TOLERANCE: Final = 1e-4
"""Largest allowed difference between a logit of a graph and of PyTorch."""


def write_bundle(
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
    train: Sequence[EncodedPiece] = (),
    exact: Mapping[str, NDArray[Any]] | None = None,
) -> Bundle:
    """Write a network as a bundle at `target`, in place of a bundle that is there.

    Args:
        model: in evaluation mode.
        target: directory of the bundle.
        name: of the model.
        config: of the network.
        tokenizer: of the network.
        history: `history.csv` of the training; it need not exist.
        check: pieces on which graphs and PyTorch must agree. If they do not, nothing is written.
        measure: returns the metrics of the finished bundle for its manifest.
        provenance: of the network, for the manifest.
        train: pieces that give the range of the embeddings, from which int8 takes its scale. By default `check`.
        exact: arrays of an earlier export of this network, to take over bit by bit.

    Raises:
        ExportError: the graphs do not agree with PyTorch, or `target` holds something other than a bundle.
    """
    check_target(target, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        weights = Weights(model, tokenizer, _embedding_scale(model, tokenizer, train or check))
        weights.adopt(exact or {})
        graphs = _write_graphs(weights, folder, config.bundle.closing_temperature)
        _write_curves(history, folder)
        manifest = _manifest(
            model,
            folder,
            graphs,
            name=name,
            config=config,
            tokenizer=tokenizer,
            provenance={
                **provenance,
                "config": config.model_dump(mode="json"),
                "versions": {package: version(package) for package in ("torch", "onnx", "numpy")}
                | {"python": ".".join(map(str, sys.version_info[:3]))},
            },
        )
        write_manifest(folder, manifest)
        bundle = load_bundle(folder)
        threads = usable_threads()
        scorers: list[Scorer | DecodeScorer] = [DecodeScorer(bundle, "float32", threads=threads)]
        scorers += [] if graphs.score is None else [Scorer(bundle, threads=threads)]
        check_agreement(model, tokenizer, scorers, check)
        _check_samples(bundle)
        write_manifest(folder, manifest.model_copy(update={"metrics": measure(bundle)}))
        if target.exists():
            target.replace(Path(scratch) / "replaced")  # deleted with the scratch folder
        folder.replace(target)
    return load_bundle(target)


def write_draft(model: MusicLSTM, folder: Path, *, name: str, config: Config, tokenizer: Tokenizer) -> Bundle:
    """Write a network as a bundle that only samples: a few decode graphs in float32, unchecked and unmeasured.

    Args:
        model: on the CPU, in evaluation mode.
        folder: empty.
        name: of the model.
        config: of the network.
        tokenizer: of the network.
    """
    weights = Weights(model, tokenizer)
    decode = {steps: f"decode_{steps}.onnx" for steps in _DRAFT_CHUNK_SIZES}
    files = {
        file: decode_graph(weights, steps, "float32", closing_temperature=config.bundle.closing_temperature)
        for steps, file in decode.items()
    }
    weights.save(folder)  # with the tables that the graphs have added
    for file, graph in files.items():
        (folder / file).write_bytes(graph.SerializeToString(deterministic=True))
    manifest = _manifest(
        model, folder, Graphs(decode=decode), name=name, config=config, tokenizer=tokenizer, provenance={}
    )
    write_manifest(folder, manifest)
    return load_bundle(folder)


def _manifest(
    model: MusicLSTM,
    folder: Path,
    graphs: Graphs,
    *,
    name: str,
    config: Config,
    tokenizer: Tokenizer,
    provenance: dict[str, Any],
) -> Manifest:
    """The manifest of the files in a folder, without metrics."""
    return Manifest(
        name=name,
        description=config.bundle.description,
        tokenizer=TokenizerEntry(
            name=tokenizer.name, version=tokenizer.version, parameters=tokenizer.parameters, hash=tokenizer.hash
        ),
        network=Network(
            layers=config.network.layers,
            hidden=config.network.hidden,
            vocabulary=tokenizer.vocabulary_size,
            position_count=len(tokenizer.positions),
            grammar_states=len(tokenizer.grammar.allowed),
            voice_state_size=model.voices.tracker.size if model.voices is not None else 0,
            note_state_size=model.notes.tracker.size if model.notes is not None else 0,
            length_input=config.network.length_input,
            parameters=model.parameter_count,
        ),
        graphs=graphs,
        defaults=Defaults(**config.bundle.model_dump(include=set(Defaults.model_fields))),
        max_steps=config.bundle.max_steps,
        provenance=provenance,
        metrics={},
        files={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
    )


def _write_graphs(weights: Weights, folder: Path, closing_temperature: float) -> Graphs:
    names = {
        precision: {steps: f"decode_{precision}_{steps}.onnx" for steps in CHUNK_SIZES} for precision in ARITHMETIC
    }
    files = {
        name: decode_graph(weights, steps, precision, closing_temperature=closing_temperature)
        for precision, graphs in names.items()
        for steps, name in graphs.items()
    }
    prefill: dict[Precision, str] = {}
    if weights.notes is None:
        prefill = {precision: f"prefill_{precision}.onnx" for precision in ARITHMETIC}
        files |= {name: prefill_graph(weights, precision) for precision, name in prefill.items()}
        files[_SCORE] = prefill_graph(weights, scoring=True)
    weights.save(folder)  # with the tables that the graphs have added
    for name, graph in files.items():
        (folder / name).write_bytes(graph.SerializeToString(deterministic=True))
        onnx.checker.check_model(folder / name, full_check=True)
    return Graphs(
        prefill=prefill.get("float32"),
        prefill_int8=prefill.get("int8"),
        score=_SCORE if prefill else None,
        decode=names["float32"],
        decode_int8=names["int8"],
    )


def _embedding_scale(model: MusicLSTM, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece]) -> NDArray[np.float32]:
    """The greatest magnitude of each number of the summed embeddings over the pieces, (embedding,)."""
    scale = np.full(model.config.embedding, _MIN_EMBEDDING_SCALE, np.float32)
    if model.notes is not None:  # their features take long to compute
        pieces = with_notes(_sampled(pieces), tokenizer)
    for piece in pieces:
        known = [tokenizer.remaining_length.of_piece(piece.tokens)] if model.config.length_input else []
        for remaining in (UNKNOWN, *known):
            inputs = model_inputs(piece.tokens, piece.first_position, tokenizer, remaining=remaining, notes=piece.notes)
            with torch.inference_mode():
                embedded = model.embedding(inputs.map(lambda array: torch.from_numpy(array)[:, None]))
            scale = np.maximum(scale, embedded.abs().amax((0, 1)).numpy())
    return scale


def _sampled(pieces: Sequence[EncodedPiece]) -> Sequence[EncodedPiece]:
    """Every k-th piece, so that they have about `_SAMPLED_TOKENS` tokens."""
    tokens = sum(len(piece.tokens) for piece in pieces)
    return pieces[:: max(1, round(tokens / _SAMPLED_TOKENS))]


def _write_curves(history: Path, folder: Path) -> None:
    records = read_history(history)
    if records:
        shutil.copyfile(history, folder / HISTORY)
        draw_curves(records, folder / CURVES)


def _check_samples(bundle: Bundle) -> None:
    """Check that every decode graph can be loaded and samples tokens that the grammar accepts.

    Raises:
        ExportError: a graph samples a forbidden token.
    """
    for precision in ARITHMETIC:
        runner = HostRunner(bundle, slots=_SAMPLED_ROWS, provider="cpu", precision=precision)
        for steps in runner.chunk_sizes:
            for slot in range(_SAMPLED_ROWS):
                runner.reset(slot, position_index=0)
            tokens = runner.decode(_chunk(bundle, steps)).tokens
            if not all(bundle.tokenizer.grammar.accepts(row) for row in tokens):
                raise ExportError(f"the {precision} graph of {steps} steps samples tokens that the grammar forbids")


def _chunk(bundle: Bundle, steps: int) -> Chunk:
    """Inputs that sample every token from the whole distribution."""
    rows = _SAMPLED_ROWS
    return Chunk(
        rows=np.arange(rows),
        uniforms=first_uniforms(range(rows), steps),
        forced=np.full((rows, steps), -1, np.int64),
        temperature=np.ones(rows, np.float32),
        top_k=np.zeros(rows, np.int64),
        top_p=np.ones(rows, np.float32),
        bias=np.zeros((1, bundle.network.vocabulary), np.float32),
        bias_index=np.zeros((rows, steps), np.int64),
    )


def check_agreement(
    model: MusicLSTM,
    tokenizer: Tokenizer,
    scorers: Sequence[Scorer | DecodeScorer],
    pieces: Sequence[EncodedPiece],
) -> None:
    """Compare the logits of whole pieces from PyTorch and from a bundle's graphs.

    Args:
        model: in PyTorch.
        tokenizer: of the model.
        scorers: run the graphs.
        pieces: to compare on, the first `_CHECKED_TOKENS` tokens of each.

    Raises:
        ExportError: they differ by more than `TOLERANCE`.
    """
    worst = 0.0
    for index, piece in enumerate(pieces):
        remaining = UNKNOWN if index % 2 else tokenizer.remaining_length.of_piece(piece.tokens)
        tokens = piece.tokens[:_CHECKED_TOKENS]
        inputs = model_inputs(tokens, piece.first_position, tokenizer, remaining=remaining)
        with torch.inference_mode():
            expected, _ = model(inputs.map(lambda array: torch.from_numpy(array)[:, None]), model.zero_state(1))
        for scorer in scorers:
            (logits,) = scorer.logits([tokens], [piece.first_position], [remaining])
            worst = max(worst, float(np.abs(logits - expected[:, 0].numpy()).max()))
    if not worst <= TOLERANCE:
        raise ExportError(f"graph and PyTorch differ by {worst:.2e} in a logit; at most {TOLERANCE:.0e} is allowed")
