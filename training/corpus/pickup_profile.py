"""Learns the profile of `pickup.py`, and measures it: `python -m training.corpus.pickup_profile CORPUS`.

The weights come from the training pieces of the corpus whose files state their bars. They are measured on its
validation and test pieces, from which a random number of eighths is cut off, so that every pickup is equally frequent.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray

from music.score import Meter, Score
from training.corpus.pickup import FEATURES, PROFILE_FILE, SLOT_TICKS, Floats, evidence, fold, slot_features
from training.corpus.store import Corpus, Split

METERS: Final[Mapping[str, tuple[str, ...]]] = {
    "2/4": ("2/4",), "3/4": ("3/4",), "4/4": ("4/4", "2/2"), "3/8": ("3/8",), "6/8": ("6/8",),
}  # fmt: skip
"""Meters of one profile, by the first of them: those with at least 100 training pieces."""
_STATED: Final = "nifc/"
_DECAY: Final = 1e-2
_THRESHOLDS: Final = (0.6, 0.8, 0.9)
_SEED: Final = 1


class Example(NamedTuple):
    """A piece whose pickup is known."""

    folded: Floats
    """(slots of a bar, features)."""
    pickup: int
    """Slots."""


def example(score: Score, cut_slots: int = 0) -> Example | None:
    """The example of a piece without its first slots; None if it is too short or its pickup is no number of slots."""
    assert score.meter is not None
    if score.pickup_ticks % SLOT_TICKS:
        return None
    size = score.meter.bar_ticks // SLOT_TICKS
    folded = fold(slot_features(score)[cut_slots:], size)
    return None if folded is None else Example(folded, (score.pickup_ticks // SLOT_TICKS - cut_slots) % size)


def learn(examples: list[Example]) -> Floats:
    """Weights (slots of a bar, features) that make the pickups most probable, less a penalty for large ones."""
    folded = np.stack([one.folded for one in examples])
    size = folded.shape[1]
    scale = folded.std((0, 1)) + 1e-6
    candidates = np.stack([np.roll(folded / scale, -pickup, 1) for pickup in range(size)], 1)
    inputs = torch.from_numpy(candidates)
    targets = torch.tensor([one.pickup for one in examples])
    weights = torch.zeros(size, FEATURES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = (inputs * weights).sum((2, 3))
        value = torch.nn.functional.cross_entropy(logits, targets) + _DECAY * (weights**2).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    result: Floats = weights.detach().numpy() / scale
    return result


def probabilities(examples: Iterable[Example], weights: Floats) -> NDArray[np.float64]:
    """Whether the most probable pickup is right, and its probability if all are equally frequent: (examples, 2)."""
    rows = []
    for one in examples:
        chances = np.exp(evidence(one.folded, weights))
        best = int(chances.argmax())
        rows.append((best == one.pickup, chances[best] / chances.sum()))
    return np.array(rows, np.float64).reshape(-1, 2)


def main(path: Path) -> None:
    """Learn the weights from a corpus, print how often they are right, and write them beside this module."""
    pieces = [piece for piece in Corpus.load(path).pieces() if piece.name.startswith(_STATED) and piece.score.meter]
    generator = np.random.default_rng(_SEED)
    weights: dict[str, list[list[float]]] = {}
    held_out = []
    for name, meters in METERS.items():
        size = Meter.parse(name).bar_ticks // SLOT_TICKS
        own = [piece for piece in pieces if str(piece.score.meter) in meters]
        train = [one for piece in own if piece.split is Split.TRAIN if (one := example(piece.score))]
        cuts = generator.integers(size, size=len(own)).tolist()
        test = [
            one
            for piece, cut in zip(own, cuts, strict=True)
            if piece.split is not Split.TRAIN
            if (one := example(piece.score, cut))
        ]
        learned = learn(train)
        held_out.append(probabilities(test, learned))
        click.echo(f"{' and '.join(meters)}: {len(train)} training pieces, {_line(held_out[-1])}")
        weights |= {meter: np.round(learned, 4).tolist() for meter in meters}
    click.echo(f"all: {_line(np.concatenate(held_out))}")
    text = ",\n".join(f'  "{meter}": {json.dumps(rows)}' for meter, rows in weights.items())
    place = resources.files("training.corpus").joinpath(PROFILE_FILE)
    Path(str(place)).write_text(f'{{"weights": {{\n{text}\n}}}}\n', encoding="utf-8")


def _line(rows: Floats) -> str:
    right, probable = rows[:, 0], rows[:, 1]
    parts = [
        f"{right[probable >= least].mean():.1%} of the {np.mean(probable >= least):.0%} above {least:g}"
        for least in _THRESHOLDS
        if (probable >= least).any()
    ]
    return f"{len(rows)} held-out pieces, {right.mean():.1%} right; {', '.join(parts)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
