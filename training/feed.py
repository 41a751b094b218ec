"""Lanes on their way to the device."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from music.tokenizers import Tokenizer
from training.batches import EncodedPiece, Lanes, training_lanes
from training.config import TrainingConfig
from training.distributed import World


@dataclass(frozen=True, slots=True)
class Batch:
    """This process's lanes of one window, on its device."""

    inputs: tuple[Tensor, ...]
    """Each (window, lanes, ...), in the order of `MusicLSTM.forward`."""
    targets: Tensor
    """(window, lanes)."""
    fresh: Tensor
    """(lanes,)."""


class Feed:
    """This process's lanes, window by window.

    On a GPU they all travel at once when the first is asked for, out of pinned memory, so that no step waits for a
    transfer. On the CPU every window stays where it is.
    """

    def __init__(self, lanes: Lanes, world: World) -> None:
        self.lanes = lanes
        mine = world.share(lanes.width)
        self._empty = not range(lanes.width)[mine]
        self._device = world.device
        self._windows: Iterable[tuple[Tensor, ...]] = _Windows(lanes, mine)
        self._staged: list[Tensor] | None = None
        if self._device.type == "cuda":
            self._staged = [torch.stack(column).pin_memory() for column in zip(*self._windows, strict=True)]

    def __iter__(self) -> Iterator[Batch]:
        """The batches in order; none where there are more processes than lanes."""
        if self._empty:
            return
        windows = self._windows
        if self._staged is not None:
            there = [column.to(self._device, non_blocking=True) for column in self._staged]
            windows = zip(*(column.unbind() for column in there), strict=True)
        for *inputs, targets, fresh in windows:
            yield Batch(tuple(inputs), targets, fresh[0])


class TrainingFeeds:
    """The feed of each epoch of training. On a GPU, which would wait for it, the next one is made meanwhile."""

    def __init__(
        self, pieces: Sequence[EncodedPiece], tokenizer: Tokenizer, config: TrainingConfig, world: World
    ) -> None:
        self._pieces = pieces
        self._tokenizer = tokenizer
        self._config = config
        self._world = world
        self._maker: ThreadPoolExecutor | None = None
        self._ahead: dict[int, Future[Feed]] = {}
        if world.device.type == "cuda":
            self._maker = ThreadPoolExecutor(1, "feed", torch.cuda.set_device, (world.device,))

    def __getitem__(self, epoch: int) -> Feed:
        """The feed of an epoch, counted from 0."""
        ahead = self._ahead.pop(epoch, None)
        feed = self._made(epoch) if ahead is None else ahead.result()
        if self._maker is not None and epoch + 1 < self._config.epochs:
            self._ahead = {epoch + 1: self._maker.submit(self._made, epoch + 1)}
        return feed

    def _made(self, epoch: int) -> Feed:
        return Feed(training_lanes(self._pieces, self._tokenizer, self._config, epoch), self._world)


@dataclass(frozen=True, slots=True)
class _Windows:
    """The windows' arrays as tensors, the targets and what is fresh last: all (window, lanes, ...)."""

    lanes: Lanes
    mine: slice

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for window in self.lanes:
            arrays = (*window.inputs, window.targets, window.fresh[None])
            yield tuple(torch.from_numpy(array[:, self.mine]) for array in arrays)
