"""What a network learns beside the tokens themselves: what others, finished before it, hold likely in their place."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from training.batches import PADDING
from training.feed import Batch
from training.model import MusicLSTM, State


class Teachers:
    """Finished networks whose mean distribution a student is to predict (Hinton et al., 2015).

    Args:
        networks: the networks, on the student's device; they no longer change.
        weight: share of the loss that is theirs, 0 to 1.
        sharpness: what their logits are multiplied by; below 1 where they are surer than they should be.
    """

    def __init__(self, networks: Sequence[MusicLSTM], *, weight: float, sharpness: float = 1.0) -> None:
        self._networks = [network.eval().requires_grad_(False) for network in networks]
        self._weight = weight
        self._sharpness = sharpness

    def lesson(self) -> "Lesson":
        """A pass over lanes, from its first window on."""
        return Lesson(self._networks, self._weight, self._sharpness)


class Lesson:
    """One pass over lanes: every teacher hears the windows that the student hears, and carries its own state along."""

    def __init__(self, networks: Sequence[MusicLSTM], weight: float, sharpness: float) -> None:
        self._networks = networks
        self._weight = weight
        self._sharpness = sharpness
        self._states: list[State | None] = [None] * len(networks)

    def loss(self, batch: Batch, logits: Tensor, nats: Tensor) -> Tensor:
        """What the student goes down in a window, a sum over its tokens.

        Args:
            batch: the window.
            logits: (time, lanes, vocabulary), the student's.
            nats: its cross-entropy with the tokens themselves, summed.
        """
        taught = -(self._mean(batch) * functional.log_softmax(logits, -1)).sum()
        return self._weight * taught + (1 - self._weight) * nats

    @torch.no_grad()
    def _mean(self, batch: Batch) -> Tensor:
        """(time, lanes, vocabulary): the teachers' mean distribution, zero where there is no token."""
        total = torch.zeros(())
        for index, network in enumerate(self._networks):
            state = self._states[index] or network.zero_state(batch.targets.shape[1])
            logits, self._states[index] = network(*batch.inputs, state.kept(~batch.fresh))
            total = total.to(logits.device) + (logits * self._sharpness).softmax(-1)
        return (total / len(self._networks)).masked_fill((batch.targets == PADDING)[..., None], 0.0)
