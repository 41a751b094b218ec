"""What is compared: histograms and figures of one piece, from the literature on judging generated music.

The set follows Yang and Lerch, "On the evaluation of generative models in music" (Neural Computing and Applications
32, 2020), with scale consistency, groove and empty beats as MusPy computes them (Dong et al., ISMIR 2020; groove
after Wu and Yang, "The Jazz Transformer on the front line", ISMIR 2020).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.score import TICKS_PER_QUARTER, Meter, Score
from training.judge.tonic import tonic

_UNIT_TICKS: Final = TICKS_PER_QUARTER // 24
"""Resolution of durations: 32nds, triplets and 12 to a quarter fall on it."""
_LONGEST_UNITS: Final = 8 * 24
_WIDEST_SEMITONES: Final = 24
_GROOVE_TICKS: Final = TICKS_PER_QUARTER // 4
_SCALE: Final = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11))
_SCALES: Final = np.array([np.roll(_SCALE, root) for root in range(12)])
"""The twelve major scales, which are the twelve natural minor ones too."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A score's notes as arrays, (notes,) each, in order of onset; onsets and durations in ticks."""

    onset: NDArray[np.int64]
    duration: NDArray[np.int64]
    pitch: NDArray[np.int64]
    voice: NDArray[np.int64]
    meter: Meter
    """4/4 where the score says none."""
    pickup_ticks: int
    length_ticks: int

    @classmethod
    def of(cls, score: Score) -> "Line":
        """Unpack a score."""
        notes = np.array([note[:3] + note[4:] for note in sorted(score.notes)], np.int64).reshape(-1, 4)
        onset, duration, pitch, voice = notes.T
        return cls(onset, duration, pitch, voice, score.meter or Meter(), score.pickup_ticks, score.length_ticks)


@dataclass(frozen=True, slots=True)
class Feature:
    """Something measured of a piece."""

    name: str
    words: str
    """For a table."""
    measure: Callable[[Line], NDArray[np.float64]]
    """A histogram (bins,) that sums to 1 (0 for a piece that has nothing to count), or one figure (1,)."""
    is_histogram: bool
    grain: float
    """Distances below this are taken for it: nobody hears them, and they would make ratios of nothing."""


def measured(score: Score) -> list[NDArray[np.float64]]:
    """Every feature of a piece, in the order of `FEATURES`."""
    line = Line.of(score)
    return [feature.measure(line) for feature in FEATURES]


def measured_pieces(scores: Sequence[Score]) -> list[NDArray[np.float64]]:
    """Every feature of all pieces: for each of `FEATURES` an array (pieces, bins)."""
    return [np.array(rows) for rows in zip(*map(measured, scores), strict=True)]


def _pitch_classes(line: Line) -> NDArray[np.float64]:
    return _histogram((line.pitch - _tonic(line)) % 12, 12)


def _keys(line: Line) -> NDArray[np.float64]:
    return _histogram(line.pitch % 12, 12)


def _transitions(line: Line) -> NDArray[np.float64]:
    """From each note of a voice to its next, pitch classes counted from the tonic."""
    before, after = _melodic_steps(line)
    root = _tonic(line)
    return _histogram((before - root) % 12 * 12 + (after - root) % 12, 144)


def _intervals(line: Line) -> NDArray[np.float64]:
    before, after = _melodic_steps(line)
    leaps = np.clip(after - before, -_WIDEST_SEMITONES, _WIDEST_SEMITONES)
    return _histogram(leaps + _WIDEST_SEMITONES, 2 * _WIDEST_SEMITONES + 1)


def _note_lengths(line: Line) -> NDArray[np.float64]:
    return _durations(line.duration)


def _inter_onset_intervals(line: Line) -> NDArray[np.float64]:
    onsets = np.unique(line.onset)
    return _durations(onsets[1:] - onsets[:-1])


def _range(line: Line) -> NDArray[np.float64]:
    return np.array([np.ptp(line.pitch) if line.pitch.size else 0.0], np.float64)


def _scale_consistency(line: Line) -> NDArray[np.float64]:
    """Share of the notes inside the major or minor scale that holds most of them."""
    counts = np.bincount(line.pitch % 12, minlength=12)
    return np.array([(_SCALES @ counts).max() / max(counts.sum(), 1)], np.float64)


