"""The training loop: epochs over lanes, validation, early stopping, checkpoints that a killed run resumes from."""

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from tqdm import tqdm

from music.tokenizers import Tokenizer
from training.average import weight_average
from training.batches import PADDING, EncodedPiece, Lanes
from training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint, unwritable
from training.config import Config
from training.distributed import World
from training.errors import CheckpointError, ConfigurationError, DivergenceError
from training.feed import Feed, TrainingFeeds
from training.history import EpochRecord, History
from training.model import MusicLSTM, State
from training.schedule import learning_rate

_VALIDATION_LANES = 32


@dataclass(frozen=True, slots=True)
class Score:
    """Loss and accuracy over some pieces."""

    nats: float
    """Total negative log-likelihood, every token charged."""
    correct: int
    """Tokens that the network held likeliest."""
    tokens: int
    note_steps: int
    """Tokens that stand for time: `tokens` without the ends."""

    @property
    def loss(self) -> float:
        """Nats per note-step."""
        return self.nats / self.note_steps

    @property
    def accuracy(self) -> float:
        """Share of the tokens that the network held likeliest."""
        return self.correct / self.tokens


class Trainer:
    """Trains one network in a run folder, alone or as one of several processes that share each step's lanes.

    The folder holds `last.pt` (everything a resumed run needs, written after each epoch), `best.pt` (the
    weights with the lowest validation loss so far), `history.csv`, TensorBoard events and the curves; process 0
    alone reads and writes it. A run that is killed and started again ends with the weights of one that was not:
    the order of the pieces, the transpositions and the dropout of an epoch depend on the seed and the epoch
    alone. Several processes see the same lanes as one would; only their dropout is drawn differently.
    """

    def __init__(
        self,
        config: Config,
        tokenizer: Tokenizer,
        train: Sequence[EncodedPiece],
        valid: Sequence[EncodedPiece],
        folder: Path,
        *,
        world: World,
        progress: bool = True,
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._feeds = TrainingFeeds(train, tokenizer, config.training, world)
        self._valid = valid
        self._folder = folder
        self._world = world
        self._progress = progress and world.leads
        lanes = min(config.training.lanes, len(train))
        if lanes < world.size:
            raise ConfigurationError(
                f"{world.size} processes cannot share {lanes} lanes (training.lanes is {config.training.lanes}, and "
                f"there are {len(train)} pieces to fill them): start at most {lanes} processes"
            )
        torch.manual_seed(config.training.seed)
        self.model = MusicLSTM(config.network, tokenizer).to(world.device)
        self._parallel = world.parallel(self.model)
        self._average = weight_average(self.model, config.training.average) if config.training.average else None
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, config.training.weight_decay),
            lr=config.training.learning_rate,
            betas=(0.9, 0.98),
            fused=world.device.type == "cuda",
        )
        self._epoch = 0
        self._best = math.inf
        self._best_epoch = 0
        self._records: list[EpochRecord] = []
        self._identity = _identity(config, tokenizer, train, valid)
        if world.leads:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(folder, error) from error
        self._resume()

    def run(self, after_epoch: Callable[[int], None] | None = None) -> EpochRecord:
        """Train until the last epoch or until patience runs out; the record of the best epoch.

        `after_epoch` is called with the number of each epoch (from 1) while its weights are in `model` and before
        they are saved: a run that was killed may call it twice for one epoch, with the same weights.

        Raises:
            DivergenceError: the validation loss is no number any more.
            CheckpointError: a checkpoint or the history cannot be written; the ones before are intact.
        """
        training = self._config.training
        history = History(self._folder, self._records) if self._world.leads else None
        with history or nullcontext():
            while self._epoch < training.epochs and self._epoch - self._best_epoch < training.patience:
                record = self._run_epoch()
                better = record.valid_loss < self._best
                if better:
                    self._best, self._best_epoch = record.valid_loss, record.epoch
                self._epoch = record.epoch
                if after_epoch is not None:
                    after_epoch(record.epoch)
                self._records.append(record)
                if history is not None:
                    if better:
                        save_checkpoint(self._folder / BEST, self._checkpoint())
                    history.append(record)
                    save_checkpoint(self._folder / LAST, self._checkpoint(resumable=True))
                if self._progress:
                    tqdm.write(self._summary(record), file=sys.stderr)
        return self._records[self._best_epoch - 1]

    def score(self, pieces: Sequence[EncodedPiece]) -> Score:
        """Loss and accuracy without dropout or transposition, each piece from its own start."""
        training = self._config.training
        ordered = sorted(pieces, key=lambda piece: -len(piece.tokens))
        width = max(training.lanes, _VALIDATION_LANES)
        lanes = Lanes(ordered, self._tokenizer, lanes=width, window=training.window)
        self.finished.eval()
        with torch.inference_mode():
            return self._pass(self.finished, Feed(lanes, self._world), train=False)

    @property
    def finished(self) -> MusicLSTM:
        """The network that validation judges and `best.pt` keeps: the average of the weights, or the last."""
        if self._average is None:
            return self.model
        assert isinstance(self._average.module, MusicLSTM)
        return self._average.module

    def train_epoch(self, epoch: int) -> Score:
        """One pass over the lanes of an epoch, counted from 0, with a step for each window."""
        self.model.train()
        # Every process draws its own dropout; process 0 draws what it would draw alone.
        torch.manual_seed(_epoch_seed(self._config.training.seed, epoch) + self._world.rank * 2**32)
        return self._pass(self._parallel, self._feeds[epoch], train=True)

    def _run_epoch(self) -> EpochRecord:
        started = time.monotonic()
        trained = self.train_epoch(self._epoch)
        trained_seconds = time.monotonic() - started
        validated = self.score(self._valid)
        if not math.isfinite(validated.loss):
            raise DivergenceError(
                f"epoch {self._epoch + 1}: the validation loss is {validated.loss}; lower the learning rate "
                "(the checkpoint of the epoch before is intact)"
            )
        return EpochRecord(
            epoch=self._epoch + 1,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            valid_loss=validated.loss,
            valid_accuracy=validated.accuracy,
            learning_rate=learning_rate(self._config.training, self._epoch + 1),
            tokens_per_second=trained.tokens / trained_seconds,
            seconds=time.monotonic() - started,
        )

    def _pass(self, network: torch.nn.Module, feed: Feed, *, train: bool) -> Score:
        """One pass over lanes. Nothing waits for the device before the end: the host only hands out work."""
        lanes = feed.lanes
        state: State | None = None
        totals = torch.zeros(2, dtype=torch.float64, device=self._world.device)  # nats, tokens held likeliest
        with self._bar(lanes.tokens, train=train) as bar:
            for index, (batch, count) in enumerate(zip(feed, lanes.counts, strict=False)):
                if state is None:
                    state = self.model.zero_state(batch.targets.shape[1])
                state = state.detached().kept(~batch.fresh)
                with self._autocast():
                    logits, state = network(*batch.inputs, state)
                nats = functional.cross_entropy(
                    logits.flatten(0, 1), batch.targets.flatten(), ignore_index=PADDING, reduction="sum"
                )
                if train and count:
                    self._step(nats, count, self._epoch + index / lanes.windows)
                totals[0] += nats.detach()
                totals[1] += (logits.detach().argmax(-1) == batch.targets).sum()
                bar.update(count)
        nats_total, correct = self._world.total(totals).tolist()
        return Score(nats_total, int(correct), lanes.tokens, lanes.tokens - lanes.ends)

    def _step(self, nats: torch.Tensor, count: int, epoch: float) -> None:
        """One step down the mean over the `count` tokens of the window in all processes.

        Their gradients are averaged, and they may hold unequal numbers of tokens: so the sum of each is divided
        by the tokens of all, and multiplied by the number of processes that the average divides it by.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._config.training, epoch)
        self._optimizer.zero_grad(set_to_none=True)
        (nats * (self._world.size / count)).backward()  # type: ignore[no-untyped-call]  # torch's own gap
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.training.gradient_clip)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self.model)

    def _bar(self, tokens: int, *, train: bool) -> "tqdm[Any]":
        label = f"epoch {self._epoch + 1}/{self._config.training.epochs}" if train else "validating"
        return tqdm(total=tokens, unit="tok", unit_scale=True, desc=label, leave=False, disable=not self._progress)

    def _summary(self, record: EpochRecord) -> str:
        """One line an epoch for whoever watches."""
        epochs = self._config.training.epochs
        left = timedelta(seconds=round(record.seconds * (epochs - record.epoch)))
        return (
            f"epoch {record.epoch}/{epochs}: train {record.train_loss:.4f} ({record.train_accuracy:.2%}), "
            f"valid {record.valid_loss:.4f} ({record.valid_accuracy:.2%}), best {self._best:.4f}, "
            f"{record.tokens_per_second:,.0f} tokens/s, at most {left} left"
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        """bf16 on CUDA; on the CPU float32 is as fast here and exact."""
        return torch.autocast("cuda", torch.bfloat16) if self._world.device.type == "cuda" else nullcontext()

    def _checkpoint(self, *, resumable: bool = False) -> dict[str, Any]:
        state: dict[str, Any] = {
            "identity": self._identity,
            "epoch": self._epoch,
            "best": self._best,
            "best_epoch": self._best_epoch,
            "model": self.finished.state_dict(),
        }
        if resumable:
            state["model"] = self.model.state_dict()
            state["average"] = None if self._average is None else self._average.state_dict()
            state["optimizer"] = self._optimizer.state_dict()
            state["records"] = [asdict(record) for record in self._records]
        return state

    def _resume(self) -> None:
        path = self._folder / LAST
        found = load_checkpoint(path) if self._world.leads and path.exists() else None
        checkpoint = self._world.told(found)
        if checkpoint is None:
            return
        if checkpoint.get("identity") != self._identity:
            raise CheckpointError(
                f"{self._folder} holds a run with another corpus or configuration; choose another --run"
            )
        self.model.load_state_dict(checkpoint["model"])
        if self._average is not None:
            self._average.load_state_dict(checkpoint["average"])
        fused = self._optimizer.param_groups[0]["fused"]
        self._optimizer.load_state_dict(checkpoint["optimizer"])
        for group in self._optimizer.param_groups:
            group["fused"] = fused  # the checkpoint may come from another kind of device
        self._epoch, self._best = checkpoint["epoch"], checkpoint["best"]
        self._best_epoch = checkpoint["best_epoch"]
        self._records = [EpochRecord(**record) for record in checkpoint["records"]]


def _parameter_groups(model: MusicLSTM, weight_decay: float) -> list[dict[str, Any]]:
    """Decay every matrix and leave the biases alone.

    The embeddings decay too: most rows are for something rare, and a row that one piece alone has moved is noise.
    """
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if "weight" in name else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch


def _identity(
    config: Config, tokenizer: Tokenizer, train: Sequence[EncodedPiece], valid: Sequence[EncodedPiece]
) -> str:
    """Digest of all that decides the weights: a checkpoint of something else is not resumed."""
    digest = hashlib.sha256()
    training = config.training.model_dump(exclude={"calibrate"})  # which comes after it
    relevant = {"network": config.network.model_dump(), "training": training}
    digest.update(json.dumps(relevant, sort_keys=True).encode())
    digest.update(tokenizer.hash.encode())
    for piece in (*train, *valid):
        digest.update(piece.tokens.tobytes())
        digest.update(f"{piece.clock_start},{piece.unmetered_start}".encode())
    return digest.hexdigest()
