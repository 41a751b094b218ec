"""A training run from a corpus to its folder, and from the folder to a bundle."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from music.bundle import Bundle, load_bundle
from music.manifest import OLDEST_VERSION
from music.tokenizers import Tokenizer, tokenizer_class, tokenizer_from_parameters
from training.auto import AUTO, check_overrides, choose
from training.batches import EncodedPiece, encode_corpus
from training.calibration import best_factor, calibrate, sharpened
from training.checkpoint import BEST, load_reached, unwritable
from training.config import Config, config_of
from training.corpus import Corpus, Split
from training.curves import CURVES, draw_curves
from training.distributed import World, joined
from training.errors import CheckpointError, CorpusError, OutOfMemoryError
from training.evaluation import ClockMode, evaluate_split
from training.export import check_agreement, export
from training.files import check_writable, replace_file
from training.history import HISTORY, EpochRecord, read_history
from training.model import MusicLSTM
from training.origin import Origin
from training.restored import recipe, restored
from training.targets import check_target
from training.tokenization import tokenization_report
from training.trainer import Trainer

ABOUT: Final = "run.json"
_CHECKED_PIECES: Final = 8
_MEASURED_SPLITS: Final = (Split.VALID, Split.TEST)


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder: what it was made from."""

    folder: Path
    config: Config
    tokenizer: Tokenizer
    corpus_path: Path
    reasons: tuple[str, ...] = ()
    """Why the configuration is as it is, a line for each choice; empty unless it was chosen for the corpus."""
    origin: Origin | None = None
    """Folder that the corpus was read from, if that is known."""

    @classmethod
    def load(cls, folder: Path) -> "Run":
        """Read what `train` wrote.

        Raises:
            CheckpointError: the folder is no run.
        """
        try:
            about = json.loads((folder / ABOUT).read_text())
            entry = about["tokenizer"]
            tokenizer = tokenizer_from_parameters(entry["name"], entry["version"], entry["parameters"])
            config = Config.model_validate(about["config"])
            reasons, origin = tuple(about.get("chosen_because", ())), Origin.from_entry(about.get("origin"))
            return cls(folder, config, tokenizer, Path(about["corpus"]), reasons, origin)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{folder} is no run of `python -m training train`: {error}") from error

    def save(self) -> None:
        """Write it down.

        Raises:
            CheckpointError: it cannot be written.
        """
        tokenizer = self.tokenizer
        about = {
            "corpus": str(self.corpus_path),
            "config": self.config.model_dump(mode="json"),
            "chosen_because": list(self.reasons),
            "origin": None if self.origin is None else self.origin.as_entry(),
            "tokenizer": {"name": tokenizer.name, "version": tokenizer.version, "parameters": tokenizer.parameters},
        }
        path = self.folder / ABOUT
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, (json.dumps(about, indent=2) + "\n").encode())
        except OSError as error:
            raise unwritable(path, error) from error


@dataclass(frozen=True, slots=True)
class Trained:
    """What a finished run gave."""

    best: EpochRecord
    epochs: int
    """Epochs that it trained."""
    train_pieces: int
    valid_pieces: int
    dropped: Counter[str]
    """Notes of the training and validation pieces that the tokenizer left out or moved, by reason."""
    sharpness: float | None = None
    """What the logits were multiplied by in the end; None where they were left as they are."""


def automatic(
    corpus_path: Path, folder: Path, overrides: dict[str, str] | None = None, *, device: str
) -> tuple[Config, tuple[str, ...]]:
    """The configuration that suits a corpus, and why; a run that has begun keeps the one that it began with.

    Raises:
        CorpusError: the corpus cannot be read or has no note to learn from.
        ConfigurationError: an override is unknown or out of range.
    """
    if (folder / ABOUT).exists():
        begun = Run.load(folder)
        if begun.reasons:
            return config_of(begun.config.model_dump(mode="json"), AUTO, overrides), begun.reasons
    check_overrides(overrides or {})  # before the corpus is read
    choice = choose(Corpus.load(corpus_path), device=device)
    return config_of(choice.tables, AUTO, overrides), tuple(choice.reasons)


