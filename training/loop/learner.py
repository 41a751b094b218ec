"""The network in training: its weights, their moving average, and the optimizer's step."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from music.tokenizers import Tokenizer
from training.config import Config
from training.loop.distributed import World
from training.loop.hardware import trains_faster_in_bfloat16
from training.network.model import MusicLSTM
from training.network.optimization import learning_rate, make_optimizer, weight_average


@dataclass(frozen=True, slots=True, eq=False)
class StartingWeights:
    """Weights of a trained network of the same shape, from which a training starts."""

    weights: Mapping[str, torch.Tensor]
    """By their names in `MusicLSTM`."""
    digest: str
    """sha256 in hex of the model that they come from."""


class Learner:
    """Owns the model, its weight average and its optimizer, in one of the processes of a training."""

    def __init__(
        self, config: Config, tokenizer: Tokenizer, world: World, start: StartingWeights | None = None
    ) -> None:
        """Create the model with random weights, or with those of `start`."""
        self._config = config.training
        self._world = world
        self._bfloat16 = trains_faster_in_bfloat16(config)
        torch.manual_seed(config.training.seed)
        self.model = MusicLSTM(config.network, tokenizer)
        if start is not None:
            self.model.load_state_dict(dict(start.weights))
        self.model.to(world.device)
        self.parallel = world.data_parallel(self.model)
        """The model whose gradients are averaged over the processes."""
        self._average = weight_average(self.model, self._config.ema_decay) if self._config.ema_decay else None
        self._optimizer = make_optimizer(self.model, self._config)

    @property
    def averaged_model(self) -> MusicLSTM:
        """The model to validate and to export: the average of the weights, or the latest weights without one."""
        if self._average is None:
            return self.model
        assert isinstance(self._average.module, MusicLSTM)
        return self._average.module

    def autocast(self, *, train: bool) -> AbstractContextManager[Any]:
        """bfloat16 on CUDA, and in training on a CPU that is faster in it; else float32.

        A CPU validates in float32, because bundles are served in it there.
        """
        if self._world.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return torch.autocast("cpu", torch.bfloat16) if train and self._bfloat16 else nullcontext()

    def step(self, nats: torch.Tensor, count: int, epoch: float) -> None:
        """One optimizer step on the mean loss over the `count` tokens of a window in all processes.

        Processes may hold different numbers of tokens, and the gradients are averaged over the processes. So each
        process divides its sum by the tokens of all of them, and multiplies it by the number of processes.

        Args:
            nats: sum of the losses of this process's tokens.
            count: tokens of the window in all processes.
            epoch: epochs done so far, including the fraction of the current one.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._config, epoch)
        self._optimizer.zero_grad(set_to_none=True)
        (nats * (self._world.size / count)).backward()  # type: ignore[no-untyped-call]  # torch's own gap
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.gradient_clip)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Weights, average and optimizer, for a checkpoint that can be resumed."""
        return {
            "model": self.model.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, perhaps on a device of another type."""
        self.model.load_state_dict(values["model"])
        if self._average is not None:
            self._average.load_state_dict(values["average"])
        fused = self._optimizer.param_groups[0]["fused"]
        self._optimizer.load_state_dict(values["optimizer"])
        for group in self._optimizer.param_groups:
            group["fused"] = fused  # of this device, not of the checkpoint's
