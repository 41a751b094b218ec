"""Fine-tuning: start a training from a shipped bundle, or from another run, on a small corpus.

Tokenizer and network are those of the model. Its dropout and its transpositions stay, since a small corpus needs them
even more. Only the schedule is another: a lower learning rate, a short warm-up, few epochs. The weights of a bundle
contain its logit scale; the training starts from them as they are, and scales the logits anew at its end.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch

from music.bundle import load_bundle
from music.errors import plain_text
from music.manifest import MANIFEST, OLDEST_VERSION
from music.tokenizers import Tokenizer
from training.auto_config import estimate_tokens, sample_scores
from training.bundle_writer import check_agreement
from training.config import Config, parse_config
from training.corpus.store import Corpus, Split, read_metadata
from training.errors import ConfigurationError, CorpusError, StartingPointError
from training.evaluation.decode_scoring import graph_scorer
from training.graphs.from_bundle import bundle_config, network_from_bundle
from training.loop.checkpoint import load_run_weights
from training.loop.learner import StartingWeights
from training.loop.tbptt import EncodedPiece
from training.model_card import TUNED_FROM, card_notices
from training.network.model import MusicLSTM
from training.run import DIGEST, RUN_FILE, Run, StartingPoint

_FIXED_TABLES: Final = ("network", "tokenizer")
_DESCRIPTION_CHARACTERS: Final = 500
_RATE_SHARE: Final = 0.05
"""Highest learning rate, as a share of the model's own."""
_EPOCHS: Final = 16
_PATIENCE: Final = 4
_MIN_UPDATES: Final = 30
"""Updates per epoch that the batch size leaves, if the corpus is large enough."""
_MIN_BATCH: Final = 4
_WARMUP_UPDATES: Final = 50
_CHECKED_TOKENS: Final = 64


def load_starting_point(path: Path) -> StartingPoint:
    """Load the model in a bundle or a run, of which the best checkpoint is taken.

    Raises:
        StartingPointError: there is no bundle or run, or its weights do not fit this version's network.
        BundleError: the bundle is damaged, or has an unknown format version.
        CheckpointError: the run has no checkpoint, or is damaged.
        ExportError: the bundle does not hold its configuration, or its graphs do not agree with PyTorch.
        ConfigurationError: the configuration in the bundle is not valid.
    """
    if (path / MANIFEST).exists():
        return _from_bundle(path)
    if (path / RUN_FILE).exists():
        return _from_run(path)
    missing = "there is nothing at" if not path.exists() else "there is no bundle and no run in"
    raise StartingPointError(f"--from {path}: {missing} this path; give a bundle such as models/folk, or a run folder")


def _from_bundle(path: Path) -> StartingPoint:
    bundle = load_bundle(path, oldest_version=OLDEST_VERSION)
    config = bundle_config(bundle)
    try:
        network = network_from_bundle(bundle)
    except (LookupError, ValueError, RuntimeError) as error:  # an array is missing or has another shape
        raise StartingPointError(f"--from {path}: its graphs lack weights of its network: {error}") from error
    check_agreement(network, bundle.tokenizer, [graph_scorer(bundle, threads=1)], [_example(bundle.tokenizer)])
    provenance = bundle.manifest.provenance
    entry = {
        "name": bundle.name,
        DIGEST: bundle.digest,
        "description": bundle.description,
        "corpus": provenance.get("corpus"),
        "notices": card_notices(path),
    } | ({TUNED_FROM: provenance[TUNED_FROM]} if TUNED_FROM in provenance else {})
    weights = StartingWeights(network.state_dict(), bundle.digest)
    return StartingPoint(path, config, bundle.tokenizer, weights, entry)


def _from_run(path: Path) -> StartingPoint:
    run = Run.load(path)
    trained = load_run_weights(path)
    network = MusicLSTM(run.config.network, run.tokenizer)
    try:
        network.load_state_dict(trained.weights)
    except RuntimeError as error:
        raise StartingPointError(f"--from {path}: its checkpoint has another network: {error}") from error
    digest = _digest(network.state_dict())
    try:
        corpus = {"source": read_metadata(run.corpus_path).source}
    except CorpusError:  # it has moved
        corpus = None
    entry = {
        "name": path.resolve().name,
        DIGEST: digest,
        "description": run.config.bundle.description,
        "corpus": corpus,
        "notices": None,
    } | ({} if run.started_from is None else {TUNED_FROM: run.started_from})
    return StartingPoint(path, run.config, run.tokenizer, StartingWeights(network.state_dict(), digest), entry)


