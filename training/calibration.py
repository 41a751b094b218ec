"""How sure a trained network is, set right on the validation pieces.

A network that knows its training pieces too well is too sure of others. One factor on all logits puts most of that
right (Guo et al., 2017, *On Calibration of Modern Neural Networks*), and goes into the weights of the outputs: what is
exported and served costs nothing more.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from music.tokenizers import Tokenizer
from training.batches import PADDING, EncodedPiece, Lanes
from training.checkpoint import load_checkpoint, save_checkpoint
from training.distributed import World
from training.feed import Feed
from training.model import MusicLSTM, State

FACTORS: Final = tuple(round(0.7 + 0.02 * step, 2) for step in range(26))
"""What is tried: 0.7 to 1.2."""
_OUTPUTS: Final = ("output.weight", "output.bias", "voices.output.weight", "voices.output.bias")
_LANES: Final = 32
_WINDOW: Final = 128


def calibrate(
    path: Path, network: MusicLSTM, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece], world: World
) -> float:
    """Multiply the outputs of the checkpoint at `path` by the factor under which it knows `pieces` best; the factor.

    A checkpoint that was calibrated before stays as it is. `network` ends with the weights of the checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be read or written.
    """
    checkpoint = world.told(load_checkpoint(path) if world.leads else {})
    network.load_state_dict(checkpoint["model"])
    if "sharpness" not in checkpoint:
        checkpoint["sharpness"] = best_factor(network, tokenizer, pieces, world)
        checkpoint["model"] = sharpened(network.state_dict(), checkpoint["sharpness"])
        network.load_state_dict(checkpoint["model"])
        if world.leads:
            save_checkpoint(path, checkpoint)
    return float(checkpoint["sharpness"])


def best_factor(network: MusicLSTM, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece], world: World) -> float:
    """The factor on the logits under which a network knows `pieces` best."""
    return FACTORS[int(_losses(network.eval(), tokenizer, pieces, world).argmin())]


def sharpened(weights: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """The weights of a network whose logits are `factor` times as large."""
    return {name: weight * factor if name in _OUTPUTS else weight for name, weight in weights.items()}


@torch.inference_mode()
def _losses(network: MusicLSTM, tokenizer: Tokenizer, pieces: Sequence[EncodedPiece], world: World) -> Tensor:
    """(factors,): total nats over the pieces with each factor on the logits."""
    ordered = sorted(pieces, key=lambda piece: -len(piece.tokens))
    totals = torch.zeros(len(FACTORS), dtype=torch.float64, device=world.device)
    state: State | None = None
    for batch in Feed(Lanes(ordered, tokenizer, lanes=_LANES, window=_WINDOW), world):
        if state is None:
            state = network.zero_state(batch.targets.shape[1])
        logits, state = network(*batch.inputs, state.kept(~batch.fresh))
        flat, targets = logits.flatten(0, 1), batch.targets.flatten()
        for index, factor in enumerate(FACTORS):
            totals[index] += functional.cross_entropy(flat * factor, targets, ignore_index=PADDING, reduction="sum")
    return world.total(totals)
