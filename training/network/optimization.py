"""What turns gradients into weights: optimizer, learning rate schedule, weight average."""

import math
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from training.config import TrainingConfig

_FINAL_RATE_SHARE: Final = 0.01


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) over all parameters; fused on CUDA."""
    return torch.optim.AdamW(
        _parameter_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        fused=next(model.parameters()).device.type == "cuda",
    )


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """All matrices with weight decay, all biases and the embeddings of the remaining length without.

    The other embeddings decay too. Most of their rows stand for something rare, and a row that only one piece has
    trained is noise. But a piece has one step of each remaining length, so that decay would erase them.
    """
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if "weight" in name and not name.startswith("remaining.") else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def learning_rate(config: TrainingConfig, epoch: float) -> float:
    """Linear warm-up, then constant or a cosine down to a hundredth (Loshchilov and Hutter, 2017).

    Args:
        config: with the highest rate and the lengths.
        epoch: epochs done so far, including the fraction of the current one.
    """
    if epoch < config.warmup_epochs:
        return config.learning_rate * (epoch + 0.01) / (config.warmup_epochs + 0.01)
    if config.schedule == "constant":
        return config.learning_rate
    share = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return config.learning_rate * (_FINAL_RATE_SHARE + (1 - _FINAL_RATE_SHARE) * cosine)


def weight_average(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of the weights. Each step keeps the share `decay` of it, the first steps less.

    Averaged weights generalise better than the last ones (Polyak and Juditsky, 1992).
    """

    def averaged(average: Tensor, latest: Tensor, steps: Tensor | int) -> Tensor:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        return torch.lerp(latest, average, kept)

    return AveragedModel(model, avg_fn=averaged)