def _example(tokenizer: Tokenizer) -> EncodedPiece:
    """Some tokens that the grammar accepts, on which the graphs of a bundle are compared with PyTorch."""
    random, grammar = np.random.default_rng(1), tokenizer.grammar
    tokens: list[int] = []
    state = grammar.joint_start
    while len(tokens) < _CHECKED_TOKENS:
        legal = np.flatnonzero(grammar.joint_allowed(state))
        others = legal[legal != tokenizer.end_token]
        if not others.size:
            break
        tokens.append(int(random.choice(others)))
        state = grammar.joint_successor(state, tokens[-1])
    first = tokenizer.positions.start(tokenizer.positions.meters[0])
    return EncodedPiece("example", np.array(tokens, np.int32), first, first)


def _digest(weights: Mapping[str, torch.Tensor]) -> str:
    """sha256 of the weights, in hex."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def check_start_folder(path: Path, *outputs: Path) -> None:
    """Check that a model is not tuned into its own folder.

    Raises:
        StartingPointError: the folder of the model is one of the outputs.
    """
    for output in outputs:
        if output.resolve() == path.resolve():
            raise StartingPointError(
                f"--from {path}: the result would replace the model that it starts from; choose another name"
            )


def check_tuning_overrides(start: StartingPoint, overrides: Iterable[str]) -> None:
    """Check that no override changes the tokenizer or the network.

    Raises:
        ConfigurationError: one does.
    """
    for key in overrides:
        if key.partition(".")[0] in _FIXED_TABLES:
            raise ConfigurationError(
                f"--set {key} cannot be used with --from: tokenizer and network are those of {start.path}"
            )


def resolve_tuning_config(
    start: StartingPoint, corpus_path: Path, folder: Path, overrides: dict[str, str] | None = None
) -> tuple[Config, tuple[str, ...]]:
    """The configuration that tunes a model on a corpus, and a line for each choice.

    A run that has started keeps its own.

    Raises:
        CorpusError: the corpus cannot be read or has no notes.
        ConfigurationError: an override is unknown or out of range, or changes the tokenizer or the network.
    """
    overrides = overrides or {}
    check_tuning_overrides(start, overrides)
    label = f"--from {start.path}"
    if (folder / RUN_FILE).exists():
        run = Run.load(folder)
        if run.started_from is not None and run.started_from.get(DIGEST) == start.weights.digest:
            return parse_config(run.config.model_dump(mode="json"), label, overrides), run.reasons
    tables, reasons = choose_tuning(start, Corpus.load(corpus_path))
    return parse_config(tables, label, overrides), tuple(reasons)


def choose_tuning(start: StartingPoint, corpus: Corpus) -> tuple[dict[str, Any], list[str]]:
    """The tables of the configuration that tunes a model on the training pieces of a corpus, and the reasons.

    The choice is deterministic.

    Raises:
        CorpusError: the training pieces have no notes.
    """
    sample = sample_scores(corpus)
    if not sample:
        raise CorpusError("the training pieces have no notes, so no model can be tuned on them")
    pieces = corpus.count(Split.TRAIN)
    tokens = estimate_tokens(corpus, sample, start.tokenizer)
    own = start.config.training
    # A tuned model is tuned again at the rate that it was tuned at.
    is_tuned = TUNED_FROM in start.entry
    rate = own.learning_rate if is_tuned else float(f"{_RATE_SHARE * own.learning_rate:.3g}")
    source = "that of the tuning before" if is_tuned else "a twentieth of that of the model's own training"
    rows = max(tokens / (_MIN_UPDATES * own.window), 1)
    batch_size = min(max(1 << int(rows).bit_length() - 1, _MIN_BATCH), own.batch_size, pieces)
    updates = max(tokens / (batch_size * own.window), 1)
    tables = start.config.model_dump(mode="json")
    tables["tokenizer"]["parameters"] = start.tokenizer.parameters
    tables["training"] |= {
        "epochs": _EPOCHS,
        "patience": _PATIENCE,
        "batch_size": batch_size,
        "learning_rate": rate,
        "warmup_epochs": round(min(0.5, _WARMUP_UPDATES / updates), 3),
        "schedule": "cosine",
        "ema_decay": round(1 - 1 / min(max(_EPOCHS * updates / 20, 10), 500), 4),  # spans a twentieth of the run
        "calibrate": True,
        "seed": 1,
    }
    tuned = f"{start.config.bundle.description}; tuned on {pieces} pieces ({corpus.source})"
    tempo = median(score.tempo_bpm for score in sample)
    tables["bundle"] |= {
        "description": plain_text(tuned, _DESCRIPTION_CHARACTERS),
        "tempo_bpm": round(min(max(tempo, 20.0), 300.0), 1),
    }
    reasons = [
        f"starts from {start.path}: {start.tokenizer.name} tokens, network {start.config.network.layers} x "
        f"{start.config.network.hidden}, digest {start.weights.digest[:12]}",
        f"learning rate {rate:g}: {source}",
        f"at most {_EPOCHS} epochs, until {_PATIENCE} bring no better validation loss",
        f"batches of {batch_size} rows x {own.window} tokens: about {updates:,.0f} updates per epoch from {pieces} "
        "pieces",
    ]
    return tables, reasons
