"""The optimizer: AdamW that takes its decay off matrices alone."""

from typing import Any

import torch

from training.config import TrainingConfig
from training.model import MusicLSTM


def make_optimizer(model: MusicLSTM, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) over all parameters; fused on CUDA."""
    return torch.optim.AdamW(
        _parameter_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        fused=model.output.weight.device.type == "cuda",
    )


def _parameter_groups(model: MusicLSTM, weight_decay: float) -> list[dict[str, Any]]:
    """Decay every matrix and leave the biases alone.

    The embeddings decay too: most rows are for something rare, and a row that one piece alone has moved is noise.
    """
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if "weight" in name else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
