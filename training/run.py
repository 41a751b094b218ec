"""A training run: its folder, its configuration, and the training from a corpus."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from music.tokenizers import Tokenizer, tokenizer_class, tokenizer_from_parameters
from report import check_writable, replace_file
from training.auto_config import AUTO, check_overrides, choose_config
from training.calibration import calibrate
from training.config import Config, parse_config
from training.corpus.provenance import Origin
from training.corpus.store import Corpus, Split
from training.curves import CURVES, draw_curves
from training.errors import CheckpointError, ConfigurationError, CorpusError, OutOfMemoryError
from training.loop.checkpoint import BEST
from training.loop.distributed import process_group
from training.loop.history import HISTORY, EpochRecord, read_history
from training.loop.learner import StartingWeights
from training.loop.tbptt import EncodedPiece, encode_corpus
from training.loop.trainer import Trainer
from training.previews import Previews
from training.tokenizer_report import check_suitable, tokenization_report

RUN_FILE: Final = "run.json"
DIGEST: Final = "digest"
"""Key of `Run.started_from`: digest of the model."""
STARTING_LOSS: Final = "valid_nats_per_note_step"
"""Key of `Run.started_from`: loss on the validation pieces before the first step, in nats per note-step."""


@dataclass(frozen=True, slots=True, eq=False)
class StartingPoint:
    """A trained model that a run starts from: a bundle, or another run. `training.fine_tuning` loads one."""

    path: Path
    """Folder of the bundle or run."""
    config: Config
    tokenizer: Tokenizer
    weights: StartingWeights
    entry: dict[str, Any]
    """What the run and its bundle say about it, as a JSON object: `name`, `digest`, `description`, `corpus`, the
    `notices` of its card, and `tuned_from` if it was tuned itself."""


@dataclass(frozen=True, slots=True)
class Run:
    """Description of a run, as `run.json` in its folder stores it."""

    folder: Path
    config: Config
    tokenizer: Tokenizer
    corpus_path: Path
    reasons: tuple[str, ...] = ()
    """Why `auto` chose this configuration, a line for each choice. Empty for other configurations."""
    origin: Origin | None = None
    """Folder that the corpus was read from, if it is known."""
    started_from: dict[str, Any] | None = None
    """The model that it started from, as `StartingPoint.entry`, with `STARTING_LOSS`. None for random weights."""

    @classmethod
    def load(cls, folder: Path) -> "Run":
        """Read what `train` wrote.

        Raises:
            CheckpointError: the folder is not a run.
        """
        try:
            values = json.loads((folder / RUN_FILE).read_text())
            entry = values["tokenizer"]
            tokenizer = tokenizer_from_parameters(entry["name"], entry["version"], entry["parameters"])
            config = parse_config(values["config"], RUN_FILE)
            reasons, origin = tuple(values.get("chosen_because", ())), Origin.from_entry(values.get("origin"))
            started_from = values.get("started_from")
            return cls(folder, config, tokenizer, Path(values["corpus"]), reasons, origin, started_from)
        except (OSError, ValueError, KeyError, ConfigurationError) as error:
            raise CheckpointError(f"{folder} is not a run of `python -m training train`: {error}") from error

    def save(self) -> None:
        """Write `run.json`.

        Raises:
            CheckpointError: it cannot be written.
        """
        tokenizer = self.tokenizer
        values = {
            "corpus": str(self.corpus_path),
            "config": self.config.model_dump(mode="json"),
            "chosen_because": list(self.reasons),
            "origin": None if self.origin is None else self.origin.as_entry(),
            "tokenizer": {"name": tokenizer.name, "version": tokenizer.version, "parameters": tokenizer.parameters},
        } | ({} if self.started_from is None else {"started_from": self.started_from})
        path = self.folder / RUN_FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, (json.dumps(values, indent=2) + "\n").encode())
        except OSError as error:
            raise CheckpointError.from_os_error(path, error) from error


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a run that ended by itself."""

    best: EpochRecord
    epochs: int
    """Number of trained epochs."""
    train_pieces: int
    valid_pieces: int
    dropped: Counter[str]
    """Training and validation notes that the tokenizer dropped or moved, by reason."""
    logit_scale: float | None = None
    """Factor on the logits from the calibration. None without calibration."""
    starting_loss: float | None = None
    """Loss of the model that the run started from, on the validation pieces, in nats per note-step. None without such
    a model, or if it was not measured."""


def resolve_auto_config(
    corpus_path: Path, folder: Path, overrides: dict[str, str] | None = None, *, device: str
) -> tuple[Config, tuple[str, ...]]:
    """The configuration that `auto` chooses for a corpus, and its reasons. A run that has started keeps its own.

    Raises:
        CorpusError: the corpus cannot be read or has no notes.
        ConfigurationError: an override is unknown or out of range.
    """
    if (folder / RUN_FILE).exists():
        run = Run.load(folder)
        if run.reasons:
            return parse_config(run.config.model_dump(mode="json"), AUTO, overrides), run.reasons
    check_overrides(overrides or {})  # before the corpus is read
    choice = choose_config(Corpus.load(corpus_path), device=device)
    return parse_config(choice.tables, AUTO, overrides), tuple(choice.reasons)


