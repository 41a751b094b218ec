"""Trains one network of the experiment, and looks at it after every epoch."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from music.tokenizers import Tokenizer
from training.batches import EncodedPiece, training_lanes
from training.checkpoint import BEST, load_checkpoint
from training.config import Config
from training.distributed import joined
from training.errors import CheckpointError
from training.files import replace_file
from training.history import HISTORY, EpochRecord, read_history
from training.reproduce.results import Curve, Measure, Run
from training.score import Score
from training.threads import use_threads
from training.trainer import Trainer

WATCHED: Final = "watched.jsonl"
FINISHED: Final = "finished.json"

Sides = Mapping[str, Sequence[EncodedPiece]]


@dataclass(frozen=True, slots=True)
class Watched:
    """What to measure while a network learns, beside what the trainer measures itself."""

    validation: str
    """Name of the side on which the trainer validates, and keeps the best weights."""
    every_epoch: Sides = field(default_factory=dict)
    at_milestones: Sides = field(default_factory=dict)
    milestones: Collection[int] = ()
    """Epochs, from 1."""
    with_best: Sides = field(default_factory=dict)
    """Measured once, after the last epoch, with the best weights."""


def train_network(
    config: Config,
    tokenizer: Tokenizer,
    train: Sequence[EncodedPiece],
    valid: Sequence[EncodedPiece],
    watched: Watched,
    folder: Path,
    *,
    device: str,
    threads: int,
    progress: bool,
) -> Run:
    """Train in `folder`, or go on with what a killed run left there; a run that was finished is read again.

    Raises:
        CheckpointError: the folder holds another run, or cannot be written.
        DivergenceError: the loss is no number any more.
    """
    identity = _identity(config, tokenizer, (*train, *valid))
    finished = _finished(folder / FINISHED, identity)
    if finished is not None:
        return finished
    use_threads(threads, config)
    with joined(device) as world:
        trainer = Trainer(config, tokenizer, train, valid, folder, world=world, progress=progress)

        def look(epoch: int) -> None:
            sides = dict(watched.every_epoch)
            if epoch in watched.milestones:
                sides |= watched.at_milestones
            if sides:
                row = {name: _measure(trainer.score(pieces)).model_dump() for name, pieces in sides.items()}
                _append(folder / WATCHED, {"epoch": epoch, "sides": row})

        best = trainer.run(look).epoch
        if watched.with_best:
            trainer.model.load_state_dict(load_checkpoint(folder / BEST)["model"])
        with_best = {name: _measure(trainer.score(pieces)) for name, pieces in watched.with_best.items()}
        parameters = trainer.model.parameter_count
    records = read_history(folder / HISTORY)
    watched_epochs = range(1, len(records) + 1) if watched.every_epoch else watched.milestones
    seen = _read(folder / WATCHED, watched_epochs) if watched_epochs else {}
    # The history counts nats by note-step; here every token is charged alike, the ends too.
    steps_per_token = sum(piece.note_steps(tokenizer) for piece in valid) / sum(len(piece.tokens) for piece in valid)
    curves = {watched.validation: _curve(records, steps_per_token)}
    for name in watched.every_epoch:
        measures = [seen[record.epoch][name] for record in records]
        curves[name] = Curve(
            loss=[_rounded(measure.loss) for measure in measures],
            accuracy=[_rounded(measure.accuracy) for measure in measures],
        )
    milestones = {epoch: seen[epoch] for epoch in sorted(watched.milestones) if epoch <= len(records)}
    if with_best:
        milestones[best] = milestones.get(best, {}) | with_best
    training_steps = sum(piece.note_steps(tokenizer) for piece in train) / sum(len(piece.tokens) for piece in train)
    run = Run(
        parameters=parameters,
        vocabulary=tokenizer.vocabulary_size,
        layers=config.network.layers,
        hidden=config.network.hidden,
        updates_per_epoch=training_lanes(train, tokenizer, config.training, 0).windows,
        training=Curve(
            loss=[_rounded(record.train_loss * training_steps) for record in records],
            accuracy=[_rounded(record.train_accuracy) for record in records],
        ),
        curves=curves,
        milestones=milestones,
        best_epoch=best,
    )
    entry = {"identity": identity, "run": run.model_dump()}
    replace_file(folder / FINISHED, json.dumps(entry).encode())
    return run


def _finished(path: Path, identity: str) -> Run | None:
    """The run that a folder holds whole, if it is the one asked for."""
    try:
        entry = json.loads(path.read_text())
        return Run.model_validate(entry["run"]) if entry["identity"] == identity else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): remove it to measure anew") from error


def _identity(config: Config, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece]) -> str:
    """Digest of what was asked for: what the configuration says, not what a later version adds to it."""
    said = config.model_dump(mode="json", exclude_unset=True, include={"network", "training"})
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    digest.update(tokenizer.hash.encode())
    for piece in pieces:
        digest.update(piece.tokens.tobytes())
    return digest.hexdigest()


def _curve(records: Sequence[EpochRecord], steps_per_token: float) -> Curve:
    return Curve(
        loss=[_rounded(record.valid_loss * steps_per_token) for record in records],
        accuracy=[_rounded(record.valid_accuracy) for record in records],
    )


def _measure(score: Score) -> Measure:
    return Measure(nats=round(score.nats, 3), correct=score.correct, tokens=score.tokens)


def _rounded(value: float) -> float:
    return round(value, 5)


def _append(path: Path, row: dict[str, object]) -> None:
    try:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise CheckpointError(f"cannot write {path} ({error.strerror})") from error


def _read(path: Path, epochs: Collection[int]) -> dict[int, dict[str, Measure]]:
    """What was measured, by epoch and side; of an epoch that a killed run did twice, the last.

    Raises:
        CheckpointError: an epoch is missing.
    """
    seen: dict[int, dict[str, Measure]] = {}
    try:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            seen[row["epoch"]] = {name: Measure.model_validate(entry) for name, entry in row["sides"].items()}
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): remove its folder to train anew") from error
    missing = [epoch for epoch in epochs if epoch not in seen]
    if missing:
        raise CheckpointError(f"{path} says nothing of epoch {missing[0]}: remove its folder to train anew")
    return seen
