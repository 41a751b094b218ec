"""TBPTT batches on their way to the device."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from music.tokenizers import Tokenizer
from training.config import TrainingConfig
from training.loop.distributed import World
from training.loop.tbptt import EncodedPiece, TBPTTDataset, epoch_dataset
from training.network.inputs import Inputs


@dataclass(frozen=True, slots=True)
class TBPTTBatch:
    """This process's rows of one window, on its device."""

    inputs: Inputs[Tensor]
    """Each (window, rows, ...)."""
    targets: Tensor
    """(window, rows) int64."""
    reset: Tensor
    """(rows,) bool: rows whose LSTM state starts from zero, because a new piece begins."""


class BatchLoader:
    """Loads this process's rows of a data set, window by window.

    On a GPU the whole data set is copied from pinned memory when iteration starts, so that no step waits for a copy.
    On the CPU nothing is copied.
    """

    def __init__(self, dataset: TBPTTDataset, world: World) -> None:
        self.dataset = dataset
        rows = world.rows(dataset.batch_size)
        self._empty = not range(dataset.batch_size)[rows]
        self._device = world.device
        self._windows: Iterable[tuple[Tensor, ...]] = _TensorWindows(dataset, rows)
        self._pinned: list[Tensor] | None = None
        if self._device.type == "cuda":
            self._pinned = [torch.stack(column).pin_memory() for column in zip(*self._windows, strict=True)]

    def __iter__(self) -> Iterator[TBPTTBatch]:
        """The batches in order; none if there are more processes than rows."""
        if self._empty:
            return
        windows = self._windows
        if self._pinned is not None:
            columns = [column.to(self._device, non_blocking=True) for column in self._pinned]
            windows = zip(*(column.unbind() for column in columns), strict=True)
        for *inputs, targets, reset in windows:
            yield TBPTTBatch(Inputs(*inputs), targets, reset[0])


class EpochLoaders:
    """The loader of each training epoch. On a GPU a thread prepares the next one during the current epoch."""

    def __init__(
        self, pieces: Sequence[EncodedPiece], tokenizer: Tokenizer, config: TrainingConfig, world: World
    ) -> None:
        self._pieces = pieces
        self._tokenizer = tokenizer
        self._config = config
        self._world = world
        self._executor: ThreadPoolExecutor | None = None
        self._next: dict[int, Future[BatchLoader]] = {}
        if world.device.type == "cuda":
            self._executor = ThreadPoolExecutor(1, "loader", torch.cuda.set_device, (world.device,))

    def __getitem__(self, epoch: int) -> BatchLoader:
        """The loader of an epoch, counted from 0."""
        prepared = self._next.pop(epoch, None)
        loader = self._load(epoch) if prepared is None else prepared.result()
        if self._executor is not None and epoch + 1 < self._config.epochs:
            self._next = {epoch + 1: self._executor.submit(self._load, epoch + 1)}
        return loader

    def _load(self, epoch: int) -> BatchLoader:
        return BatchLoader(epoch_dataset(self._pieces, self._tokenizer, self._config, epoch), self._world)


@dataclass(frozen=True, slots=True)
class _TensorWindows:
    """Some rows of every window as tensors, all (window, rows, ...): inputs, then targets, then the reset mask."""

    dataset: TBPTTDataset
    rows: slice

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for window in self.dataset.iterate(self.rows):
            yield tuple(map(torch.from_numpy, (*window.inputs, window.targets, window.reset[None])))
