"""Export: a run as a bundle, or a bundle with the graphs of this version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from numpy.typing import NDArray

from music.bundle import Bundle, load_bundle
from music.manifest import OLDEST_VERSION
from music.tokenizers import Tokenizer
from training.bundle_targets import check_target
from training.bundle_writer import check_agreement, write_bundle
from training.calibration import best_logit_scale, scale_logits
from training.config import Config
from training.corpus.store import Corpus, Split
from training.evaluation.decode_scoring import graph_scorer
from training.evaluation.likelihood import MeterMode, evaluate_split
from training.graphs.from_bundle import bundle_config, network_from_bundle, weights_from_bundle
from training.loop.checkpoint import load_run_weights
from training.loop.distributed import World
from training.loop.hardware import usable_threads
from training.loop.history import HISTORY
from training.model_card import TUNED_FROM
from training.network.model import MusicLSTM
from training.run import Run, encode_split

_CHECKED_PIECES: Final = 8
_MEASURED_SPLITS: Final = (Split.VALID, Split.TEST)


def export_run(folder: Path, target: Path, *, name: str, corpus_path: Path | None = None) -> Bundle:
    """Write the best checkpoint of a run as a bundle, with its metrics on the held-out pieces.

    The run need not be finished. Within its first epoch there is no best checkpoint, and the last one is exported.

    Args:
        folder: of the run.
        target: directory of the bundle.
        name: of the model.
        corpus_path: the run's corpus, if it has moved.

    Raises:
        CheckpointError: the folder is not a run, or has no checkpoint.
        CorpusError: the corpus of the run cannot be read.
        ExportError: the graphs do not agree with PyTorch, or `target` holds something other than a bundle.
    """
    check_target(target, name)  # before the corpus is read; `write_bundle` checks again before it replaces the target
    run = Run.load(folder)
    corpus = Corpus.load(corpus_path or run.corpus_path)
    exported = load_run_weights(folder)
    model = MusicLSTM(run.config.network, run.tokenizer)
    model.load_state_dict(exported.weights)
    if run.config.training.calibrate and not exported.calibrated:  # a finished run is calibrated
        pieces, _ = encode_split(corpus, run.tokenizer, Split.VALID)
        scale = best_logit_scale(model, run.tokenizer, pieces, World(torch.device("cpu")))
        model.load_state_dict(scale_logits(model.state_dict(), scale))
    provenance: dict[str, Any] = {"corpus": _describe(corpus), "epoch": exported.epochs}
    if run.started_from is not None:
        provenance[TUNED_FROM] = run.started_from
    return _export(model.eval(), target, name, run.config, run.tokenizer, corpus, folder / HISTORY, provenance)


def export_bundle(path: Path, target: Path, *, name: str, corpus_path: Path) -> Bundle:
    """Write the network of a bundle as a new bundle, with the graphs and the metrics of this version.

    If the bundle has the arrays of this version, the new one has the same, bit by bit, and writes the same music.

    Args:
        path: directory of the bundle; it may have an older format.
        target: directory of the new bundle.
        name: of the model.
        corpus_path: the corpus that the network was trained on.

    Raises:
        BundleError: there is no bundle, or it is damaged.
        CorpusError: the corpus cannot be read.
        ConfigurationError: the configuration in the bundle is not valid.
        ExportError: the bundle holds no configuration, its graphs or the new ones do not agree with PyTorch, or
            `target` holds something other than a bundle.
    """
    check_target(target, name)
    bundle = load_bundle(path, oldest_version=OLDEST_VERSION)
    model = network_from_bundle(bundle)
    corpus = Corpus.load(corpus_path)
    check, _ = encode_split(corpus, bundle.tokenizer, Split.VALID)
    scorer = graph_scorer(bundle, threads=usable_threads())
    check_agreement(model, bundle.tokenizer, [scorer], check[:_CHECKED_PIECES])
    provenance = {**bundle.manifest.provenance, "corpus": _describe(corpus), "exported_from": bundle.digest}
    config = bundle_config(bundle)
    exact = weights_from_bundle(bundle)
    return _export(model, target, name, config, bundle.tokenizer, corpus, path / HISTORY, provenance, exact)


def _export(
    model: MusicLSTM,
    target: Path,
    name: str,
    config: Config,
    tokenizer: Tokenizer,
    corpus: Corpus,
    history: Path,
    provenance: dict[str, Any],
    exact: Mapping[str, NDArray[Any]] | None = None,
) -> Bundle:
    check, _ = encode_split(corpus, tokenizer, Split.VALID)
    train, _ = encode_split(corpus, tokenizer, Split.TRAIN)
    return write_bundle(
        model,
        target,
        name=name,
        config=config,
        tokenizer=tokenizer,
        history=history,
        check=check[:_CHECKED_PIECES],
        train=train,
        measure=lambda bundle: _metrics(bundle, corpus),
        provenance=provenance,
        exact=exact,
    )


def _metrics(bundle: Bundle, corpus: Corpus) -> dict[str, float]:
    """Metrics of a bundle on the held-out pieces, as its manifest names them."""
    metrics: dict[str, float] = {}
    for split in _MEASURED_SPLITS:
        if corpus.count(split):
            result = evaluate_split(bundle, corpus, split, MeterMode.GIVEN)
            metrics[f"{split.name.lower()}_nats_per_note_step"] = round(result.nats_per_note_step, 5)
            metrics[f"{split.name.lower()}_accuracy"] = round(result.accuracy, 5)
            if bundle.network.length_input:
                told = evaluate_split(bundle, corpus, split, MeterMode.GIVEN, length_known=True)
                metrics[f"{split.name.lower()}_nats_per_note_step_length_known"] = round(told.nats_per_note_step, 5)
    if corpus.count(Split.VALID):
        int8 = evaluate_split(bundle, corpus, Split.VALID, MeterMode.GIVEN, precision="int8")
        metrics["valid_nats_per_note_step_int8"] = round(int8.nats_per_note_step, 5)
    return metrics


def _describe(corpus: Corpus) -> dict[str, Any]:
    """The corpus in the provenance of a bundle."""
    return {
        "source": corpus.source,
        "notes": corpus.note_count,
        "pieces": {split.name.lower(): corpus.count(split) for split in Split},
    }
