"""Checkpoints of a run: for resuming it, and for exporting its weights."""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from report import replace_file
from training.errors import CheckpointError

LAST: Final = "last.pt"
"""File with everything that a resumed run needs."""
BEST: Final = "best.pt"
"""File with the weights of the lowest validation loss."""
LOGIT_SCALE: Final = "sharpness"
"""Key of the logit scale in `best.pt`; only calibrated checkpoints have it."""
_NUMBERS_PER_PARAMETER: Final = 10
"""On disk, at most: weights, their average, two moments and the best weights, each beside the file it replaces."""
_AVERAGE_PREFIX: Final = "module."
"""Prefix of PyTorch's `AveragedModel` before the names of the weights."""
_RENAMED: Final = (("clock.", "position."),)
"""Old and new names of the network's modules in older checkpoints."""


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}; train first") from error
    except Exception as error:  # torch raises the errors of its unpickler and zip reader
        raise CheckpointError(f"{path} is not a checkpoint: {error}") from error
    for part in ("model", "average"):
        if checkpoint.get(part):
            checkpoint[part] = {_current_name(name): value for name, value in checkpoint[part].items()}
    return checkpoint


def _current_name(name: str) -> str:
    """The current name of a weight, from its name in a checkpoint."""
    prefix = _AVERAGE_PREFIX if name.startswith(_AVERAGE_PREFIX) else ""
    for old, new in _RENAMED:
        if name.startswith(prefix + old):
            return prefix + new + name.removeprefix(prefix + old)
    return name


@dataclass(frozen=True, slots=True)
class RunWeights:
    """The weights to export of a run, finished or not."""

    weights: dict[str, Any]
    epochs: float
    """Epochs of training behind them. A fraction if the first epoch is not finished."""
    calibrated: bool
    """Whether their logits were scaled on the validation pieces."""


def load_run_weights(folder: Path) -> RunWeights:
    """The best weights of a run, or the last ones if no epoch has been validated yet.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    if (folder / BEST).exists() or not (folder / LAST).exists():
        best = load_checkpoint(folder / BEST)
        return RunWeights(best["model"], best["epoch"], LOGIT_SCALE in best)
    last = load_checkpoint(folder / LAST)
    weights, average, partial = last["model"], last["average"], last["partial"]
    if average is not None:
        weights = {
            name.removeprefix(_AVERAGE_PREFIX): value
            for name, value in average.items()
            if name.startswith(_AVERAGE_PREFIX)
        }
    fraction = 0.0 if partial is None else round(partial["windows"] / partial["of"], 3)
    return RunWeights(weights, last["epoch"] + fraction, calibrated=False)


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Replace a checkpoint. The old one stays if the new one cannot be written.

    Raises:
        CheckpointError: it cannot be written.
    """
    buffer = io.BytesIO()  # in memory first: torch's own writer hides that a disk is full
    torch.save(checkpoint, buffer)
    try:
        replace_file(path, buffer.getvalue())
    except OSError as error:
        raise CheckpointError.from_os_error(path, error) from error


def check_disk_space(folder: Path, parameters: int) -> None:
    """Check that the checkpoints of a network with so many parameters fit on the disk of a folder.

    Raises:
        CheckpointError: they do not.
    """
    needed, free = _NUMBERS_PER_PARAMETER * 4 * parameters, shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"{folder}: {free / 1e6:,.0f} MB are free, and the checkpoints of this network take about "
            f"{needed / 1e6:,.0f} MB"
        )
