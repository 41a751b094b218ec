"""The exponential moving average of a network's weights over the steps of its training."""

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from training.model import MusicLSTM


def weight_average(model: MusicLSTM, decay: float) -> AveragedModel:
    """An average that keeps the share `decay` of itself at each step, and less in the first ones.

    Averaged weights generalise better than the last (Polyak and Juditsky, 1992), and look like those of a training
    whose learning rate has already come down.
    """

    def averaged(average: Tensor, latest: Tensor, steps: Tensor | int) -> Tensor:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        return torch.lerp(latest, average, kept)

    return AveragedModel(model, avg_fn=averaged)
