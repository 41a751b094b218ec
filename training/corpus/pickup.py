"""Finds the pickup of a piece whose file does not state it, from where its notes lie.

The MIDI files that LilyPond writes begin their first bar at the first note, also if that bar is incomplete. So all bars
of a piece with a pickup are shifted. The notes tell where bars begin: the bass strikes there, long notes start there,
harmonies change there. `pickup_profile.json` weighs such features of each eighth of a bar; `pickup_profile.py` learns
the weights from the pieces of the corpus whose bars are stated, and measures how often they are right.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from music.score import TICKS_PER_QUARTER, Score

SLOT_TICKS: Final = TICKS_PER_QUARTER // 2
"""Ticks of a slot, an eighth, of which every bar that has a profile is a whole number."""
PROFILE_FILE: Final = "pickup_profile.json"
FEATURES: Final = 16
_NEAR_TICKS: Final = TICKS_PER_QUARTER // 16
"""A note that starts so soon after the start of a slot starts with it."""
_GRID_TICKS: Final = TICKS_PER_QUARTER // 24
_CLEARLY_MORE: Final = 1.3
_LONGEST_TICKS: Final = 4 * TICKS_PER_QUARTER
_CHANGE_SLOTS: Final = (2, 4)
"""Spans before and after a slot whose pitch classes are compared."""
_MIN_BARS: Final = 3
_WINDOW_BARS: Final = 8
_MIN_WINDOWS: Final = 3
_AGREEING: Final = 2 / 3
"""Part of the windows of eight bars that must tell the same pickup as the whole piece."""
_CONFIDENT: Final = 0.8
_NO_PICKUP: Final = 0.7
"""Probability that a piece has no pickup, before its notes are looked at."""
_BARS_POWER: Final = 0.25
"""Evidence grows with this power of the number of bars, since bars of a piece resemble each other."""

Floats = NDArray[np.float64]


class Pickup(NamedTuple):
    """What the notes of a piece tell about its pickup."""

    ticks: int
    """The most probable length of the pickup; 0 for none."""
    probability: float
    """Its probability, 0 to 1."""
    steady: bool
    """Whether most parts of the piece tell the same."""

    @property
    def sure(self) -> bool:
        """Whether it may be used."""
        return self.steady and self.probability >= _CONFIDENT


def find_pickup(score: Score, profiles: Mapping[str, Floats] | None = None) -> Pickup | None:
    """The pickup of a piece.

    Args:
        score: with a meter and the right hand as voice 0; its own pickup is not looked at.
        profiles: weights (slots of a bar, features) by meter; None for those of the project.

    Returns:
        None if there is no profile for the meter, or the piece is shorter than three bars.
    """
    weights = (load_profiles() if profiles is None else profiles).get(str(score.meter))
    if weights is None:
        return None
    size = len(weights)
    shift = grid_shift(score)
    features = slot_features(score, shift)
    whole = fold(features, size)
    if whole is None:
        return None
    prior = np.log(_prior(size, shift))
    chances = np.exp(evidence(whole, weights) + prior)
    chances /= chances.sum()
    best = int(chances.argmax())
    windows = [fold(window, size) for window in _windows(features, _WINDOW_BARS * size)]
    agreeing = [(evidence(window, weights) + prior).argmax() == best for window in windows if window is not None]
    steady = len(agreeing) < _MIN_WINDOWS or sum(agreeing) >= _AGREEING * len(agreeing)
    return Pickup((best * SLOT_TICKS - shift) % (size * SLOT_TICKS), float(chances[best]), steady)


@cache
def load_profiles() -> dict[str, Floats]:
    """The weights (slots of a bar, features) of the project, by meter."""
    text = resources.files("training.corpus").joinpath(PROFILE_FILE).read_text(encoding="utf-8")
    return {meter: np.array(rows, np.float64) for meter, rows in json.loads(text)["weights"].items()}


def grid_shift(score: Score) -> int:
    """Ticks by which the piece must start later for its eighths to begin with slots.

    It is not 0 if the pickup is no whole number of eighths. Then more notes start between the slots than on them.
    """
    places = np.array([note.onset for note in score.notes]) % SLOT_TICKS // _GRID_TICKS
    counts = np.bincount(places, minlength=SLOT_TICKS // _GRID_TICKS)
    most = int(counts.argmax())
    return -most * _GRID_TICKS % SLOT_TICKS if counts[most] > _CLEARLY_MORE * counts[0] else 0


def slot_features(score: Score, shift: int = 0) -> Floats:
    """Features of each slot, (slots, `FEATURES`), 0 where nothing starts.

    Of each hand: whether notes start, how many, how long the longest lasts, whether a note goes on, how low the lowest
    is, whether notes start within the slot. Of both: how much the pitch classes change (two spans), how low the lowest
    note is, whether notes start after a slot where none did.

    Args:
        score: with the right hand as voice 0.
        shift: ticks by which the notes move to the right.
    """
    notes = np.array(score.notes, np.int64)
    onsets, lengths, pitches, voices = notes[:, 0] + shift, notes[:, 1], notes[:, 2], notes[:, 4]
    count = -(-(score.length_ticks + shift) // SLOT_TICKS)
    slots = onsets // SLOT_TICKS
    starts = onsets % SLOT_TICKS < _NEAR_TICKS
    last = np.minimum((onsets + lengths - 1) // SLOT_TICKS + 1, count)
    columns: list[Floats] = []
    for hand in (voices == 0, voices == 1):
        struck = hand & starts
        numbers = np.bincount(slots[struck], minlength=count)[:count]
        longest = np.zeros(count)
        np.maximum.at(longest, slots[struck], np.log2(np.minimum(lengths[struck], _LONGEST_TICKS) / 60 + 1))
        goes_on = _covered(np.minimum(slots[hand] + 1, count), last[hand], count)
        within = np.bincount(slots[hand & ~starts], minlength=count)[:count] > 0
        low = _lowness(slots[struck], pitches[struck], pitches[hand].mean() if hand.any() else 0.0, count)
        columns += [
            _as_floats(numbers > 0),
            np.log1p(numbers),
            longest,
            _as_floats(goes_on > 0),
            low,
            _as_floats(within),
        ]
    classes = np.stack([_covered(slots[pitches % 12 == pc], last[pitches % 12 == pc], count) for pc in range(12)], 1)
    columns += [_change(classes, span) for span in _CHANGE_SLOTS]
    columns.append(_lowness(slots[starts], pitches[starts], pitches.mean(), count))
    struck_slots = np.bincount(slots[starts], minlength=count)[:count] > 0
    columns.append(_as_floats(struck_slots & ~np.concatenate(([False], struck_slots[:-1]))))
    return np.stack(columns, 1)


def fold(features: Floats, size: int) -> Floats | None:
    """Mean features of each slot of a bar, (size, features), if bars began at the first slot; None if too short.

    The mean over the bar is subtracted, and the rest grows with the number of bars.
    """
    bars = len(features) // size
    if bars < _MIN_BARS:
        return None
    means: Floats = features[: bars * size].reshape(bars, size, -1).mean(0)
    folded: Floats = (means - means.mean(0)) * float(bars**_BARS_POWER)
    return folded


def evidence(folded: Floats, weights: Floats) -> Floats:
    """Log-likelihood, but for a constant, of each pickup of 0 to `size - 1` slots."""
    return np.array([(np.roll(folded, -pickup, 0) * weights).sum() for pickup in range(len(weights))])


def _prior(size: int, shift: int) -> Floats:
    prior = np.full(size, (1 - _NO_PICKUP) / (size - 1))
    if not shift:
        prior[0] = _NO_PICKUP
    return prior


def _as_floats(values: NDArray[np.bool_]) -> Floats:
    return values.astype(np.float64)


def _windows(features: Floats, length: int) -> list[Floats]:
    return [features[start : start + length] for start in range(0, len(features) - length + 1, length)]


def _covered(first: NDArray[np.int64], end: NDArray[np.int64], count: int) -> Floats:
    """Number of the spans from `first` to `end` (exclusive) that cover each slot."""
    steps = np.zeros(count + 1)
    np.add.at(steps, np.minimum(first, count), 1)
    np.add.at(steps, np.maximum(first, end).clip(max=count), -1)
    return np.cumsum(steps)[:count]


def _lowness(slots: NDArray[np.int64], pitches: NDArray[np.int64], mean: float, count: int) -> Floats:
    """Octaves, roughly, of the lowest note in each slot below the mean; 0 without a note."""
    lowest = np.full(count, 128)
    np.minimum.at(lowest, slots, pitches)
    return np.where(lowest < 128, (mean - lowest) / 10, 0.0)


def _change(classes: Floats, span: int) -> Floats:
    """1 minus the cosine of the pitch classes before and after each slot."""
    count = len(classes)
    sums = np.concatenate([np.zeros((1, 12)), np.cumsum(classes, 0)])
    here = np.arange(count)
    after = sums[np.minimum(here + span, count)] - sums[here]
    before = sums[here] - sums[np.maximum(here - span, 0)]
    norms = np.sqrt((after**2).sum(1) * (before**2).sum(1))
    change: Floats = 1 - (after * before).sum(1) / np.maximum(norms, 1e-9)
    return change
