"""The training loop: epochs, validation, early stopping, checkpoints."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn import functional
from tqdm import tqdm

from music.tokenizers import Tokenizer
from report import check_writable
from training.config import Config
from training.errors import CheckpointError, ConfigurationError, DivergenceError, StoppedError
from training.loop.checkpoint import BEST, LAST, check_disk_space, load_checkpoint, save_checkpoint
from training.loop.distributed import World
from training.loop.epoch_state import EpochState, TokenMetrics
from training.loop.fingerprint import find_difference, make_fingerprint
from training.loop.history import EpochRecord, History
from training.loop.learner import Learner, StartingWeights
from training.loop.loader import BatchLoader, EpochLoaders
from training.loop.progress import RemainingTime, progress_bar
from training.loop.stop_request import StopRequest
from training.loop.tbptt import PADDING, EncodedPiece, TBPTTDataset, with_notes
from training.network.model import MusicLSTM
from training.network.optimization import learning_rate

SAVE_SECONDS: Final = 180.0
"""Time between two checkpoints within an epoch."""
_MIN_VALIDATION_ROWS: Final = 32
_WINDOWS_BETWEEN_CHECKS: Final = 16
"""How often several processes ask process 0 whether to save or to stop. Each time they wait for each other."""


class Trainer:
    """Trains one network in a run folder, in one process or in several that share the rows of each batch.

    The folder holds `last.pt` (everything that a resumed run needs, written after each epoch and every few minutes
    within one), `best.pt` (the weights with the lowest validation loss so far), `history.csv` and TensorBoard events.
    Only process 0 reads and writes it.

    A run that is killed and resumed ends with the same weights as a run that is not, on the same type of device with
    the same number of threads. The order of the pieces, the transpositions and the dropout of an epoch depend only on
    seed and epoch, and a checkpoint within an epoch holds the states of the LSTM and of the random number generators.
    Several processes see the same batches as one; only their dropout differs. A resumed run may have another number of
    epochs and another patience.
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
        start: StartingWeights | None = None,
    ) -> None:
        """Create a trainer, and resume the run in the folder if there is one.

        Args:
            config: of the run.
            tokenizer: of the pieces.
            train: training pieces.
            valid: validation pieces.
            folder: of the run.
            world: the processes of the training.
            progress: whether to show a progress bar.
            start: weights that a new run starts from; None for random ones.

        Raises:
            CheckpointError: the folder holds another run or cannot be written, or its disk is too small.
            ConfigurationError: there are more processes than rows.
        """
        self._config = config
        self._tokenizer = tokenizer
        told = {} if config.network.length_input else {"length_dropout": 1.0}
        train, valid = (with_notes(split, tokenizer) for split in (train, valid))
        self._loaders = EpochLoaders(train, tokenizer, config.training.model_copy(update=told), world)
        self._valid = valid
        self._folder = folder
        self._world = world
        self._progress = progress and world.is_main
        rows = min(config.training.batch_size, len(train))
        if rows < world.size:
            raise ConfigurationError(
                f"{world.size} processes cannot share {rows} rows (training.batch_size is "
                f"{config.training.batch_size}, and there are {len(train)} training pieces): start at most {rows} "
                "processes"
            )
        self._learner = Learner(config, tokenizer, world, start)
        self._epoch = 0
        self._resumed: EpochState | None = None
        """State of an unfinished epoch, from a checkpoint."""
        self._running: EpochState | None = None
        """State of the training of the current epoch. None before it starts."""
        self._best = math.inf
        self._best_epoch = 0
        self._records: list[EpochRecord] = []
        self._saved = time.monotonic()
        self._stop: StopRequest | None = None
        self._checks = 0
        self._fingerprint = make_fingerprint(config, tokenizer, train, valid, None if start is None else start.digest)
        valid_tokens, train_tokens = (sum(len(piece.tokens) for piece in split) for split in (valid, train))
        self._remaining = RemainingTime(config.training.epochs, validation_share=valid_tokens / train_tokens)
        if world.is_main:
            try:
                check_writable(folder)
            except OSError as error:
                raise CheckpointError.from_os_error(folder, error) from error
        self._resume()
        if world.is_main:
            check_disk_space(folder, self.model.parameter_count)

    @property
    def model(self) -> MusicLSTM:
        """The network with its latest weights."""
        return self._learner.model

    @property
    def averaged_model(self) -> MusicLSTM:
        """The network that is validated and kept in `best.pt`: with averaged weights, if the configuration says so."""
        return self._learner.averaged_model

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return self._epoch

    @property
    def is_new(self) -> bool:
        """Whether no step was trained yet, in this process or in an earlier one."""
        return self._epoch == 0 and self._resumed is None and self._running is None

    def run(self, after_epoch: Callable[[int], None] | None = None) -> EpochRecord:
        """Train until the last epoch or until patience runs out; the record of the best epoch.

        Args:
            after_epoch: called with the number of each epoch (from 1) while its weights are in `model`, before they
                are saved. A run that was killed may call it twice for an epoch, with the same weights.

        Raises:
            DivergenceError: the loss is not finite.
            CheckpointError: a checkpoint or the history cannot be written; the ones before are intact.
            StoppedError: a signal stopped the run; a checkpoint is saved.
        """
        training = self._config.training
        history = History(self._folder, self._records) if self._world.is_main else None
        with history or nullcontext(), StopRequest(verbose=self._world.is_main) as self._stop:
            while self._epoch < training.epochs and self._epoch - self._best_epoch < training.patience:
                record = self._run_epoch()
                better = record.valid_loss < self._best
                if better:
                    self._best, self._best_epoch = record.valid_loss, record.epoch
                self._epoch, self._running = record.epoch, None
                if after_epoch is not None:
                    after_epoch(record.epoch)
                self._records.append(record)
                if history is not None:
                    if better:
                        save_checkpoint(
                            self._folder / BEST, self._checkpoint() | {"model": self.averaged_model.state_dict()}
                        )
                    history.append(record)
                self._save()
                if self._progress:
                    tqdm.write(self._summary(record), file=sys.stderr)
        return self._records[self._best_epoch - 1]

    def train_epoch(self, epoch: int) -> TokenMetrics:
        """Train one epoch, counted from 0, or the rest of it if a checkpoint holds its start."""
        self.model.train()
        # Each process draws its own dropout; process 0 draws the same as a single process.
        torch.manual_seed(_epoch_seed(self._config.training.seed, epoch) + self._world.rank * 2**32)
        loader = self._loaders[epoch]
        dataset = loader.dataset
        running = self._running = self._resumed or EpochState.start(self._world, dataset.windows)
        self._resumed = None
        running.restore_rng(self._world)
        label = f"epoch {epoch + 1}/{self._config.training.epochs}"
        done = sum(dataset.counts[: running.windows])
        start = time.monotonic() - running.seconds
        self._remaining.start_epoch(dataset.windows)
        with progress_bar(label, dataset.tokens, done=done, shown=self._progress) as bar:
            for count in self._windows(self._learner.parallel, loader, running, train=True):
                self._remaining.window_done()
                running.seconds = time.monotonic() - start
                bar.set_postfix_str(self._remaining.as_text(epoch, running.windows), refresh=False)
                bar.update(count)
                self._save_or_stop()
        metrics = self._metrics(running, dataset)  # waits for the device
        running.seconds = time.monotonic() - start
        if self._world.device.type == "cuda":
            self._remaining.epoch_done(running.seconds)  # CUDA work is asynchronous: only now is its time known
        return metrics

    def evaluate(self, pieces: Sequence[EncodedPiece]) -> TokenMetrics:
        """Loss and accuracy of `averaged_model`, without dropout or transposition, each piece from its own start."""
        training = self._config.training
        longest_first = sorted(pieces, key=lambda piece: -len(piece.tokens))
        rows = max(training.batch_size, _MIN_VALIDATION_ROWS)
        dataset = TBPTTDataset(longest_first, self._tokenizer, batch_size=rows, window=training.window)
        self.averaged_model.eval()
        loader, state = BatchLoader(dataset, self._world), EpochState.start(self._world, dataset.windows)
        bar = progress_bar("validating", dataset.tokens, shown=self._progress)
        with bar, torch.inference_mode():
            for count in self._windows(self.averaged_model, loader, state, train=False):
                bar.update(count)
                if self._running is not None and self._world.size == 1:  # of several, some may have no window here
                    self._save_or_stop(due=False)  # validation changes nothing that a checkpoint holds
        return self._metrics(state, dataset)

    def _run_epoch(self) -> EpochRecord:
        trained = self.train_epoch(self._epoch)
        assert self._running is not None
        seconds, start = self._running.seconds, time.monotonic()
        validated = self.evaluate(self._valid)
        self._remaining.validation_done(time.monotonic() - start)
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
            seconds=seconds + time.monotonic() - start,
        )

    def _windows(
        self, network: torch.nn.Module, loader: BatchLoader, epoch_state: EpochState, *, train: bool
    ) -> Iterator[int]:
        """Run the remaining windows of a pass, and yield the tokens of each. Nothing waits for the device."""
        dataset = loader.dataset
        done = epoch_state.windows
        for batch, count in zip(islice(loader, done, None), dataset.counts[done:], strict=False):
            state = self.model.zero_state(batch.targets.shape[1]) if epoch_state.state is None else epoch_state.state
            state = state.detach().zero_rows(batch.reset)
            with self._learner.autocast(train=train):
                logits, epoch_state.state = network(batch.inputs, state)
            nats = functional.cross_entropy(
                logits.flatten(0, 1), batch.targets.flatten(), ignore_index=PADDING, reduction="sum"
            )
            if train and count:
                self._learner.step(nats, count, self._epoch + epoch_state.windows / dataset.windows)
            epoch_state.totals[0] += nats.detach()
            epoch_state.totals[1] += (logits.detach().argmax(-1) == batch.targets).sum()
            epoch_state.windows += 1
            yield count

    def _metrics(self, epoch_state: EpochState, dataset: TBPTTDataset) -> TokenMetrics:
        nats, correct = self._world.sum(epoch_state.totals.clone()).tolist()
        return TokenMetrics(nats, int(correct), dataset.tokens, dataset.tokens - dataset.ends)

    def _save_or_stop(self, *, due: bool = True) -> None:
        """Between two windows: save a checkpoint if one is due, and stop if a signal came. Process 0 decides."""
        self._checks += 1
        if self._stop is None or (self._world.size > 1 and self._checks % _WINDOWS_BETWEEN_CHECKS):
            return
        signal = self._stop.signal
        due = signal is not None or (due and time.monotonic() - self._saved >= SAVE_SECONDS)
        due, signal = self._world.broadcast((due, signal))
        if due:
            self._save()
        if signal is not None:
            self._world.gather(None)  # all processes wait for the checkpoint: torchrun ends them when the first ends
            assert self._running is not None
            share = self._running.windows / self._running.total_windows
            raise StoppedError(
                f"stopped in epoch {self._epoch + 1} of {self._config.training.epochs}, after {share:.0%} of it", signal
            )

    def _save(self) -> None:
        """Write `last.pt`. Every process must call it."""
        partial = None if self._running is None else self._running.state_dict(self._world)
        if partial is not None and not bool(torch.isfinite(partial["totals"]).all()):
            raise self._diverged("the training loss is not finite")
        if self._world.is_main:
            records = [asdict(record) for record in self._records]
            checkpoint = self._checkpoint() | self._learner.state_dict() | {"records": records, "partial": partial}
            save_checkpoint(self._folder / LAST, checkpoint)
        self._saved = time.monotonic()

    def _checkpoint(self) -> dict[str, Any]:
        """The part that both checkpoints hold."""
        return {
            "identity": self._fingerprint,
            "epoch": self._epoch,
            "best": self._best,
            "best_epoch": self._best_epoch,
        }

    def _resume(self) -> None:
        path = self._folder / LAST
        found = load_checkpoint(path) if self._world.is_main and path.exists() else None
        checkpoint = self._world.broadcast(found)
        if checkpoint is None:
            return
        difference = find_difference(checkpoint.get("identity"), self._fingerprint)
        if difference is not None:
            raise CheckpointError(f"{self._folder} holds a run that {difference}; choose another --run, or remove it")
        self._learner.load_state_dict(checkpoint)
        self._epoch, self._best = checkpoint["epoch"], checkpoint["best"]
        self._best_epoch = checkpoint["best_epoch"]
        self._records = [EpochRecord(**record) for record in checkpoint["records"]]
        if checkpoint["partial"] is not None:
            self._resumed = EpochState.from_state_dict(checkpoint["partial"], self._world)

    def _diverged(self, reason: str) -> DivergenceError:
        return DivergenceError(
            f"epoch {self._epoch + 1}: {reason}; lower the learning rate (the last checkpoint is intact)"
        )

    def _summary(self, record: EpochRecord) -> str:
        return (
            f"epoch {record.epoch}/{self._config.training.epochs}: "
            f"train {record.train_loss:.4f} ({record.train_accuracy:.2%}), "
            f"valid {record.valid_loss:.4f} ({record.valid_accuracy:.2%}), best {self._best:.4f}, "
            f"{record.tokens_per_second:,.0f} tokens/s, {self._remaining.as_text(record.epoch)}"
        )


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch
