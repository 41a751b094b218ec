"""The registers of a `Voicing` as one row of numbers that a token advances by a product, a gate and a sum.

A graph that keeps four voices' registers apart spends dozens of small nodes a step on them, and a node has its price
however small it is. Here all of them lie in one float32 row: `row @ advance * gates[token] + values[token]` is the row
after a token, and `row @ features` gives everything that the network is told, up to a bound from above. All numbers but
the profile's are whole and far below 2^24, so they are exact.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from music.voicing import DECAYS, MAX_AGE, PITCH_CLASSES, SPANS, Voicing

NONE: Final = 10000.0
"""Farther than any interval: what stands for a pitch where there is none, above where it is subtracted from."""

_SCALARS: Final = (
    "sounding",  # the token that sounds
    "upper",  # its pitch, from the lowest; NONE if it has none
    "lower",  # the same, but -NONE
    "age",
    "heard_upper",  # the last pitch, as upper and as lower side of an interval
    "heard_lower",
    "left",  # the pitch before the last one, as lower side, if the last token was a pitch; else 0
    "before",  # the same if it was not; else 0
    "came_from",  # with `left`: the pitch that the voice has just left, as lower side
)
INTERVALS: Final = ("motions", "intervals", "before")
"""Groups of features that are intervals."""
_BLOCK: Final = len(_SCALARS) + PITCH_CLASSES  # then, for each pitch class, whether it sounds


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Columns of numbers that are linear in a row: `minimum(row @ weights + bias, bound)`."""

    weights: NDArray[np.float32]
    """(size, features)."""
    bias: NDArray[np.float32]
    """(features,)."""
    bound: NDArray[np.float32]
    """(features,)."""

    @classmethod
    def joined(cls, *parts: "Features") -> "Features":
        """Side by side."""
        return cls(
            np.concatenate([part.weights for part in parts], axis=1),
            np.concatenate([part.bias for part in parts]),
            np.concatenate([part.bound for part in parts]),
        )

    def chosen(self, columns: NDArray[np.integer[Any]]) -> "Features":
        """Some of them."""
        return Features(self.weights[:, columns], self.bias[columns], self.bound[columns])

    def of(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What rows (..., size) say: (..., features)."""
        said: NDArray[np.float32] = np.minimum(rows @ self.weights + self.bias, self.bound)
        return said


class LinearVoicing:
    """Rows for one `Voicing`.

    For every voice, the newest first, a block of `_SCALARS` and of sounding pitch classes; then the previous token, the
    number of tokens so far, and the profile without what sounds in the newest voice.
    """

    def __init__(self, voicing: Voicing) -> None:
        self.voicing = voicing
        self._token = voicing.voices * _BLOCK
        self._count = self._token + 1
        self._profile = slice(self._count + 1, self._count + 1 + len(DECAYS) * PITCH_CLASSES)

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return self._profile.stop

    def row(self, registers: NDArray[np.int64], profile: NDArray[np.float32], previous: int) -> NDArray[np.float32]:
        """The row of registers (`voicing.size`,), a profile (decays, 12) and the previous token: (size,)."""
        voicing = self.voicing
        row = np.zeros(self.size, np.float32)
        parts = registers[:-1].reshape(4, voicing.voices)
        for lag, (sounding, age, motion, heard) in enumerate(parts.T.tolist()):
            before = heard - motion + voicing.pitches - voicing.first_pitch if motion else -NONE
            just_moved = age == 0 and sounding >= voicing.first_pitch
            block = row[lag * _BLOCK : (lag + 1) * _BLOCK]
            block[: len(_SCALARS)] = (
                sounding,
                self._pitch(sounding, NONE),
                self._pitch(sounding, -NONE),
                age,
                self._pitch(heard, NONE),
                self._pitch(heard, -NONE),
                *((before, 0.0, 0.0) if just_moved else (0.0, before, -NONE if age else before)),
            )
            block[len(_SCALARS) :] = voicing.pitch_class[sounding]
        row[self._token] = previous
        row[self._count] = registers[-1]
        row[self._profile] = (profile - voicing.pitch_class[registers[0]]).reshape(-1)
        return row

    def initial(self, start_token: int) -> NDArray[np.float32]:
        """The row before the first token, (size,)."""
        return self.row(self.voicing.initial, np.zeros((len(DECAYS), PITCH_CLASSES), np.float32), start_token)

    @cached_property
    def advance(self) -> NDArray[np.float32]:
        """(size, size): who moves where, before the token's gate."""
        voicing, matrix = self.voicing, np.zeros((self.size, self.size), np.float32)
        own = voicing.voices - 1
        for lag in range(own):
            for offset in range(_BLOCK):
                matrix[lag * _BLOCK + offset, (lag + 1) * _BLOCK + offset] = 1.0
        moves = [(name, name) for name in ("sounding", "upper", "lower", "age", "heard_upper", "heard_lower")]
        moves += [("heard_lower", "left"), ("left", "before"), ("before", "before")]
        moves += [("left", "came_from"), ("before", "came_from")]
        for source, target in moves:
            matrix[self._at(own, source), self._at(0, target)] = 1.0
        for pitch_class in range(PITCH_CLASSES):
            matrix[self._class(own, pitch_class), self._class(0, pitch_class)] = 1.0
        matrix[self._count, self._count] = 1.0
        for index, decay in enumerate(voicing.decay):
            for pitch_class in range(PITCH_CLASSES):
                column = self._profile.start + index * PITCH_CLASSES + pitch_class
                matrix[column, column] = matrix[self._class(0, pitch_class), column] = decay
        return matrix

    @cached_property
    def gates(self) -> NDArray[np.float32]:
        """(vocabulary, size): what of the moved row stays, by the token that comes."""
        held, pitched = self._kinds()
        gates = np.ones((self.voicing.vocabulary, self.size), np.float32)
        for name in ("sounding", "upper", "lower", "age"):
            gates[:, self._at(0, name)] = held
        gates[:, len(_SCALARS) : _BLOCK] = held[:, None]
        for name in ("heard_upper", "heard_lower", "before"):
            gates[:, self._at(0, name)] = ~pitched
        gates[:, self._at(0, "left")] = pitched
        gates[:, self._at(0, "came_from")] = ~pitched & ~held
        gates[:, self._token] = 0.0
        return gates

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """(vocabulary, size): what the token that comes adds."""
        held, pitched = self._kinds()
        tokens = np.arange(self.voicing.vocabulary)
        upper, lower = (np.where(pitched, tokens - self.voicing.first_pitch, none) for none in (NONE, -NONE))
        values = np.zeros((len(tokens), self.size), np.float32)
        for name, said in (("sounding", tokens), ("upper", upper), ("lower", lower)):
            values[:, self._at(0, name)] = np.where(held, 0, said)
        values[:, self._at(0, "age")] = held
        for name, said in (("heard_upper", upper), ("heard_lower", lower)):
            values[:, self._at(0, name)] = np.where(pitched, said, 0)
        values[:, self._at(0, "came_from")] = np.where(held, -NONE, 0)
        values[:, len(_SCALARS) : _BLOCK] = self.voicing.pitch_class
        values[:, self._token] = tokens
        values[:, self._count] = 1.0
        return values

    @cached_property
    def features(self) -> Features:
        """The features of `voicing.features`, in that order, but intervals lie one lower and those of none on top."""
        voicing, none = self.voicing, 2 * self.voicing.pitches - 1
        columns: list[tuple[dict[int, float], float, float]] = []
        lags = range(voicing.voices)
        columns += [({self._at(lag, "sounding"): 1.0}, 0.0, np.inf) for lag in lags]
        columns += [({self._at(lag, "age"): 1.0}, 0.0, MAX_AGE) for lag in lags]
        columns += [self._interval(lag, "heard_upper", lag, ("left", "before")) for lag in lags]
        # Half a token more, lest rounding the quotient of a whole number of spans falls short of it.
        columns.append(({self._count: 1 / voicing.span}, 0.5 / voicing.span, SPANS))
        columns += [self._interval(newer, "upper", older, ("lower",)) for newer, older in voicing.pairs]
        own = voicing.voices - 1
        columns += [self._interval(own, "heard_upper", lag, ("left", "came_from")) for lag in range(own)]
        assert all(bound in (np.inf, MAX_AGE, SPANS, none) for _, _, bound in columns)
        return self._features(columns)

    @cached_property
    def previous(self) -> Features:
        """The previous token."""
        return self._features([({self._token: 1.0}, 0.0, np.inf)])

    @cached_property
    def heard(self) -> Features:
        """The last pitch token of each voice, the newest first; `vocabulary` if it has none."""
        first, vocabulary = self.voicing.first_pitch, self.voicing.vocabulary
        lags = range(self.voicing.voices)
        return self._features([({self._at(lag, "heard_upper"): 1.0}, first, vocabulary) for lag in lags])

    @cached_property
    def profile(self) -> Features:
        """The profile, (decays * 12,) flat."""
        columns: list[tuple[dict[int, float], float, float]] = [
            ({self._profile.start + index * PITCH_CLASSES + pitch: 1.0, self._class(0, pitch): 1.0}, 0.0, np.inf)
            for index in range(len(DECAYS))
            for pitch in range(PITCH_CLASSES)
        ]
        return self._features(columns)

    def step(self, row: NDArray[np.float32], token: int) -> NDArray[np.float32]:
        """The row after one more token: (size,) to (size,)."""
        after: NDArray[np.float32] = row @ self.advance * self.gates[token] + self.values[token]
        return after

    def _kinds(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """For each token whether it holds, and whether it is a pitch."""
        tokens = np.arange(self.voicing.vocabulary)
        return tokens == self.voicing.hold, tokens >= self.voicing.first_pitch

    def _pitch(self, token: int, none: float) -> float:
        return token - self.voicing.first_pitch if token >= self.voicing.first_pitch else none

    def _interval(
        self, newer: int, upper: str, older: int, lower: tuple[str, ...]
    ) -> tuple[dict[int, float], float, float]:
        pitches = self.voicing.pitches
        return (
            {self._at(newer, upper): 1.0} | {self._at(older, name): -1.0 for name in lower},
            pitches - 1,
            (2 * pitches - 1),
        )

    def _features(self, columns: list[tuple[dict[int, float], float, float]]) -> Features:
        weights = np.zeros((self.size, len(columns)), np.float32)
        for index, (sources, _, _) in enumerate(columns):
            for source, weight in sources.items():
                weights[source, index] = weight
        bias, bound = (np.array([column[side] for column in columns], np.float32) for side in (1, 2))
        return Features(weights, bias, bound)

    @staticmethod
    def _at(lag: int, name: str) -> int:
        return lag * _BLOCK + _SCALARS.index(name)

    @staticmethod
    def _class(lag: int, pitch_class: int) -> int:
        return lag * _BLOCK + len(_SCALARS) + pitch_class


def stored_lower(intervals: NDArray[np.integer[Any]], pitches: int) -> NDArray[np.int64]:
    """Stored intervals of a `Voicing` as `LinearVoicing.features` has them: one lower, and none, 0, on top."""
    lower: NDArray[np.int64] = (intervals.astype(np.int64) + 2 * pitches - 1) % (2 * pitches)
    return lower
