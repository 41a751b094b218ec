"""The state of one pass over the batches of an epoch, which a checkpoint can hold, and its metrics."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.loop.distributed import World
from training.network.model import State


@dataclass(frozen=True, slots=True)
class TokenMetrics:
    """Loss and accuracy over the tokens of some pieces."""

    nats: float
    """Total negative log-likelihood of all tokens."""
    correct: int
    """Tokens that the network predicted as the most likely."""
    tokens: int
    note_steps: int
    """Tokens that stand for time: `tokens` without the end tokens."""

    @property
    def loss(self) -> float:
        """Nats per note-step."""
        return self.nats / self.note_steps

    @property
    def accuracy(self) -> float:
        """Share of all tokens that the network predicted as the most likely."""
        return self.correct / self.tokens


@dataclass(slots=True)
class EpochState:
    """How far a pass over the windows of an epoch is. Each process has its own, over its own rows."""

    totals: Tensor
    """(2,) float64 on the device: nats and correct tokens so far."""
    windows: int = 0
    """Windows that are done."""
    total_windows: int = 0
    """Windows of the whole pass."""
    state: State | None = None
    """LSTM state after these windows. None before the first."""
    seconds: float = 0.0
    """Training time so far, including earlier processes of the run."""
    rng_states: dict[str, Tensor] = field(default_factory=dict)
    """States of the random number generators at a checkpoint, by device type."""

    @classmethod
    def start(cls, world: World, total_windows: int = 0) -> "EpochState":
        """The state before the first window."""
        return cls(torch.zeros(2, dtype=torch.float64, device=world.device), total_windows=total_windows)

    def state_dict(self, world: World) -> dict[str, Any]:
        """The state of all processes, for a checkpoint. Every process must call it."""
        totals = world.sum(self.totals.clone()).cpu()
        rng_states = {"cpu": torch.get_rng_state()}
        if world.device.type == "cuda":
            rng_states["cuda"] = torch.cuda.get_rng_state(world.device)
        own = None if self.state is None else {"h": self.state.h.detach().cpu(), "c": self.state.c.detach().cpu()}
        all_rng_states, states = world.gather(rng_states), world.gather(own)
        return {
            "windows": self.windows,
            "of": self.total_windows,
            "seconds": self.seconds,
            "totals": totals,
            "state": _interleave([state for state in states if state is not None]),
            "random": all_rng_states,
        }

    @classmethod
    def from_state_dict(cls, values: dict[str, Any], world: World) -> "EpochState":
        """This process's part of a checkpoint. The number of processes may have changed since."""
        state, rng_states = values["state"], values["random"]
        epoch = cls.start(world, values["of"])
        epoch.windows, epoch.seconds = values["windows"], values["seconds"]
        if world.is_main:  # the totals are summed over the processes in the end
            epoch.totals = values["totals"].to(world.device)
        if state is not None:
            rows = world.rows(state["h"].shape[1])
            epoch.state = State(*(state[name][:, rows].contiguous().to(world.device) for name in ("h", "c")))
        if world.rank < len(rng_states):
            epoch.rng_states = rng_states[world.rank]
        return epoch

    def restore_rng(self, world: World) -> None:
        """Set the random number generators to the checkpoint's states, as far as it has one for the device."""
        if "cpu" in self.rng_states:
            torch.set_rng_state(self.rng_states["cpu"])
        if "cuda" in self.rng_states and world.device.type == "cuda":
            torch.cuda.set_rng_state(self.rng_states["cuda"], world.device)


def _interleave(parts: list[dict[str, Tensor]]) -> dict[str, Tensor] | None:
    """Join the rows of all processes, each (layers, rows, hidden), in the order of the batch (see `World.rows`)."""
    if not parts:
        return None
    batch_size = sum(part["h"].shape[1] for part in parts)
    joined = {}
    for name in ("h", "c"):
        layers, _, hidden = parts[0][name].shape
        whole = torch.empty(layers, batch_size, hidden, dtype=parts[0][name].dtype)
        for rank, part in enumerate(parts):
            whole[:, rank :: len(parts)] = part[name]
        joined[name] = whole
    return joined
