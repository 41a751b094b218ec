"""Calibration: scale the logits of a trained network on the validation pieces.

A network that has learned its training pieces by heart is too confident about others. One factor on all logits corrects
most of this (Guo et al., 2017, "On Calibration of Modern Neural Networks"). It is multiplied into the weights of the
outputs, so it costs nothing when the network is served.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from music.tokenizers import Tokenizer
from training.loop.checkpoint import LOGIT_SCALE, load_checkpoint, save_checkpoint
from training.loop.distributed import World
from training.loop.loader import BatchLoader
from training.loop.tbptt import PADDING, EncodedPiece, TBPTTDataset
from training.network.model import MusicLSTM, State

LOGIT_SCALES: Final = tuple(round(0.7 + 0.02 * step, 2) for step in range(26))
"""Factors that are tried: 0.7 to 1.2."""
_OUTPUTS: Final = (
    "output", "voices.output", "notes.intervals", "notes.weights", "notes.suggestions", "notes.trust",
)  # fmt: skip
_BATCH_SIZE: Final = 32
_WINDOW: Final = 128


def calibrate(
    path: Path, network: MusicLSTM, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece], world: World
) -> float:
    """Scale the logits of a checkpoint by the factor with the lowest loss on `pieces`, and return the factor.

    A checkpoint that is calibrated already stays as it is. At the end `network` has the weights of the checkpoint.

    Args:
        path: of the checkpoint.
        network: of the same shape.
        tokenizer: of the network.
        pieces: validation pieces.
        world: the processes of the training; all of them must call this.

    Raises:
        CheckpointError: the checkpoint cannot be read or written.
    """
    checkpoint = world.broadcast(load_checkpoint(path) if world.is_main else {})
    network.load_state_dict(checkpoint["model"])
    if LOGIT_SCALE not in checkpoint:
        checkpoint[LOGIT_SCALE] = best_logit_scale(network, tokenizer, pieces, world)
        checkpoint["model"] = scale_logits(network.state_dict(), checkpoint[LOGIT_SCALE])
        network.load_state_dict(checkpoint["model"])
        if world.is_main:
            save_checkpoint(path, checkpoint)
    return float(checkpoint[LOGIT_SCALE])


def best_logit_scale(network: MusicLSTM, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece], world: World) -> float:
    """The factor on the logits with the lowest loss on `pieces`."""
    return LOGIT_SCALES[int(_losses(network.eval(), tokenizer, pieces, world).argmin())]


def scale_logits(weights: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """The weights of a network with its logits multiplied by `factor`."""
    return {
        name: weight * factor if name.rpartition(".")[0] in _OUTPUTS else weight for name, weight in weights.items()
    }


@torch.inference_mode()
def _losses(network: MusicLSTM, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece], world: World) -> Tensor:
    """Total nats over the pieces with each factor, (factors,) float64."""
    longest_first = sorted(pieces, key=lambda piece: -len(piece.tokens))
    dataset = TBPTTDataset(longest_first, tokenizer, batch_size=_BATCH_SIZE, window=_WINDOW)
    totals = torch.zeros(len(LOGIT_SCALES), dtype=torch.float64, device=world.device)
    state: State | None = None
    for batch in BatchLoader(dataset, world):
        if state is None:
            state = network.zero_state(batch.targets.shape[1])
        logits, state = network(batch.inputs, state.zero_rows(batch.reset))
        flat, targets = logits.flatten(0, 1), batch.targets.flatten()
        for index, factor in enumerate(LOGIT_SCALES):
            totals[index] += functional.cross_entropy(flat * factor, targets, ignore_index=PADDING, reduction="sum")
    return world.sum(totals)