def train(
    config: Config,
    corpus_path: Path,
    folder: Path,
    *,
    device: str,
    progress: bool = True,
    reasons: tuple[str, ...] = (),
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train, or go on with a run that was killed; with others where `torchrun` has started several processes.

    Args:
        config: what to train and how.
        corpus_path: what `prepare` wrote.
        folder: the run's.
        device: `cpu` or `cuda`.
        progress: show how far it is.
        reasons: why the configuration is so, to be written down with it.
        say: is told, a line at a time and before the first step, what there is to train on and what of it is lost.

    Raises:
        CorpusError: the corpus cannot be read or holds nothing for this tokenizer.
        CheckpointError: the folder holds another run, or a checkpoint cannot be written.
        ConfigurationError: there are more processes than lanes or cards.
        DistributedError: one of several processes is lost.
        StoppedError: a signal asked for an end; what has been reached is saved.
        OutOfMemoryError: the network and its lanes do not fit on the device.
    """
    with joined(device) as world:
        try:
            return _train(config, corpus_path, folder, world, progress, reasons, say if world.leads else None)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemoryError(
                f"training ran out of memory: set training.lanes below {config.training.lanes}, or training.window "
                f"below {config.training.window}, in another --run"
            ) from error


def _train(
    config: Config,
    corpus_path: Path,
    folder: Path,
    world: World,
    progress: bool,
    reasons: tuple[str, ...],
    say: Callable[[str], None] | None,
) -> Trained:
    if world.leads:
        try:
            check_writable(folder)  # before the corpus is read
        except OSError as error:
            raise unwritable(folder, error) from error
    corpus = Corpus.load(corpus_path)
    train_scores = (piece.score for piece in corpus.pieces(Split.TRAIN))  # one at a time: all of them are many
    try:
        tokenizer = tokenizer_class(config.tokenizer.name).fit(config.tokenizer.parameters, train_scores)
    except ValueError as error:
        raise CorpusError(f"{corpus_path} and this configuration do not fit: {error}") from error
    pieces, dropped = _encode(corpus, tokenizer, Split.TRAIN)
    held_out, dropped_held_out = _encode(corpus, tokenizer, Split.VALID)
    if say is not None:
        for line in tokenization_report(corpus, tokenizer, (pieces, held_out), dropped + dropped_held_out):
            say(line)
    trainer = Trainer(config, tokenizer, pieces, held_out, folder, world=world, progress=progress)
    if world.leads:
        Run(folder, config, tokenizer, corpus_path.resolve(), reasons, corpus.origin).save()
    best = trainer.run()
    sharpness = None
    if config.training.calibrate:
        sharpness = calibrate(folder / BEST, trainer.model, tokenizer, held_out, world)
    if world.leads:
        try:
            draw_curves(read_history(folder / HISTORY), folder / CURVES)
        except OSError as error:
            raise unwritable(folder / CURVES, error) from error
    return Trained(best, trainer.epochs, len(pieces), len(held_out), dropped + dropped_held_out, sharpness)


def export_run(folder: Path, target: Path, *, name: str, corpus_path: Path | None = None) -> Bundle:
    """Write a run's best checkpoint as a bundle, with its measurements on the held-out pieces.

    The run need not be finished. Before its first epoch is, there is no best checkpoint, and the last one is taken.

    Raises:
        CheckpointError: the folder is no run, or has no checkpoint.
        CorpusError: the corpus of the run cannot be read.
        ExportError: the graphs do not agree with PyTorch, or `target` is something else than a bundle.
    """
    check_target(target, name)  # before the corpus is read; `export`, which replaces the target, makes sure again
    run = Run.load(folder)
    corpus = Corpus.load(corpus_path or run.corpus_path)
    reached = load_reached(folder)
    model = MusicLSTM(run.config.network, run.tokenizer)
    model.load_state_dict(reached.weights)
    if run.config.training.calibrate and not reached.calibrated:  # a finished run did it at its end
        pieces, _ = _encode(corpus, run.tokenizer, Split.VALID)
        factor = best_factor(model, run.tokenizer, pieces, World(torch.device("cpu")))
        model.load_state_dict(sharpened(model.state_dict(), factor))
    provenance = {"corpus": _about(corpus), "epoch": reached.epochs}
    return _export(model.eval(), target, name, run.config, run.tokenizer, corpus, folder / HISTORY, provenance)


def export_bundle(path: Path, target: Path, *, name: str, corpus_path: Path) -> Bundle:
    """Write a bundle's network as a bundle, with the graphs and the measurements of this version.

    Raises:
        BundleError: there is no bundle, or it is refused.
        CorpusError: the corpus cannot be read.
        ConfigurationError: the bundle's configuration is none.
        ExportError: the bundle does not say how it came about, its graphs or the new ones do not agree with the network
            in PyTorch, or `target` is something else than a bundle.
    """
    check_target(target, name)
    bundle = load_bundle(path, oldest_version=OLDEST_VERSION)
    model = restored(bundle)
    corpus = Corpus.load(corpus_path)
    check, _ = _encode(corpus, bundle.tokenizer, Split.VALID)
    check_agreement(model, bundle.tokenizer, bundle, check[:_CHECKED_PIECES])
    provenance = {**bundle.manifest.provenance, "corpus": _about(corpus), "exported_from": bundle.digest}
    return _export(model, target, name, recipe(bundle), bundle.tokenizer, corpus, path / HISTORY, provenance)


def _export(
    model: MusicLSTM,
    target: Path,
    name: str,
    config: Config,
    tokenizer: Tokenizer,
    corpus: Corpus,
    history: Path,
    provenance: dict[str, Any],
) -> Bundle:
    check, _ = _encode(corpus, tokenizer, Split.VALID)
    known, _ = _encode(corpus, tokenizer, Split.TRAIN)

    def measure(bundle: Bundle) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for split in _MEASURED_SPLITS:
            if corpus.count(split):
                result = evaluate_split(bundle, corpus, split, ClockMode.STATED)
                metrics[f"{split.name.lower()}_nats_per_note_step"] = round(result.nats_per_note_step, 5)
                metrics[f"{split.name.lower()}_accuracy"] = round(result.accuracy, 5)
        if corpus.count(Split.VALID):
            served = evaluate_split(bundle, corpus, Split.VALID, ClockMode.STATED, precision="int8")
            metrics["valid_nats_per_note_step_int8"] = round(served.nats_per_note_step, 5)
        return metrics

    return export(
        model,
        target,
        name=name,
        config=config,
        tokenizer=tokenizer,
        history=history,
        check=check[:_CHECKED_PIECES],
        known=known,
        measure=measure,
        provenance=provenance,
    )


def _about(corpus: Corpus) -> dict[str, Any]:
    """The corpus in a bundle's provenance."""
    return {
        "source": corpus.source,
        "notes": corpus.note_count,
        "pieces": {split.name.lower(): corpus.count(split) for split in Split},
    }


def _encode(corpus: Corpus, tokenizer: Tokenizer, split: Split) -> tuple[list[EncodedPiece], Counter[str]]:
    pieces, dropped = encode_corpus(corpus, tokenizer, split)
    pieces = [piece for piece in pieces if len(piece.tokens) > 1]
    if not pieces:
        raise CorpusError(f"no {split.name.lower()} piece has anything to say in {tokenizer.name} tokens")
    return pieces, dropped