def _groove(line: Line) -> NDArray[np.float64]:
    """How alike neighbouring bars are: one less the share of 16ths at which just one of them has an onset."""
    bar = line.meter.bar_ticks
    lead = bar - line.pickup_ticks if line.pickup_ticks else 0  # the pickup stands at the end of its bar
    bars, ticks = np.divmod(line.onset + lead, bar)
    pattern = np.zeros((int(-(-(line.length_ticks + lead) // bar)), -(-bar // _GROOVE_TICKS)), np.bool_)
    pattern[bars, ticks // _GROOVE_TICKS] = True
    if len(pattern) < 2:
        return np.ones(1)
    return np.array([1.0 - (pattern[1:] != pattern[:-1]).mean()])


def _polyphony(line: Line) -> NDArray[np.float64]:
    """Mean number of notes that sound, while any does."""
    if not line.onset.size:
        return np.zeros(1)
    return np.array([line.duration.sum() / max(_sounding_ticks(line), 1)])


def _empty_beats(line: Line) -> NDArray[np.float64]:
    """Share of the beats, of the meter's denominator each, in which nothing sounds."""
    beat = 4 * TICKS_PER_QUARTER // line.meter.denominator
    beats = max(-(-line.length_ticks // beat), 1)
    change = np.zeros(beats + 1, np.int64)
    np.add.at(change, np.minimum(line.onset // beat, beats), 1)
    np.add.at(change, np.minimum(-(-(line.onset + line.duration) // beat), beats), -1)
    return np.array([(np.cumsum(change)[:-1] <= 0).mean()])


def _sounding_ticks(line: Line) -> int:
    """Ticks in which something sounds."""
    reached = np.maximum.accumulate(line.onset + line.duration)
    before = np.concatenate([line.onset[:1], reached[:-1]])
    return int(np.maximum(reached - np.maximum(before, line.onset), 0).sum())


def _melodic_steps(line: Line) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pitches of successive onsets in each voice, the highest note of an onset standing for it: (steps,) twice."""
    order = np.lexsort((-line.pitch, line.onset, line.voice))
    voice, onset, pitch = line.voice[order], line.onset[order], line.pitch[order]
    top = np.ones(len(order), np.bool_)
    top[1:] = (voice[1:] != voice[:-1]) | (onset[1:] != onset[:-1])
    voice, pitch = voice[top], pitch[top]
    same = voice[1:] == voice[:-1]
    return pitch[:-1][same], pitch[1:][same]


def _tonic(line: Line) -> int:
    return tonic(np.bincount(line.pitch % 12, line.duration, 12).astype(np.float64))


def _durations(ticks: NDArray[np.int64]) -> NDArray[np.float64]:
    units = np.clip(np.rint(ticks / _UNIT_TICKS).astype(np.int64), 0, _LONGEST_UNITS)
    return _histogram(units, _LONGEST_UNITS + 1)


def _histogram(values: NDArray[np.int64], bins: int) -> NDArray[np.float64]:
    counts = np.bincount(values, minlength=bins).astype(np.float64)
    share: NDArray[np.float64] = counts / max(counts.sum(), 1.0)
    return share


_HISTOGRAM_GRAIN: Final = 0.005
FEATURES: Final = (
    Feature("pitch_class", "pitch classes, from the tonic", _pitch_classes, True, _HISTOGRAM_GRAIN),
    Feature("key", "pitch classes, absolute", _keys, True, _HISTOGRAM_GRAIN),
    Feature("pitch_class_transition", "pitch-class transitions", _transitions, True, _HISTOGRAM_GRAIN),
    Feature("interval", "melodic intervals", _intervals, True, _HISTOGRAM_GRAIN),
    Feature("note_length", "note lengths", _note_lengths, True, _HISTOGRAM_GRAIN),
    Feature("ioi", "inter-onset intervals", _inter_onset_intervals, True, _HISTOGRAM_GRAIN),
    Feature("range", "range", _range, False, 0.1),
    Feature("scale_consistency", "scale consistency", _scale_consistency, False, 0.001),
    Feature("groove", "groove", _groove, False, 0.001),
    Feature("polyphony", "polyphony", _polyphony, False, 0.005),
    Feature("empty_beats", "empty beats", _empty_beats, False, 0.001),
)
