"""The training loop: epochs over lanes, validation, early stopping, checkpoints that a killed run resumes from."""

import hashlib
import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn import functional
from tqdm import tqdm

from music.tokenizers import Tokenizer
from training.batches import PADDING, EncodedPiece, Lanes, Window, training_lanes
from training.config import Config
from training.errors import CheckpointError, DivergenceError
from training.history import EpochRecord, History
from training.model import MusicLSTM, State

LAST: Final = "last.pt"
BEST: Final = "best.pt"


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
    """Trains one network in a run folder.

    The folder holds `last.pt` (everything a resumed run needs, written after each epoch), `best.pt` (the
    weights with the lowest validation loss so far), `history.csv`, TensorBoard events and the curves. A run
    that is killed and started again ends with the weights of one that was not: the order of the pieces, the
    transpositions and the dropout of an epoch depend on the seed and the epoch alone.
    """

    def __init__(
        self,
        config: Config,
        tokenizer: Tokenizer,
        train: Sequence[EncodedPiece],
        valid: Sequence[EncodedPiece],
        folder: Path,
        *,
        device: str,
        progress: bool = True,
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._train = train
        self._valid = valid
        self._folder = folder
        self._device = torch.device(device)
        self._progress = progress
        torch.manual_seed(config.training.seed)
        self.model = MusicLSTM.for_tokenizer(config.network, tokenizer).to(self._device)
        training = config.training
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, training.weight_decay), lr=training.learning_rate, betas=(0.9, 0.98)
        )
        self._epoch = 0
        self._best = math.inf
        self._best_epoch = 0
        self._records: list[EpochRecord] = []
        self._identity = _identity(config, tokenizer, train, valid)
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self._history = History(folder, self._records)

    def run(self) -> EpochRecord:
        """Train until the last epoch or until patience runs out; the record of the best epoch."""
        training = self._config.training
        with self._history:
            while self._epoch < training.epochs and self._epoch - self._best_epoch < training.patience:
                started = time.monotonic()
                trained = self._train_epoch(self._epoch)
                trained_seconds = time.monotonic() - started
                validated = self.score(self._valid)
                if not math.isfinite(validated.loss):
                    raise DivergenceError(
                        f"epoch {self._epoch + 1}: the validation loss is {validated.loss}; lower the learning rate "
                        "(the checkpoint of the epoch before is intact)"
                    )
                self._epoch += 1
                record = EpochRecord(
                    epoch=self._epoch,
                    train_loss=trained.loss,
                    train_accuracy=trained.accuracy,
                    valid_loss=validated.loss,
                    valid_accuracy=validated.accuracy,
                    learning_rate=self._learning_rate(self._epoch),
                    tokens_per_second=trained.tokens / trained_seconds,
                    seconds=time.monotonic() - started,
                )
                if validated.loss < self._best:
                    self._best, self._best_epoch = validated.loss, self._epoch
                    _save(self._folder / BEST, self._checkpoint())
                self._records.append(record)
                self._history.append(record)
                _save(self._folder / LAST, self._checkpoint(resumable=True))
                if self._progress:
                    tqdm.write(self._summary(record), file=sys.stderr)
        return self._records[self._best_epoch - 1]

    def score(self, pieces: Sequence[EncodedPiece]) -> Score:
        """Loss and accuracy without dropout or transposition, each piece from its own start."""
        training = self._config.training
        ordered = sorted(pieces, key=lambda piece: -len(piece.tokens))
        lanes = Lanes(ordered, self._tokenizer, lanes=max(training.lanes, 32), window=training.window)
        self.model.eval()
        with torch.inference_mode():
            return self._pass(lanes, train=False, epoch=0)

    def _train_epoch(self, epoch: int) -> Score:
        torch.manual_seed(_epoch_seed(self._config.training.seed, epoch))
        self.model.train()
        return self._pass(
            training_lanes(self._train, self._tokenizer, self._config.training, epoch), train=True, epoch=epoch
        )

    def _pass(self, lanes: Lanes, *, train: bool, epoch: int) -> Score:
        training = self._config.training
        state: State | None = None
        nats = torch.zeros((), dtype=torch.float64, device=self._device)
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        ends = 0
        label = f"epoch {epoch + 1}/{training.epochs}" if train else "validating"
        with tqdm(
            total=lanes.tokens, unit="tok", unit_scale=True, desc=label, leave=False, disable=not self._progress
        ) as bar:
            for index, window in enumerate(lanes):
                batch = _Batch.of(window, self._device)
                if state is None:
                    state = self.model.zero_state(batch.targets.shape[1])
                state = state.detached().kept(~batch.fresh)
                if train:
                    self._set_learning_rate(epoch + index / lanes.windows)
                with self._autocast():
                    logits, state = self.model(batch.previous, batch.clock_rows, state)
                loss = functional.cross_entropy(
                    logits.flatten(0, 1), batch.targets.flatten(), ignore_index=PADDING, reduction="sum"
                )
                count = int((window.targets != PADDING).sum())
                if train and count:
                    self._optimizer.zero_grad(set_to_none=True)
                    (loss / count).backward()  # type: ignore[no-untyped-call]  # torch's own gap
                    torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.gradient_clip)
                    self._optimizer.step()
                nats += loss.detach()
                correct += (logits.detach().argmax(-1) == batch.targets).sum()
                ends += int((window.targets == self._tokenizer.end_token).sum())
                bar.update(count)
        return Score(nats.item(), int(correct.item()), lanes.tokens, lanes.tokens - ends)

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
        return torch.autocast("cuda", torch.bfloat16) if self._device.type == "cuda" else nullcontext()

    def _learning_rate(self, epoch: float) -> float:
        """Linear warm-up, then constant or a cosine down to a hundredth (Loshchilov and Hutter, 2017)."""
        training = self._config.training
        if epoch < training.warmup_epochs:
            return training.learning_rate * (epoch + 0.01) / (training.warmup_epochs + 0.01)
        if training.schedule == "constant":
            return training.learning_rate
        share = (epoch - training.warmup_epochs) / max(training.epochs - training.warmup_epochs, 1e-9)
        return training.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))

    def _set_learning_rate(self, epoch: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(epoch)

    def _checkpoint(self, *, resumable: bool = False) -> dict[str, Any]:
        state: dict[str, Any] = {
            "identity": self._identity,
            "epoch": self._epoch,
            "best": self._best,
            "best_epoch": self._best_epoch,
            "model": self.model.state_dict(),
        }
        if resumable:
            state["optimizer"] = self._optimizer.state_dict()
            state["records"] = [asdict(record) for record in self._records]
        return state

    def _resume(self) -> None:
        path = self._folder / LAST
        if not path.exists():
            return
        checkpoint = load_checkpoint(path, self._device)
        if checkpoint.get("identity") != self._identity:
            raise CheckpointError(
                f"{self._folder} holds a run with another corpus or configuration; choose another --run"
            )
        self.model.load_state_dict(checkpoint["model"])
        self._optimizer.load_state_dict(checkpoint["optimizer"])
        self._epoch, self._best = checkpoint["epoch"], checkpoint["best"]
        self._best_epoch = checkpoint["best_epoch"]
        self._records = [EpochRecord(**record) for record in checkpoint["records"]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A window on the device."""

    previous: torch.Tensor
    clock_rows: torch.Tensor
    targets: torch.Tensor
    fresh: torch.Tensor

    @classmethod
    def of(cls, window: Window, device: torch.device) -> "_Batch":
        arrays = (window.previous, window.clock_rows, window.targets, window.fresh)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}; train first") from error
    except Exception as error:  # torch raises what its unpickler and zip reader meet
        raise CheckpointError(f"{path} is no checkpoint: {error}") from error
    return checkpoint


def _save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write beside, then rename: the last good checkpoint survives a kill or a full disk."""
    partial = path.with_name(path.name + ".partial")
    try:
        torch.save(checkpoint, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path} ({error}); the last good checkpoint is intact") from error


def _parameter_groups(model: MusicLSTM, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices of the LSTM and the output; leave biases and embeddings alone."""
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if "weight" in name and name.startswith(("lstm", "output")) else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch


def _identity(
    config: Config, tokenizer: Tokenizer, train: Sequence[EncodedPiece], valid: Sequence[EncodedPiece]
) -> str:
    """Digest of all that decides the weights: a checkpoint of something else is not resumed."""
    digest = hashlib.sha256()
    relevant = {"network": config.network.model_dump(), "training": config.training.model_dump()}
    digest.update(json.dumps(relevant, sort_keys=True).encode())
    digest.update(tokenizer.hash.encode())
    for piece in (*train, *valid):
        digest.update(piece.tokens.tobytes())
        digest.update(f"{piece.clock_start},{piece.unmetered_start}".encode())
    return digest.hexdigest()
