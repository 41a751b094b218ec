"""Checkpoints of a run: what survives a kill, and what is exported."""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from training.errors import CheckpointError
from training.files import replace_file

LAST: Final = "last.pt"
"""Everything that a resumed run needs."""
BEST: Final = "best.pt"
"""The weights with the lowest validation loss."""
_COPIES: Final = 10
"""Numbers on the disk for each parameter, at most: weights, their average and two moments, and the best weights, each
of them beside what it replaces."""
_AVERAGED: Final = "module."
"""What PyTorch's `AveragedModel` puts before the names of the weights."""


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}; train first") from error
    except Exception as error:  # torch raises what its unpickler and zip reader meet
        raise CheckpointError(f"{path} is no checkpoint: {error}") from error
    return checkpoint


@dataclass(frozen=True, slots=True)
class Reached:
    """The weights that a run has to give, finished or not."""

    weights: dict[str, Any]
    epochs: float
    """Epochs that they were trained for; not whole within the first."""
    calibrated: bool
    """Whether their logits were scaled on the validation pieces."""


def load_reached(folder: Path) -> Reached:
    """The best weights of a run, or the last ones where no epoch has been validated yet.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    if (folder / BEST).exists() or not (folder / LAST).exists():
        best = load_checkpoint(folder / BEST)
        return Reached(best["model"], best["epoch"], "sharpness" in best)
    last = load_checkpoint(folder / LAST)
    weights, average, partial = last["model"], last["average"], last["partial"]
    if average is not None:
        weights = {name.removeprefix(_AVERAGED): value for name, value in average.items() if name.startswith(_AVERAGED)}
    done = 0.0 if partial is None else round(partial["windows"] / partial["of"], 3)
    return Reached(weights, last["epoch"] + done, calibrated=False)


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint in place of the one that is there, which stays if the new one cannot be written.

    Raises:
        CheckpointError: it cannot be written.
    """
    packed = io.BytesIO()  # in memory first: torch's own writer says of a full disk only that it failed
    torch.save(checkpoint, packed)
    try:
        replace_file(path, packed.getvalue())
    except OSError as error:
        raise unwritable(path, error) from error


def check_space(folder: Path, parameters: int) -> None:
    """Make sure, before the first step, that the checkpoints of a network fit on the disk of a folder.

    Raises:
        CheckpointError: they do not.
    """
    needed, free = _COPIES * 4 * parameters, shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"{folder}: {free / 1e6:,.0f} MB are free, and the checkpoints of this network take about "
            f"{needed / 1e6:,.0f} MB"
        )


def unwritable(path: Path, error: OSError) -> CheckpointError:
    """The sentence for a file of a run that could not be written."""
    return CheckpointError(
        f"cannot write {path} ({error.strerror or error}); the last good checkpoint, if there was one, is intact: "
        "the same command goes on from it"
    )