def train(
    config: Config,
    corpus_path: Path,
    folder: Path,
    *,
    device: str,
    progress: bool = True,
    reasons: tuple[str, ...] = (),
    report: Callable[[str], None] | None = None,
    start: StartingPoint | None = None,
    previews: bool = False,
) -> TrainingResult:
    """Train, or resume a run, together with the other processes that `torchrun` has started.

    Args:
        config: of the run.
        corpus_path: file that `prepare` wrote.
        folder: of the run.
        device: `cpu` or `cuda`.
        progress: whether to show a progress bar.
        reasons: why the configuration was chosen; written to `run.json`.
        report: called before the first step with each line of the report on the corpus and its tokens.
        start: trained model to start from, with its own tokenizer; None to start from random weights.
        previews: whether to write sampled pieces into the folder (`training.previews`), with a `report` of each.

    Raises:
        CorpusError: the corpus cannot be read, or has no tokens for this tokenizer.
        CheckpointError: the folder holds another run, or a checkpoint cannot be written.
        ConfigurationError: there are more processes than rows or GPUs.
        DistributedError: one of several processes is lost.
        StoppedError: a signal stopped the run; a checkpoint is saved.
        OutOfMemoryError: the network and its batch do not fit on the device.
        StartingPointError: the tokenizer of `start` keeps too few notes of the corpus.
    """
    with process_group(device) as world, _memory_advice(config):
        if world.is_main:
            try:
                check_writable(folder)  # before the corpus is read
            except OSError as error:
                raise CheckpointError.from_os_error(folder, error) from error
        corpus = Corpus.load(corpus_path)
        tokenizer = fit_tokenizer(config, corpus, corpus_path) if start is None else start.tokenizer
        if start is not None:
            check_suitable(corpus, tokenizer, str(start.path))
        pieces, dropped = encode_split(corpus, tokenizer, Split.TRAIN)
        held_out, dropped_held_out = encode_split(corpus, tokenizer, Split.VALID)
        if world.is_main and report is not None:
            lost = dropped + dropped_held_out
            for line in tokenization_report(corpus, tokenizer, (pieces, held_out), lost, tuned=start is not None):
                report(line)
        trainer = Trainer(
            config, tokenizer, pieces, held_out, folder,
            world=world, progress=progress, start=None if start is None else start.weights,
        )  # fmt: skip
        started_from = None if start is None else start.entry | _starting_loss(trainer, held_out, folder)
        if world.is_main:
            Run(folder, config, tokenizer, corpus_path.resolve(), reasons, corpus.origin, started_from).save()
        after_epoch: Callable[[int], None] | None = None
        if previews and world.is_main:
            shown = Previews(folder, config, tokenizer, report=report or (lambda line: None))
            after_epoch = partial(shown.after_epoch, model=trainer.averaged_model)
        best = trainer.run(after_epoch)
        logit_scale = None
        if config.training.calibrate:
            logit_scale = calibrate(folder / BEST, trainer.model, tokenizer, held_out, world)
        if world.is_main:
            try:
                draw_curves(read_history(folder / HISTORY), folder / CURVES)
            except OSError as error:
                raise CheckpointError.from_os_error(folder / CURVES, error) from error
        return TrainingResult(
            best,
            trainer.epochs,
            len(pieces),
            len(held_out),
            dropped + dropped_held_out,
            logit_scale,
            None if started_from is None else started_from.get(STARTING_LOSS),
        )


def fit_tokenizer(config: Config, corpus: Corpus, corpus_path: Path) -> Tokenizer:
    """The configuration's tokenizer, with parameters from the training pieces.

    Raises:
        CorpusError: the corpus does not suit the tokenizer.
    """
    train_scores = (piece.score for piece in corpus.pieces(Split.TRAIN))  # a generator: they need much memory
    try:
        return tokenizer_class(config.tokenizer.name).fit(config.tokenizer.parameters, train_scores)
    except ValueError as error:
        raise CorpusError(f"{corpus_path} does not suit this configuration: {error}") from error


def _starting_loss(trainer: Trainer, valid: Sequence[EncodedPiece], folder: Path) -> dict[str, float]:
    """The entry of `Run.started_from` with the loss before the first step. All processes must call this."""
    if trainer.is_new:
        return {STARTING_LOSS: round(trainer.evaluate(valid).loss, 5)}
    earlier = Run.load(folder).started_from if (folder / RUN_FILE).exists() else None
    return {key: value for key, value in (earlier or {}).items() if key == STARTING_LOSS}


@contextmanager
def _memory_advice(config: Config) -> Iterator[None]:
    """Turn a lack of memory into an error that names the values to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(
            f"training ran out of memory: set training.batch_size below {config.training.batch_size}, or "
            f"training.window below {config.training.window}, in another --run"
        ) from error


def encode_split(corpus: Corpus, tokenizer: Tokenizer, split: Split) -> tuple[list[EncodedPiece], Counter[str]]:
    """Encode the pieces of one split that have tokens. Also returns the dropped or moved notes by reason.

    Raises:
        CorpusError: no piece has tokens.
    """
    pieces, dropped = encode_corpus(corpus, tokenizer, split)
    pieces = [piece for piece in pieces if len(piece.tokens) > 1]
    if not pieces:
        raise CorpusError(f"no {split.name.lower()} piece has any {tokenizer.name} tokens")
    return pieces, dropped
