"""Data-parallel processes, as `torchrun` starts them."""

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
_FAILURE_DELAY_SECONDS: Final = 2.0
"""How long a process waits before it ends when another one reports the error: `torchrun` then ends all of them."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among those that train one network. By default it is the only one.

    Every process lays out the same batch, takes its share of the rows, and sums gradients and totals with the others.
    So a step is a step of the whole batch. Only process 0 writes files and output.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is process 0, which writes files and output."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """This process's rows of a batch; none if there are fewer rows than processes."""
        return slice(self.rank, batch_size, self.size)

    def sum(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place. All processes get the same bits and so take the same decisions."""
        if self.size > 1:
            distributed.all_reduce(numbers)
            distributed.broadcast(numbers, src=0)
        return numbers

    def broadcast(self, value: T) -> T:
        """The value of process 0, in every process."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all processes in the order of their ranks, in every process."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # every place is filled now

    def data_parallel(self, model: nn.Module) -> nn.Module:
        """A wrapper of the model that averages the gradients over the processes; the model itself if alone."""
        if self.size == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the replacement of `broadcast_buffers` is not released yet
            return DistributedDataParallel(model, devices, broadcast_buffers=False, gradient_as_bucket_view=True)


def is_main_process() -> bool:
    """Whether this is process 0, known before it joins the others."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def process_group(device: str) -> Iterator[World]:
    """Join the processes that `torchrun` has started; without `torchrun`, a world of one process.

    On `cuda` a process takes the GPU of its local rank and communicates with nccl, on the CPU with gloo. If a process
    fails, it alone reports the error, and all of them end with exit code 1.

    Raises:
        ConfigurationError: there are more processes on this machine than GPUs.
        DistributedError: the other processes cannot be reached, or one is lost.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(torch.device(device))
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    try:
        store, rank, size = next(rendezvous("env://", timeout=_JOIN_TIMEOUT))
    except (RuntimeError, ValueError) as error:
        raise DistributedError(f"the {size} processes cannot reach each other: {error}") from error
    try:
        world = World(local_device(device, local_rank), rank, size)
        backend = "nccl" if world.device.type == "cuda" else "gloo"
        group = PrefixStore("group", store)
        distributed.init_process_group(backend, store=group, rank=rank, world_size=size)
        yield world
        distributed.barrier()  # a process must not leave while another still communicates
        distributed.destroy_process_group()
    except (FantasiaError, KeyboardInterrupt, RuntimeError) as error:
        if not _is_first_failure(store):
            time.sleep(_FAILURE_DELAY_SECONDS)
            raise SystemExit(1) from error
        if isinstance(error, RuntimeError) and _is_connection_error(error):
            raise DistributedError(
                f"process {rank} lost the others: one of them was killed, or the network failed. The last checkpoint "
                "is intact: run the same command to resume from it"
            ) from error
        raise


def local_device(device: str, local_rank: int) -> torch.device:
    """The device of a process: for `cuda`, the GPU with the number of its local rank.

    Raises:
        ConfigurationError: there is no such GPU.
    """
    if device != "cuda":
        return torch.device(device)
    gpus = torch.cuda.device_count()
    if local_rank >= gpus:
        raise ConfigurationError(
            f"--device cuda: there is no GPU for process {local_rank} of this machine; it has {gpus}, and each process "
            "needs one"
        )
    gpu = torch.device("cuda", local_rank)
    torch.cuda.set_device(gpu)
    return gpu


def _is_first_failure(store: Store) -> bool:
    """Whether no other process failed before this one."""
    try:
        return int(store.add("failed", 1)) == 1
    except RuntimeError:  # the store ended with its process
        return False


def _is_connection_error(error: RuntimeError) -> bool:
    """Whether the backend lost a connection. gloo has no error class for this."""
    message = str(error)
    return isinstance(error, distributed.DistError) or any(
        sign in message
        for sign in ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo/transport")
    )
