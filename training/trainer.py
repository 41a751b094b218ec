"""The training loop: epochs over windows, validation, early stopping, checkpoints to resume from."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn import functional
from tqdm import tqdm

from music.tokenizers import Tokenizer
from training.average import weight_average
from training.batches import PADDING, EncodedPiece, Lanes
from training.checkpoint import BEST, LAST, check_space, load_checkpoint, save_checkpoint, unwritable
from training.config import Config
from training.distributed import World
from training.errors import CheckpointError, ConfigurationError, DivergenceError, StoppedError
from training.feed import Feed, TrainingFeeds
from training.files import check_writable
from training.history import EpochRecord, History
from training.identity import difference, identity
from training.model import MusicLSTM
from training.optimizer import make_optimizer
from training.partial import PartialEpoch
from training.progress import TimeLeft, progress_bar
from training.schedule import learning_rate
from training.score import Score
from training.stopping import StopRequest

SAVE_SECONDS: Final = 180.0
"""Time between two checkpoints within an epoch."""
_VALIDATION_LANES: Final = 32
_WINDOWS_BETWEEN_MESSAGES: Final = 16
"""How often several processes ask process 0 whether to save or to stop: a message makes them wait for each other."""


class Trainer:
    """Trains one network in a run folder, alone or as one of several processes that share each step's rows.

    The folder holds `last.pt` (everything a resumed run needs, written after each epoch and every few minutes within
    one), `best.pt` (the weights with the lowest validation loss so far), `history.csv`, TensorBoard events and the
    curves; process 0 alone reads and writes it. A run that is killed and started again ends with the weights of one
    that was not, on the same kind of device with the same number of threads: the order of the pieces, the
    transpositions and the dropout of an epoch depend on the seed and the epoch alone, and a checkpoint within an epoch
    holds the state of the network and of its random numbers. Several processes see the same rows as one would; only
    their dropout is drawn differently. A run may go on with more or fewer epochs and another patience.
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
        self._optimizer = make_optimizer(self.model, config.training)
        self._epoch = 0
        self._resumed: PartialEpoch | None = None
        """How far a run that was stopped had come with its epoch."""
        self._partial: PartialEpoch | None = None
        """How far the training of the epoch after `_epoch` has come; None before it begins."""
        self._best = math.inf
        self._best_epoch = 0
        self._records: list[EpochRecord] = []
        self._saved = time.monotonic()
        self._stop: StopRequest | None = None
        self._pauses = 0
        self._identity = identity(config, tokenizer, train, valid)
        charged = [sum(len(piece.tokens) for piece in side) for side in (valid, train)]
        self._left = TimeLeft(config.training.epochs, validated_share=charged[0] / charged[1])
        if world.leads:
            try:
                check_writable(folder)
            except OSError as error:
                raise unwritable(folder, error) from error
        self._resume()
        if world.leads:
            check_space(folder, self.model.parameter_count)

    def run(self, after_epoch: Callable[[int], None] | None = None) -> EpochRecord:
        """Train until the last epoch or until patience runs out; the record of the best epoch.

        `after_epoch` is called with the number of each epoch (from 1) while its weights are in `model` and before
        they are saved: a run that was killed may call it twice for one epoch, with the same weights.

        Raises:
            DivergenceError: the loss is no number any more.
            CheckpointError: a checkpoint or the history cannot be written; the ones before are intact.
            StoppedError: a signal asked for an end; what has been reached is saved.
        """
        training = self._config.training
        history = History(self._folder, self._records) if self._world.leads else None
        with history or nullcontext(), StopRequest(talks=self._world.leads) as self._stop:
            while self._epoch < training.epochs and self._epoch - self._best_epoch < training.patience:
                record = self._run_epoch()
                better = record.valid_loss < self._best
                if better:
                    self._best, self._best_epoch = record.valid_loss, record.epoch
                self._epoch, self._partial = record.epoch, None
                if after_epoch is not None:
                    after_epoch(record.epoch)
                self._records.append(record)
                if history is not None:
                    if better:
                        save_checkpoint(self._folder / BEST, self._checkpoint())
                    history.append(record)
                self._save()
                if self._progress:
                    tqdm.write(self._summary(record), file=sys.stderr)
        return self._records[self._best_epoch - 1]

    @property
    def epochs(self) -> int:
        """Whole epochs that are done."""
        return self._epoch

    def score(self, pieces: Sequence[EncodedPiece]) -> Score:
        """Loss and accuracy without dropout or transposition, each piece from its own start."""
        training = self._config.training
        ordered = sorted(pieces, key=lambda piece: -len(piece.tokens))
        width = max(training.lanes, _VALIDATION_LANES)
        lanes = Lanes(ordered, self._tokenizer, lanes=width, window=training.window)
        self.finished.eval()
        feed, partial = Feed(lanes, self._world), PartialEpoch.begun(self._world, lanes.windows)
        bar = progress_bar("validating", lanes.tokens, shown=self._progress)
        with bar, torch.inference_mode():
            for count in self._windows(self.finished, feed, partial, train=False):
                bar.update(count)
                if self._partial is not None and self._world.size == 1:  # the epoch's own; others may hold no window
                    self._pause(due=False)  # there is nothing new to save
        return self._scored(partial, lanes)

    @property
    def finished(self) -> MusicLSTM:
        """The network that validation judges and `best.pt` keeps: the average of the weights, or the last."""
        if self._average is None:
            return self.model
        assert isinstance(self._average.module, MusicLSTM)
        return self._average.module

    def train_epoch(self, epoch: int) -> Score:
        """One pass over the windows of an epoch, counted from 0, with a step for each; it may have been begun."""
        self.model.train()
        # Every process draws its own dropout; process 0 draws what it would draw alone.
        torch.manual_seed(_epoch_seed(self._config.training.seed, epoch) + self._world.rank * 2**32)
        feed = self._feeds[epoch]
        lanes = feed.lanes
        partial = self._partial = self._resumed or PartialEpoch.begun(self._world, lanes.windows)
        self._resumed = None
        partial.restore_random(self._world)
        label = f"epoch {epoch + 1}/{self._config.training.epochs}"
        done = sum(lanes.counts[: partial.windows])
        began = time.monotonic() - partial.seconds
        self._left.begin(lanes.windows)
        with progress_bar(label, lanes.tokens, done=done, shown=self._progress) as bar:
            for count in self._windows(self._parallel, feed, partial, train=True):
                self._left.trained()
                partial.seconds = time.monotonic() - began
                bar.set_postfix_str(self._left.words(epoch, partial.windows), refresh=False)
                bar.update(count)
                self._pause()
        score = self._scored(partial, lanes)  # which waits for the device
        partial.seconds = time.monotonic() - began
        if self._world.device.type == "cuda":
            self._left.trained_all(partial.seconds)  # until now the host only knew when it had handed out the work
        return score

    def _run_epoch(self) -> EpochRecord:
        trained = self.train_epoch(self._epoch)
        assert self._partial is not None
        seconds, began = self._partial.seconds, time.monotonic()
        validated = self.score(self._valid)
        self._left.validated(time.monotonic() - began)
        if not math.isfinite(validated.loss):
            raise self._diverged(f"the validation loss is {validated.loss}")
        return EpochRecord(
            epoch=self._epoch + 1,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            valid_loss=validated.loss,
            valid_accuracy=validated.accuracy,
            learning_rate=learning_rate(self._config.training, self._epoch + 1),
            tokens_per_second=trained.tokens / max(seconds, 1e-9),
            seconds=seconds + time.monotonic() - began,
        )

    def _windows(self, network: torch.nn.Module, feed: Feed, partial: PartialEpoch, *, train: bool) -> Iterator[int]:
        """The windows that are left of a pass: the tokens of each, once the host has handed out its work.

        Nothing waits for the device before the end.
        """
        lanes = feed.lanes
        done = partial.windows
        for batch, count in zip(islice(feed, done, None), lanes.counts[done:], strict=False):
            state = self.model.zero_state(batch.targets.shape[1]) if partial.state is None else partial.state
            state = state.detached().kept(~batch.fresh)
            with self._autocast():
                logits, partial.state = network(*batch.inputs, state)
            nats = functional.cross_entropy(
                logits.flatten(0, 1), batch.targets.flatten(), ignore_index=PADDING, reduction="sum"
            )
            if train and count:
                self._step(nats, count, self._epoch + partial.windows / lanes.windows)
            partial.totals[0] += nats.detach()
            partial.totals[1] += (logits.detach().argmax(-1) == batch.targets).sum()
            partial.windows += 1
            yield count

    def _scored(self, partial: PartialEpoch, lanes: Lanes) -> Score:
        nats, correct = self._world.total(partial.totals.clone()).tolist()
        return Score(nats, int(correct), lanes.tokens, lanes.tokens - lanes.ends)

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

    def _pause(self, *, due: bool = True) -> None:
        """Between two windows: save what has been reached if that is due, and stop if a signal asked for it.

        Process 0 decides for all.
        """
        self._pauses += 1
        if self._stop is None or (self._world.size > 1 and self._pauses % _WINDOWS_BETWEEN_MESSAGES):
            return
        asked = self._stop.signal
        due = asked is not None or (due and time.monotonic() - self._saved >= SAVE_SECONDS)
        due, asked = self._world.told((due, asked))
        if due:
            self._save()
        if asked is not None:
            self._world.gathered(None)  # no process ends before the checkpoint is written: torchrun ends the others
            assert self._partial is not None
            share = self._partial.windows / self._partial.of
            where = f"epoch {self._epoch + 1} of {self._config.training.epochs}, {share:.0%} through"
            raise StoppedError(f"stopped in {where}", asked)

    def _save(self) -> None:
        """Write `last.pt`. Every process has to call it."""
        partial = None if self._partial is None else self._partial.entry(self._world)
        if partial is not None and not bool(torch.isfinite(partial["totals"]).all()):
            raise self._diverged("the training loss is no number")
        if self._world.leads:
            save_checkpoint(self._folder / LAST, self._checkpoint(resumable=True) | {"partial": partial})
        self._saved = time.monotonic()

    def _diverged(self, how: str) -> DivergenceError:
        return DivergenceError(
            f"epoch {self._epoch + 1}: {how}; lower the learning rate (the checkpoint before is intact)"
        )

    def _summary(self, record: EpochRecord) -> str:
        """One line an epoch."""
        return (
            f"epoch {record.epoch}/{self._config.training.epochs}: "
            f"train {record.train_loss:.4f} ({record.train_accuracy:.2%}), "
            f"valid {record.valid_loss:.4f} ({record.valid_accuracy:.2%}), best {self._best:.4f}, "
            f"{record.tokens_per_second:,.0f} tokens/s, {self._left.words(record.epoch)}"
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
        different = difference(checkpoint.get("identity"), self._identity)
        if different is not None:
            raise CheckpointError(f"{self._folder} holds a run that {different}; choose another --run, or remove it")
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
        if checkpoint["partial"] is not None:
            self._resumed = PartialEpoch.from_entry(checkpoint["partial"], self._world)


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch
