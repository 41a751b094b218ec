"""Trains a network for a number of CPU seconds, so that networks of different speed are compared at equal cost."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from music.score import Score
from music.tokenizers import Tokenizer
from research.comparison.record import BudgetPoint
from training.config import Config
from training.errors import CheckpointError, ConfigurationError, DivergenceError
from training.evaluation.likelihood import LikelihoodTotals, MeterMode, score_pieces
from training.evaluation.network_scoring import NetworkScorer
from training.loop.checkpoint import LAST, load_checkpoint, save_checkpoint
from training.loop.distributed import World
from training.loop.loader import BatchLoader, TBPTTBatch
from training.loop.tbptt import PADDING, EncodedPiece, epoch_dataset
from training.network.optimization import learning_rate, make_optimizer, weight_average

POINTS: Final = 6
"""Number of validations in a training, at equal distances of CPU time."""


def without_notes(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer as a network sees it that gets nothing of the notes so far."""
    plain = copy.copy(tokenizer)
    plain.note_tracker = None
    return plain


class BudgetTraining:
    """One training of so many CPU seconds of this process, with one thread.

    What is charged: preparing the batches, the notes' features (if the network sees any) and the steps. What is not:
    reading the corpus, validation and checkpoints. The learning rate follows the share of the budget that is spent.
    The folder holds `last.pt`, written at each validation. A training that was interrupted is resumed from it.
    """

    def __init__(
        self,
        config: Config,
        network: nn.Module,
        tokenizer: Tokenizer,
        folder: Path,
        *,
        budget_seconds: float,
    ) -> None:
        """Create the training, and resume the one in the folder if there is one.

        Args:
            config: of the training; `training.epochs` is the unit of its warm-up, all of them are the budget.
            network: with random weights, in the form of `training.network.model.MusicLSTM`.
            tokenizer: of the network; without a note tracker if it sees nothing of the notes.
            folder: for the checkpoint.
            budget_seconds: CPU seconds.

        Raises:
            CheckpointError: the folder holds a damaged checkpoint, or one of another training.
        """
        self._config = config.training
        self.network: Any = network
        self._tokenizer = tokenizer
        self._folder = folder
        self._budget = budget_seconds
        self._world = World(torch.device("cpu"))
        self._optimizer = make_optimizer(network, config.training)
        self._average = weight_average(network, config.training.ema_decay)
        self._identity = f"{config.model_dump_json()} {type(network).__name__} {budget_seconds:g}"
        self.spent_seconds = 0.0
        """CPU seconds charged so far."""
        self.tokens = 0
        """Tokens trained so far."""
        self.points: list[BudgetPoint] = []
        """One for each validation."""
        self._epoch = 0
        self._windows = 0
        self._state: Any = None
        self._nats = 0.0
        self._counted = 0
        self._resume()

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.spent_seconds >= self._budget

    def run(
        self,
        pieces: Sequence[EncodedPiece],
        preparation_seconds: float,
        valid: Sequence[Score],
        report: Callable[[str], None],
    ) -> None:
        """Train until the budget is spent.

        Args:
            pieces: for training.
            preparation_seconds: CPU seconds that the pieces have cost already. They are charged once.
            valid: pieces for the curve.
            report: called with a line for each validation.

        Raises:
            ConfigurationError: preparing the pieces has cost the whole budget.
            DivergenceError: the loss is not finite.
            CheckpointError: a checkpoint cannot be written.
        """
        if not self.tokens:
            self.spent_seconds = preparation_seconds
            if self.finished:
                raise ConfigurationError(
                    f"preparing the pieces took {preparation_seconds:.0f} of {self._budget:g} CPU seconds: raise "
                    "cpu_seconds"
                )
        self.network.train()
        while not self.finished:
            for batch, tokens in self._batches(pieces):
                start = time.process_time()
                self._step(batch, tokens)
                self.spent_seconds += time.process_time() - start
                due = self._budget * (len(self.points) + 1) / POINTS
                if self.spent_seconds >= due or self.finished:
                    self._validate(valid, report)
                if self.finished:
                    break
            else:
                self._epoch, self._windows, self._state = self._epoch + 1, 0, None

    def evaluate(self, scores: Sequence[Score]) -> LikelihoodTotals:
        """The likelihood of pieces with the averaged weights."""
        average: Any = self._average.eval().module
        return score_pieces(
            NetworkScorer(average, self._tokenizer, threads=1), self._tokenizer, scores, MeterMode.GIVEN
        )

    def _batches(self, pieces: Sequence[EncodedPiece]) -> Iterator[tuple[TBPTTBatch, int]]:
        """The remaining batches of the present epoch with their tokens; charges what they cost."""
        start = time.process_time()
        dataset = epoch_dataset(pieces, self._tokenizer, self._config, self._epoch)
        for index, batch in enumerate(BatchLoader(dataset, self._world)):
            if index >= self._windows:  # the others are read again after an interruption, and not charged again
                self.spent_seconds += time.process_time() - start
                yield batch, dataset.counts[index]
            start = time.process_time()

    def _step(self, batch: TBPTTBatch, tokens: int) -> None:
        state = self.network.zero_state(batch.targets.shape[1]) if self._state is None else self._state
        logits, self._state = self.network(batch.inputs, state.detach().zero_rows(batch.reset))
        loss = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=PADDING)
        share = min(self.spent_seconds / self._budget, 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._config, share * self._config.epochs)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._config.gradient_clip)
        self._optimizer.step()
        self._average.update_parameters(self.network)
        self._nats += float(loss.detach()) * tokens
        self._counted += tokens
        self.tokens += tokens
        self._windows += 1

    def _validate(self, valid: Sequence[Score], report: Callable[[str], None]) -> None:
        trained = self._nats / self._counted
        if not trained < float("inf"):
            raise DivergenceError(f"the loss is {trained} after {self.spent_seconds:.0f} CPU seconds")
        found = self.evaluate(valid)
        assert found.nats_per_note is not None
        self.points.append(
            BudgetPoint(
                cpu_seconds=round(self.spent_seconds, 1),
                tokens=self.tokens,
                train_nats_per_token=round(trained, 5),
                valid_nats_per_note=round(found.nats_per_note, 5),
            )
        )
        self._nats, self._counted = 0.0, 0
        self._save()
        report(self.points[-1].model_dump_json())

    def _save(self) -> None:
        state = None if self._state is None else tuple(self._state.detach())
        self._folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            self._folder / LAST,
            {
                "identity": self._identity,
                "model": self.network.state_dict(),
                "average": self._average.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "random": torch.get_rng_state(),
                "state": state,
                "progress": [self.spent_seconds, self.tokens, self._epoch, self._windows],
                "points": [point.model_dump() for point in self.points],
            },
        )

    def _resume(self) -> None:
        if not (self._folder / LAST).exists():
            return
        saved = load_checkpoint(self._folder / LAST)
        if saved.get("identity") != self._identity:
            raise CheckpointError(f"{self._folder} holds another training; choose another --work, or remove it")
        self.network.load_state_dict(saved["model"])
        self._average.load_state_dict(saved["average"])
        self._optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"])
        if saved["state"] is not None:
            self._state = type(self.network.zero_state(1))(*saved["state"])
        self.spent_seconds, self.tokens, self._epoch, self._windows = saved["progress"]
        self.points = [BudgetPoint(**point) for point in saved["points"]]
