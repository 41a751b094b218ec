"""The processes that train one network together, as `torchrun` starts them."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import torch
from torch import distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from music.errors import FantasiaError
from training.errors import ConfigurationError, DistributedError

T = TypeVar("T")

_JOIN_TIMEOUT: Final = timedelta(minutes=5)
_LAST_WORDS_SECONDS: Final = 2.0
"""How long a process that has nothing to say waits before it ends, for `torchrun` then ends all the others."""


@dataclass(frozen=True, slots=True)
class World:
    """This process's place among those that train one network; alone unless told otherwise.

    Every process draws the same lanes, keeps its share of them, and sums gradients and totals with the others,
    so that a step is the step of the whole batch. Process 0 alone writes files and talks.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def share(self, lanes: int) -> slice:
        """Which of so many lanes are this process's: none where there are fewer lanes than processes."""
        return slice(self.rank, lanes, self.size)

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, the same bits in each, so that all of them decide alike."""
        if self.size > 1:
            distributed.all_reduce(numbers)
            distributed.broadcast(numbers, src=0)
        return numbers

    def told(self, value: T) -> T:
        """What process 0 holds, in every process."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gathered(self, value: T) -> list[T]:
        """What each process holds, in the order of their ranks, in every process."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # every place is filled now

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are the mean over the processes."""
        if self.size == 1:
            return model
        on_card = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what shall replace `broadcast_buffers` is not there yet
            return DistributedDataParallel(model, on_card, broadcast_buffers=False, gradient_as_bucket_view=True)


def leading() -> bool:
    """Whether this process is the one that talks, which it knows before it joins the others."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that `torchrun` has started, or work alone where it has not.

    `cuda` is the card of the process's local rank; processes talk over nccl there and over gloo on the CPU.
    When one process fails, it alone says why, and all of them end with exit code 1.

    Raises:
        ConfigurationError: there are more processes on this machine than cards.
        DistributedError: the others cannot be reached, or one is lost.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(torch.device(device))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    try:
        store, rank, size = next(rendezvous("env://", timeout=_JOIN_TIMEOUT))
    except (RuntimeError, ValueError) as error:
        raise DistributedError(f"the {size} processes do not find each other: {error}") from error
    try:
        world = World(own_device(device, local), rank, size)
        backend = "nccl" if world.device.type == "cuda" else "gloo"
        group = PrefixStore("group", store)
        distributed.init_process_group(backend, store=group, rank=rank, world_size=size)
        yield world
        distributed.barrier()  # nobody hangs up while another still talks
        distributed.destroy_process_group()
    except (FantasiaError, KeyboardInterrupt, RuntimeError) as error:
        if not _first_to_fail(store):
            time.sleep(_LAST_WORDS_SECONDS)
            raise SystemExit(1) from error
        if isinstance(error, RuntimeError) and _is_a_lost_process(error):
            raise DistributedError(
                f"process {rank} lost the others: one of them was killed, or the network failed; the last good "
                "checkpoint is intact: the same command goes on from it"
            ) from error
        raise


def own_device(device: str, local: int) -> torch.device:
    """The device of the process with this number on its machine: for `cuda`, the card with the same number.

    Raises:
        ConfigurationError: there is no such card.
    """
    if device != "cuda":
        return torch.device(device)
    cards = torch.cuda.device_count()
    if local >= cards:
        raise ConfigurationError(
            f"--device cuda: process {local} of this machine has no card, there is one for {cards} of them"
        )
    card = torch.device("cuda", local)
    torch.cuda.set_device(card)
    return card


def _first_to_fail(store: Store) -> bool:
    """Whether no other process has failed before this one."""
    try:
        return int(store.add("failed", 1)) == 1
    except RuntimeError:  # the store went with the process that kept it
        return False


def _is_a_lost_process(error: RuntimeError) -> bool:
    """Whether the backend said so; gloo has no class for it."""
    said = str(error)
    return isinstance(error, distributed.DistError) or any(
        sign in said
        for sign in ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo/transport")
    )
