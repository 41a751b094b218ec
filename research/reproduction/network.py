"""Trains one network of the experiment and measures it after every epoch."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from music.tokenizers import Tokenizer
from report import replace_file
from research.reproduction.record import Curve, Run, Totals
from training.config import Config
from training.errors import CheckpointError
from training.loop.checkpoint import BEST, load_checkpoint
from training.loop.distributed import process_group
from training.loop.epoch_state import TokenMetrics
from training.loop.hardware import set_threads
from training.loop.history import HISTORY, EpochRecord, read_history
from training.loop.tbptt import EncodedPiece, epoch_dataset
from training.loop.trainer import Trainer

MEASURED: Final = "measured.jsonl"
FINISHED: Final = "finished.json"

SongSets = Mapping[str, Sequence[EncodedPiece]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Sets of songs to measure during training, besides the trainer's own validation."""

    validation: str
    """Name of the set with which the trainer validates and chooses the best weights."""
    every_epoch: SongSets = field(default_factory=dict)
    at_milestones: SongSets = field(default_factory=dict)
    milestones: Collection[int] = ()
    """Epochs, from 1."""
    with_best_weights: SongSets = field(default_factory=dict)
    """Measured once, after the last epoch."""


def train_network(
    config: Config,
    tokenizer: Tokenizer,
    train: Sequence[EncodedPiece],
    valid: Sequence[EncodedPiece],
    schedule: Schedule,
    folder: Path,
    *,
    device: str,
    threads: int,
    progress: bool,
) -> Run:
    """Train in `folder`, or resume the interrupted run there. A finished run is only read.

    Raises:
        CheckpointError: the folder holds another run, or cannot be written.
        DivergenceError: the loss became NaN or infinite.
    """
    identity = _identity(config, tokenizer, (*train, *valid))
    finished = _finished(folder / FINISHED, identity)
    if finished is not None:
        return finished
    set_threads(threads, config)
    with process_group(device) as world:
        trainer = Trainer(config, tokenizer, train, valid, folder, world=world, progress=progress)

        def measure(epoch: int) -> None:
            songs = dict(schedule.every_epoch)
            if epoch in schedule.milestones:
                songs |= schedule.at_milestones
            if songs:
                totals = {name: _totals(trainer.evaluate(pieces)).model_dump() for name, pieces in songs.items()}
                _append(folder / MEASURED, {"epoch": epoch, "totals": totals})

        best = trainer.run(measure).epoch
        if schedule.with_best_weights:
            trainer.model.load_state_dict(load_checkpoint(folder / BEST)["model"])
        with_best = {name: _totals(trainer.evaluate(pieces)) for name, pieces in schedule.with_best_weights.items()}
        parameters = trainer.model.parameter_count
    records = read_history(folder / HISTORY)
    epochs = range(1, len(records) + 1) if schedule.every_epoch else schedule.milestones
    measured = _read(folder / MEASURED, epochs) if epochs else {}
    # The history has nats per note-step; the record has nats per token, end tokens included.
    steps_per_token = sum(piece.note_steps(tokenizer) for piece in valid) / sum(len(piece.tokens) for piece in valid)
    curves = {schedule.validation: _curve(records, steps_per_token)}
    for name in schedule.every_epoch:
        totals = [measured[record.epoch][name] for record in records]
        curves[name] = Curve(
            loss=[_rounded(item.loss) for item in totals],
            accuracy=[_rounded(item.accuracy) for item in totals],
        )
    milestones = {epoch: measured[epoch] for epoch in sorted(schedule.milestones) if epoch <= len(records)}
    if with_best:
        milestones[best] = milestones.get(best, {}) | with_best
    training_steps = sum(piece.note_steps(tokenizer) for piece in train) / sum(len(piece.tokens) for piece in train)
    run = Run(
        parameters=parameters,
        vocabulary=tokenizer.vocabulary_size,
        layers=config.network.layers,
        hidden=config.network.hidden,
        updates_per_epoch=epoch_dataset(train, tokenizer, config.training, 0).windows,
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
    """The finished run in a file, if it is the requested one."""
    try:
        entry = json.loads(path.read_text())
        return Run.model_validate(entry["run"]) if entry["identity"] == identity else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): remove it to measure again") from error


def _identity(config: Config, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece]) -> str:
    """Digest of configuration, tokenizer and pieces. Only settings that the configuration states count.

    So a setting that a later version adds with a default does not change it.
    """
    stated = config.model_dump(mode="json", exclude_unset=True, include={"network", "training"})
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
    digest.update(tokenizer.hash.encode())
    for piece in pieces:
        digest.update(piece.tokens.tobytes())
    return digest.hexdigest()


def _curve(records: Sequence[EpochRecord], steps_per_token: float) -> Curve:
    return Curve(
        loss=[_rounded(record.valid_loss * steps_per_token) for record in records],
        accuracy=[_rounded(record.valid_accuracy) for record in records],
    )


def _totals(metrics: TokenMetrics) -> Totals:
    return Totals(nats=round(metrics.nats, 3), correct=metrics.correct, tokens=metrics.tokens)


def _rounded(value: float) -> float:
    return round(value, 5)


def _append(path: Path, row: dict[str, object]) -> None:
    try:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise CheckpointError(f"cannot write {path} ({error.strerror})") from error


def _read(path: Path, epochs: Collection[int]) -> dict[int, dict[str, Totals]]:
    """Totals by epoch and set of songs. If an interrupted run measured an epoch twice, the last line counts.

    Raises:
        CheckpointError: an epoch is missing.
    """
    measured: dict[int, dict[str, Totals]] = {}
    try:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            measured[row["epoch"]] = {name: Totals.model_validate(entry) for name, entry in row["totals"].items()}
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): remove its folder to train again") from error
    missing = [epoch for epoch in epochs if epoch not in measured]
    if missing:
        raise CheckpointError(f"{path} does not have epoch {missing[0]}: remove its folder to train again")
    return measured
