"""A `VoiceTracker` as one vector of numbers, which a token advances by a matrix product, a gate and a sum.

A graph that computes the voice state number by number spends dozens of small nodes on each step, and every node has a
fixed cost. Here the whole state is one float32 row: `row @ advance * gates[token] + values[token]` is the row after a
token, and `row @ features`, limited from above, gives all features of the network. All numbers except the profile are
integers far below 2^24, so they are exact.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from music.voice_tracker import DECAYS, MAX_AGE, PITCH_CLASSES, SPANS, VoiceTracker

NONE: Final = 10000.0
"""Stands for the pitch of a voice without one: larger than any interval. Negative on the lower side of an interval."""

_SCALARS: Final = (
    "sounding",  # the token that sounds
    "upper",  # its pitch, from the lowest; NONE if it has none
    "lower",  # the same, but -NONE
    "age",
    "last_pitch_upper",  # the last pitch, as upper and as lower side of an interval
    "last_pitch_lower",
    "left",  # the pitch before the last pitch, as lower side, if the last token was a pitch; else 0
    "before",  # the same if it was not; else 0
    "came_from",  # added to `left`: the pitch that the voice has just left, as lower side
)
INTERVALS: Final = ("motions", "intervals", "before")
"""Groups of features that are intervals."""
_BLOCK: Final = len(_SCALARS) + PITCH_CLASSES  # then, for each pitch class, whether it sounds


@dataclass(frozen=True, slots=True, eq=False)
class LinearFeatures:
    """Features that are linear in a row: `minimum(row @ weights + bias, bound)`."""

    weights: NDArray[np.float32]
    """(size, features)."""
    bias: NDArray[np.float32]
    """(features,)."""
    bound: NDArray[np.float32]
    """(features,)."""

    @classmethod
    def concatenate(cls, *parts: "LinearFeatures") -> "LinearFeatures":
        """All features of the parts, in order."""
        return cls(
            np.concatenate([part.weights for part in parts], axis=1),
            np.concatenate([part.bias for part in parts]),
            np.concatenate([part.bound for part in parts]),
        )

    def select(self, columns: NDArray[np.integer[Any]]) -> "LinearFeatures":
        """The features with these indices."""
        return LinearFeatures(self.weights[:, columns], self.bias[columns], self.bound[columns])


class LinearVoiceTracker:
    """The row form of one `VoiceTracker`.

    A row holds, for each voice, the newest first, a block of `_SCALARS` and of sounding pitch classes; then the
    previous token, the number of tokens so far, and the profile without the sounding pitch class of the newest voice.
    """

    def __init__(self, tracker: VoiceTracker) -> None:
        self.tracker = tracker
        self._token = tracker.voices * _BLOCK
        self._count = self._token + 1
        self._profile = slice(self._count + 1, self._count + 1 + len(DECAYS) * PITCH_CLASSES)

    @property
    def size(self) -> int:
        """Length of a row."""
        return self._profile.stop

    def row(self, state: NDArray[np.int64], profile: NDArray[np.float32], previous: int) -> NDArray[np.float32]:
        """The row (size,) of a voice state (`tracker.size`,), a profile (decays, 12) and the previous token."""
        tracker = self.tracker
        row = np.zeros(self.size, np.float32)
        parts = state[:-1].reshape(4, tracker.voices)
        for lag, (sounding, age, motion, last_pitch) in enumerate(parts.T.tolist()):
            before = last_pitch - motion + tracker.pitches - tracker.first_pitch if motion else -NONE
            just_moved = age == 0 and sounding >= tracker.first_pitch
            block = row[lag * _BLOCK : (lag + 1) * _BLOCK]
            block[: len(_SCALARS)] = (
                sounding,
                self._pitch(sounding, NONE),
                self._pitch(sounding, -NONE),
                age,
                self._pitch(last_pitch, NONE),
                self._pitch(last_pitch, -NONE),
                *((before, 0.0, 0.0) if just_moved else (0.0, before, -NONE if age else before)),
            )
            block[len(_SCALARS) :] = tracker.pitch_class[sounding]
        row[self._token] = previous
        row[self._count] = state[-1]
        row[self._profile] = (profile - tracker.pitch_class[state[0]]).reshape(-1)
        return row

    def initial(self, start_token: int) -> NDArray[np.float32]:
        """The row before the first token, (size,)."""
        return self.row(self.tracker.initial, np.zeros((len(DECAYS), PITCH_CLASSES), np.float32), start_token)

    @cached_property
    def advance(self) -> NDArray[np.float32]:
        """(size, size): how the numbers of a row move by one token, before the gate."""
        tracker, matrix = self.tracker, np.zeros((self.size, self.size), np.float32)
        own = tracker.voices - 1
        for lag in range(own):
            for offset in range(_BLOCK):
                matrix[lag * _BLOCK + offset, (lag + 1) * _BLOCK + offset] = 1.0
        moves = [(name, name) for name in ("sounding", "upper", "lower", "age", "last_pitch_upper", "last_pitch_lower")]
        moves += [("last_pitch_lower", "left"), ("left", "before"), ("before", "before")]
        moves += [("left", "came_from"), ("before", "came_from")]
        for source, target in moves:
            matrix[self._at(own, source), self._at(0, target)] = 1.0
        for pitch_class in range(PITCH_CLASSES):
            matrix[self._class(own, pitch_class), self._class(0, pitch_class)] = 1.0
        matrix[self._count, self._count] = 1.0
        for index, decay in enumerate(tracker.decay):
            for pitch_class in range(PITCH_CLASSES):
                column = self._profile.start + index * PITCH_CLASSES + pitch_class
                matrix[column, column] = matrix[self._class(0, pitch_class), column] = decay
        return matrix

    @cached_property
    def gates(self) -> NDArray[np.float32]:
        """(vocabulary, size): the factor of each number of the moved row, by token."""
        held, pitched = self._kinds()
        gates = np.ones((self.tracker.vocabulary, self.size), np.float32)
        for name in ("sounding", "upper", "lower", "age"):
            gates[:, self._at(0, name)] = held
        gates[:, len(_SCALARS) : _BLOCK] = held[:, None]
        for name in ("last_pitch_upper", "last_pitch_lower", "before"):
            gates[:, self._at(0, name)] = ~pitched
        gates[:, self._at(0, "left")] = pitched
        gates[:, self._at(0, "came_from")] = ~pitched & ~held
        gates[:, self._token] = 0.0
        return gates

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """(vocabulary, size): what is added after the gate, by token."""
        held, pitched = self._kinds()
        tokens = np.arange(self.tracker.vocabulary)
        upper, lower = (np.where(pitched, tokens - self.tracker.first_pitch, none) for none in (NONE, -NONE))
        values = np.zeros((len(tokens), self.size), np.float32)
        for name, added in (("sounding", tokens), ("upper", upper), ("lower", lower)):
            values[:, self._at(0, name)] = np.where(held, 0, added)
        values[:, self._at(0, "age")] = held
        for name, added in (("last_pitch_upper", upper), ("last_pitch_lower", lower)):
            values[:, self._at(0, name)] = np.where(pitched, added, 0)
        values[:, self._at(0, "came_from")] = np.where(held, -NONE, 0)
        values[:, len(_SCALARS) : _BLOCK] = self.tracker.pitch_class
        values[:, self._token] = tokens
        values[:, self._count] = 1.0
        return values

    @cached_property
    def features(self) -> LinearFeatures:
        """The features of `VoiceTracker.feature_groups`, in that order, with intervals as in `none_interval_last`."""
        tracker, none = self.tracker, 2 * self.tracker.pitches - 1
        columns: list[tuple[dict[int, float], float, float]] = []
        lags = range(tracker.voices)
        columns += [({self._at(lag, "sounding"): 1.0}, 0.0, np.inf) for lag in lags]
        columns += [({self._at(lag, "age"): 1.0}, 0.0, MAX_AGE) for lag in lags]
        columns += [self._interval(lag, "last_pitch_upper", lag, ("left", "before")) for lag in lags]
        # Half a token more: the quotient of a whole number of spans must not be rounded down below it.
        columns.append(({self._count: 1 / tracker.span}, 0.5 / tracker.span, SPANS))
        columns += [self._interval(newer, "upper", older, ("lower",)) for newer, older in tracker.pairs]
        own = tracker.voices - 1
        columns += [self._interval(own, "last_pitch_upper", lag, ("left", "came_from")) for lag in range(own)]
        assert all(bound in (np.inf, MAX_AGE, SPANS, none) for _, _, bound in columns)
        return self._features(columns)

    @cached_property
    def previous(self) -> LinearFeatures:
        """The previous token."""
        return self._features([({self._token: 1.0}, 0.0, np.inf)])

    @cached_property
    def last_pitches(self) -> LinearFeatures:
        """The last pitch token of each voice, the newest first; `vocabulary` for a voice without one."""
        first, vocabulary = self.tracker.first_pitch, self.tracker.vocabulary
        lags = range(self.tracker.voices)
        return self._features([({self._at(lag, "last_pitch_upper"): 1.0}, first, vocabulary) for lag in lags])

    @cached_property
    def profile(self) -> LinearFeatures:
        """The profile, (decays * 12,) flat."""
        columns: list[tuple[dict[int, float], float, float]] = [
            ({self._profile.start + index * PITCH_CLASSES + pitch: 1.0, self._class(0, pitch): 1.0}, 0.0, np.inf)
            for index in range(len(DECAYS))
            for pitch in range(PITCH_CLASSES)
        ]
        return self._features(columns)

    def _kinds(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """For each token, whether it is HOLD and whether it is a pitch."""
        tokens = np.arange(self.tracker.vocabulary)
        return tokens == self.tracker.hold, tokens >= self.tracker.first_pitch

    def _pitch(self, token: int, none: float) -> float:
        return token - self.tracker.first_pitch if token >= self.tracker.first_pitch else none

    def _interval(
        self, newer: int, upper: str, older: int, lower: tuple[str, ...]
    ) -> tuple[dict[int, float], float, float]:
        pitches = self.tracker.pitches
        return (
            {self._at(newer, upper): 1.0} | {self._at(older, name): -1.0 for name in lower},
            pitches - 1,
            (2 * pitches - 1),
        )

    def _features(self, columns: list[tuple[dict[int, float], float, float]]) -> LinearFeatures:
        weights = np.zeros((self.size, len(columns)), np.float32)
        for index, (sources, _, _) in enumerate(columns):
            for source, weight in sources.items():
                weights[source, index] = weight
        bias, bound = (np.array([column[side] for column in columns], np.float32) for side in (1, 2))
        return LinearFeatures(weights, bias, bound)

    @staticmethod
    def _at(lag: int, name: str) -> int:
        return lag * _BLOCK + _SCALARS.index(name)

    @staticmethod
    def _class(lag: int, pitch_class: int) -> int:
        return lag * _BLOCK + len(_SCALARS) + pitch_class


def none_interval_last(intervals: NDArray[np.integer[Any]], pitches: int) -> NDArray[np.int64]:
    """Intervals of a `VoiceTracker`, moved down by one: the value for no interval, 0, becomes the largest."""
    lower: NDArray[np.int64] = (intervals.astype(np.int64) + 2 * pitches - 1) % (2 * pitches)
    return lower
