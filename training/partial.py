"""A pass over an epoch's windows that can be left and gone on with, in every process that takes part."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.distributed import World
from training.model import State


@dataclass(slots=True)
class PartialEpoch:
    """How far a pass has come. Every process has its own, over its own rows."""

    totals: Tensor
    """(2,) float64 on the device: nats, and tokens that the network held likeliest."""
    windows: int = 0
    """Windows that are done."""
    of: int = 0
    """Windows of the whole pass."""
    state: State | None = None
    """What the network remembers after them; None before the first."""
    seconds: float = 0.0
    """Time that they took, in processes that have ended too."""
    random: dict[str, Tensor] = field(default_factory=dict)
    """States of the random numbers to go on with, by the kind of device."""

    @classmethod
    def begun(cls, world: World, of: int = 0) -> "PartialEpoch":
        """Before the first window of so many."""
        return cls(torch.zeros(2, dtype=torch.float64, device=world.device), of=of)

    def entry(self, world: World) -> dict[str, Any]:
        """All of it, of all processes, for a checkpoint. Every process has to call it."""
        totals = world.total(self.totals.clone()).cpu()
        random = {"cpu": torch.get_rng_state()}
        if world.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(world.device)
        own = None if self.state is None else {"h": self.state.h.detach().cpu(), "c": self.state.c.detach().cpu()}
        randoms, states = world.gathered(random), world.gathered(own)
        return {
            "windows": self.windows,
            "of": self.of,
            "seconds": self.seconds,
            "totals": totals,
            "state": _joined([state for state in states if state is not None]),
            "random": randoms,
        }

    @classmethod
    def from_entry(cls, entry: dict[str, Any], world: World) -> "PartialEpoch":
        """This process's part of it; there may be more or fewer processes now."""
        state, random = entry["state"], entry["random"]
        partial = cls.begun(world, entry["of"])
        partial.windows, partial.seconds = entry["windows"], entry["seconds"]
        if world.leads:  # the totals are summed over the processes in the end
            partial.totals = entry["totals"].to(world.device)
        if state is not None:
            rows = world.share(state["h"].shape[1])
            partial.state = State(*(state[name][:, rows].contiguous().to(world.device) for name in ("h", "c")))
        if world.rank < len(random):
            partial.random = random[world.rank]
        return partial

    def restore_random(self, world: World) -> None:
        """Draw what would have been drawn next; nothing to do where a device of another kind began."""
        if "cpu" in self.random:
            torch.set_rng_state(self.random["cpu"])
        if "cuda" in self.random and world.device.type == "cuda":
            torch.cuda.set_rng_state(self.random["cuda"], world.device)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor] | None:
    """The rows of all processes, each (layers, rows, hidden), in the order of the batch: see `World.share`."""
    if not parts:
        return None
    width = sum(part["h"].shape[1] for part in parts)
    joined = {}
    for name in ("h", "c"):
        layers, _, hidden = parts[0][name].shape
        whole = torch.empty(layers, width, hidden, dtype=parts[0][name].dtype)
        for rank, part in enumerate(parts):
            whole[:, rank :: len(parts)] = part[name]
        joined[name] = whole
    return joined
