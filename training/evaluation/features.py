"""Features of a piece: histograms and single values, from the literature on evaluating generated music.

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

_UNIT_TICKS: Final = TICKS_PER_QUARTER // 24
"""Resolution of durations: 32nds, triplets and 12 to a quarter fall on it."""
_MAX_UNITS: Final = 8 * 24
_MAX_SEMITONES: Final = 24
_GROOVE_TICKS: Final = TICKS_PER_QUARTER // 4
_SCALE: Final = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11))
MAJOR_SCALES: Final = np.array([np.roll(_SCALE, root) for root in range(12)])
"""(scales, pitch classes): the twelve major scales, which are also the twelve natural minor scales."""

_MAJOR: Final = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR: Final = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_KEYS: Final = np.array([np.roll(profile, tonic) for tonic in range(12) for profile in (_MAJOR, _MINOR)])
_CENTRED: Final = (_KEYS - _KEYS.mean(axis=1, keepdims=True)) / _KEYS.std(axis=1, keepdims=True)


@dataclass(frozen=True, slots=True, eq=False)
class NoteArrays:
    """A score's notes as arrays (notes,), in order of onset. Onsets and durations are in ticks."""

    onset: NDArray[np.int64]
    duration: NDArray[np.int64]
    pitch: NDArray[np.int64]
    voice: NDArray[np.int64]
    meter: Meter
    """4/4 if the score has none."""
    pickup_ticks: int
    length_ticks: int

    @classmethod
    def from_score(cls, score: Score) -> "NoteArrays":
        """Convert a score."""
        notes = np.array([note[:3] + note[4:] for note in sorted(score.notes)], np.int64).reshape(-1, 4)
        onset, duration, pitch, voice = notes.T
        return cls(onset, duration, pitch, voice, score.meter or Meter(), score.pickup_ticks, score.length_ticks)

    @property
    def lead_ticks(self) -> int:
        """Ticks from the bar line at or before the start to the start: a pickup stands at the end of its bar."""
        return self.meter.bar_ticks - self.pickup_ticks if self.pickup_ticks else 0

    def bars(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bar in which each note begins, from 0, and its place there in ticks, (notes,) each."""
        return np.divmod(self.onset + self.lead_ticks, self.meter.bar_ticks)


@dataclass(frozen=True, slots=True)
class Feature:
    """One property of a piece."""

    name: str
    label: str
    """For tables and figures."""
    measure: Callable[[NoteArrays], NDArray[np.float64]]
    """Gives a histogram (bins,) that sums to 1 (to 0 if there is nothing to count), or a single value (1,)."""
    is_histogram: bool
    min_distance: float
    """Smaller distances are inaudible and are rounded up to it, so that ratios stay meaningful."""


def measure_piece(score: Score) -> list[NDArray[np.float64]]:
    """Every feature of a piece, in the order of `FEATURES`."""
    notes = NoteArrays.from_score(score)
    return [feature.measure(notes) for feature in FEATURES]


def measure_pieces(scores: Sequence[Score]) -> list[NDArray[np.float64]]:
    """Every feature of all pieces: an array (pieces, bins) for each of `FEATURES`."""
    return [np.array(rows) for rows in zip(*map(measure_piece, scores), strict=True)]


def find_tonic(durations: NDArray[np.float64]) -> int:
    """Pitch class of the tonic, from the total duration of each pitch class, (12,).

    It belongs to the key whose probe-tone profile (Krumhansl and Kessler, 1982) correlates best: the
    Krumhansl-Schmuckler algorithm (Krumhansl, "Cognitive Foundations of Musical Pitch", 1990).
    """
    return int((_CENTRED @ (durations - durations.mean())).argmax()) // 2


def _pitch_classes(notes: NoteArrays) -> NDArray[np.float64]:
    return _histogram((notes.pitch - _tonic(notes)) % 12, 12)


def _keys(notes: NoteArrays) -> NDArray[np.float64]:
    return _histogram(notes.pitch % 12, 12)


def _transitions(notes: NoteArrays) -> NDArray[np.float64]:
    """Pairs of successive notes in a voice, as pitch classes relative to the tonic."""
    before, after = _melodic_steps(notes)
    root = _tonic(notes)
    return _histogram((before - root) % 12 * 12 + (after - root) % 12, 144)


def _intervals(notes: NoteArrays) -> NDArray[np.float64]:
    before, after = _melodic_steps(notes)
    leaps = np.clip(after - before, -_MAX_SEMITONES, _MAX_SEMITONES)
    return _histogram(leaps + _MAX_SEMITONES, 2 * _MAX_SEMITONES + 1)


def _note_lengths(notes: NoteArrays) -> NDArray[np.float64]:
    return _durations(notes.duration)


def _inter_onset_intervals(notes: NoteArrays) -> NDArray[np.float64]:
    onsets = np.unique(notes.onset)
    return _durations(onsets[1:] - onsets[:-1])


def _range(notes: NoteArrays) -> NDArray[np.float64]:
    return np.array([np.ptp(notes.pitch) if notes.pitch.size else 0.0], np.float64)


def _scale_consistency(notes: NoteArrays) -> NDArray[np.float64]:
    """Share of the notes in the best fitting major or minor scale."""
    counts = np.bincount(notes.pitch % 12, minlength=12)
    return np.array([(MAJOR_SCALES @ counts).max() / max(counts.sum(), 1)], np.float64)


def _groove(notes: NoteArrays) -> NDArray[np.float64]:
    """Similarity of neighbouring bars: 1 minus the share of 16ths at which only one of them has an onset."""
    bar = notes.meter.bar_ticks
    bars, ticks = notes.bars()
    pattern = np.zeros((int(-(-(notes.length_ticks + notes.lead_ticks) // bar)), -(-bar // _GROOVE_TICKS)), np.bool_)
    pattern[bars, ticks // _GROOVE_TICKS] = True
    if len(pattern) < 2:
        return np.ones(1)
    return np.array([1.0 - (pattern[1:] != pattern[:-1]).mean()])


def _polyphony(notes: NoteArrays) -> NDArray[np.float64]:
    """Mean number of sounding notes, silence left out."""
    if not notes.onset.size:
        return np.zeros(1)
    return np.array([notes.duration.sum() / max(_sounding_ticks(notes), 1)])


def _empty_beats(notes: NoteArrays) -> NDArray[np.float64]:
    """Share of the beats (one denominator of the meter each) in which nothing sounds."""
    beat = 4 * TICKS_PER_QUARTER // notes.meter.denominator
    beats = max(-(-notes.length_ticks // beat), 1)
    change = np.zeros(beats + 1, np.int64)
    np.add.at(change, np.minimum(notes.onset // beat, beats), 1)
    np.add.at(change, np.minimum(-(-(notes.onset + notes.duration) // beat), beats), -1)
    return np.array([(np.cumsum(change)[:-1] <= 0).mean()])


def _sounding_ticks(notes: NoteArrays) -> int:
    """Ticks in which something sounds."""
    reached = np.maximum.accumulate(notes.onset + notes.duration)
    before = np.concatenate([notes.onset[:1], reached[:-1]])
    return int(np.maximum(reached - np.maximum(before, notes.onset), 0).sum())


def _melodic_steps(notes: NoteArrays) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pitches before and after each melodic step of a voice, (steps,) each. Of a chord, the highest note counts."""
    order = np.lexsort((-notes.pitch, notes.onset, notes.voice))
    voice, onset, pitch = notes.voice[order], notes.onset[order], notes.pitch[order]
    top = np.ones(len(order), np.bool_)
    top[1:] = (voice[1:] != voice[:-1]) | (onset[1:] != onset[:-1])
    voice, pitch = voice[top], pitch[top]
    same = voice[1:] == voice[:-1]
    return pitch[:-1][same], pitch[1:][same]


def _tonic(notes: NoteArrays) -> int:
    return find_tonic(np.bincount(notes.pitch % 12, notes.duration, 12).astype(np.float64))


def _durations(ticks: NDArray[np.int64]) -> NDArray[np.float64]:
    units = np.clip(np.rint(ticks / _UNIT_TICKS).astype(np.int64), 0, _MAX_UNITS)
    return _histogram(units, _MAX_UNITS + 1)


def _histogram(values: NDArray[np.int64], bins: int) -> NDArray[np.float64]:
    counts = np.bincount(values, minlength=bins).astype(np.float64)
    share: NDArray[np.float64] = counts / max(counts.sum(), 1.0)
    return share


_HISTOGRAM_MIN: Final = 0.005
FEATURES: Final = (
    Feature("pitch_class", "pitch classes, relative to the tonic", _pitch_classes, True, _HISTOGRAM_MIN),
    Feature("key", "pitch classes, absolute", _keys, True, _HISTOGRAM_MIN),
    Feature("pitch_class_transition", "pitch-class transitions", _transitions, True, _HISTOGRAM_MIN),
    Feature("interval", "melodic intervals", _intervals, True, _HISTOGRAM_MIN),
    Feature("note_length", "note lengths", _note_lengths, True, _HISTOGRAM_MIN),
    Feature("ioi", "inter-onset intervals", _inter_onset_intervals, True, _HISTOGRAM_MIN),
    Feature("range", "range", _range, False, 0.1),
    Feature("scale_consistency", "scale consistency", _scale_consistency, False, 0.001),
    Feature("groove", "groove", _groove, False, 0.001),
    Feature("polyphony", "polyphony", _polyphony, False, 0.005),
    Feature("empty_beats", "empty beats", _empty_beats, False, 0.001),
)
