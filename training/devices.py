"""Where a command trains."""

import torch

from training.errors import ConfigurationError


def chosen_device(device: str = "auto") -> str:
    """`cpu` or `cuda`, CUDA where `auto` finds it.

    Raises:
        ConfigurationError: CUDA was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("--device cuda: PyTorch finds no CUDA device here")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
