"""The learning rate, epoch by epoch."""

import math

from training.config import TrainingConfig

_LEAST_SHARE = 0.01


def learning_rate(config: TrainingConfig, epoch: float) -> float:
    """Linear warm-up, then constant or a cosine down to a hundredth (Loshchilov and Hutter, 2017).

    Args:
        config: says the highest rate and the lengths.
        epoch: epochs done so far, with the share of the one that runs.
    """
    if epoch < config.warmup_epochs:
        return config.learning_rate * (epoch + 0.01) / (config.warmup_epochs + 0.01)
    if config.schedule == "constant":
        return config.learning_rate
    share = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return config.learning_rate * (_LEAST_SHARE + (1 - _LEAST_SHARE) * cosine)
