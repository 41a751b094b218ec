"""What every voice of an interleaved grid sounds, and how often each pitch class was heard: kept beside the LSTM.

A HOLD says nothing of what it holds, and an LSTM that must carry four pitches through dozens of them spends its
memory on bookkeeping. Registers and profile are a function of the tokens so far, every one of them charged; the
network sees them, and the intervals between them, before each token. They step with lookups and one multiplication,
in NumPy, PyTorch and an ONNX graph alike.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_AGE: Final = 16
"""Steps after which a held note no longer grows older."""
SPAN: Final = 8
"""Steps of one span: how far a piece has come is told in spans."""
SPANS: Final = 64
"""Spans after which a piece no longer seems longer."""
DECAYS: Final = (0.85, 0.98)
"""What is left of the profile after one step: a memory of some six steps, and one of fifty."""
PITCH_CLASSES: Final = 12
_BLOCK: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Voicing:
    """Registers over the last `voices` tokens, the newest first, a profile, and what the network is told of them.

    Before each token there are `4 * voices + 1` registers, int64. First what the voice of the last token sounds since
    then (a pitch token, REST, or START before the voice's first token), that of the token before it, and so on; the
    `voices`-th is thus the very voice whose token comes next. Then, in the same order, the age of each in steps; the
    interval by which each voice last moved; the pitch token that each voice said last, rests or not (START before
    its first); and last how many tokens there have been, up to `SPANS` spans of them.

    The profile, (decays, 12) float32, counts for every pitch class the tokens that sounded it, older ones for less. The
    network is told its shares turned so that the last pitch of the voice whose token comes next is the first: what the
    key makes of that pitch, whichever key it is.

    Intervals are stored as `semitones + pitches`, in 1 .. 2 * pitches - 1; 0 where there is none, one side being
    no pitch.
    """

    voices: int
    """Tokens of a step."""
    vocabulary: int
    hold: int
    """Token that leaves a voice as it is."""
    first_pitch: int
    """Tokens from here on are pitches, a semitone apart."""
    start: int
    """Content of a register before anything was said."""

    @property
    def pitches(self) -> int:
        """Number of pitch tokens."""
        return self.vocabulary - self.first_pitch

    @property
    def size(self) -> int:
        """Number of registers."""
        return 4 * self.voices + 1

    @property
    def own(self) -> int:
        """The register that holds the last pitch of the voice whose token comes next."""
        return 4 * self.voices - 1

    @property
    def heard(self) -> slice:
        """The registers that hold the last pitch of each voice."""
        return slice(3 * self.voices, 4 * self.voices)

    @property
    def others(self) -> tuple[int, int, int]:
        """Where age, motion and last pitch of the voices begin, of which the next one is not looked at."""
        return self.voices, 2 * self.voices, 3 * self.voices

    @property
    def span(self) -> int:
        """Tokens of one span."""
        return SPAN * self.voices

    @property
    def decay(self) -> NDArray[np.float32]:
        """(decays,): what is left of the profile after one token."""
        return np.power(DECAYS, 1 / self.voices).astype(np.float32)

    @property
    def pitch_class(self) -> NDArray[np.float32]:
        """(vocabulary, 12): one at a pitch's class, counted from the lowest pitch; all zero for other tokens."""
        table = np.zeros((self.vocabulary, PITCH_CLASSES), np.float32)
        pitches = np.arange(self.pitches)
        table[self.first_pitch + pitches, pitches % PITCH_CLASSES] = 1.0
        return table

    @property
    def turned(self) -> NDArray[np.int64]:
        """(vocabulary, 12): the pitch classes from the token's own upwards."""
        root = np.maximum(np.arange(self.vocabulary) - self.first_pitch, 0)
        return (root[:, None] + np.arange(PITCH_CLASSES)) % PITCH_CLASSES

    @property
    def intervals(self) -> NDArray[np.int64]:
        """(vocabulary, vocabulary): the interval from the second token up to the first, as stored."""
        tokens = np.arange(self.vocabulary)
        pitched = tokens >= self.first_pitch
        semitones = tokens[:, None] - tokens[None, :]
        return np.where(pitched[:, None] & pitched[None, :], semitones + self.pitches, 0)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Registers of the voices whose interval the network is told: every two."""
        return tuple((newer, older) for older in range(self.voices) for newer in range(older))

    @property
    def feature_groups(self) -> dict[str, tuple[int, ...]]:
        """Number of values of each feature, in the order of `features`, by what they tell."""
        interval = 2 * self.pitches
        return {
            "sounding": (self.vocabulary,) * self.voices,
            "ages": (MAX_AGE + 1,) * self.voices,
            "motions": (interval,) * self.voices,
            "elapsed": (SPANS + 1,),
            "intervals": (interval,) * len(self.pairs),
            "before": (interval,) * (self.voices - 1),
        }

    @property
    def feature_sizes(self) -> tuple[int, ...]:
        """Number of values of each feature."""
        return tuple(size for sizes in self.feature_groups.values() for size in sizes)

    @property
    def initial(self) -> NDArray[np.int64]:
        """(size,): the registers before the first token."""
        registers = np.zeros(self.size, np.int64)
        registers[: self.voices] = registers[self.heard] = self.start
        return registers

    def registers(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The registers before each of the tokens of a piece: (n,) to (n, size)."""
        voices, count = self.voices, len(tokens)
        grid, said, sounding = self._sounding(tokens)
        rows = np.arange(len(grid))[:, None]
        age = np.minimum(np.where(said >= 0, rows - said, rows + 1), MAX_AGE)
        struck = np.maximum.accumulate(np.where(grid >= self.first_pitch, rows, -1), axis=0)
        heard = np.where(struck >= 0, np.take_along_axis(grid, np.maximum(struck, 0), axis=0), self.start)
        moved = self.intervals[heard, np.vstack([np.full((1, voices), self.start), heard[:-1]])]
        motion = np.where(struck >= 0, np.take_along_axis(moved, np.maximum(struck, 0), axis=0), 0)

        registers = np.empty((count, self.size), np.int64)
        groups = ((sounding, self.start), (age, 0), (motion, 0), (heard, self.start))
        for offset, (values, nothing) in enumerate(groups):
            padded = np.concatenate([np.full(voices, nothing), values.reshape(-1)])
            for lag in range(1, voices + 1):
                registers[:, offset * voices + lag - 1] = padded[voices - lag : voices - lag + count]
        registers[:, -1] = np.minimum(np.arange(count), SPANS * self.span)
        return registers

    def _sounding(self, tokens: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
        """The tokens, when each voice last spoke (-1: never) and what it sounds after them, each (steps, voices)."""
        steps = -(-len(tokens) // self.voices)
        filled = np.full(steps * self.voices, self.hold, np.int64)
        filled[: len(tokens)] = tokens
        grid = filled.reshape(steps, self.voices)
        said = np.maximum.accumulate(np.where(grid != self.hold, np.arange(steps)[:, None], -1), axis=0)
        return grid, said, np.where(said >= 0, np.take_along_axis(grid, np.maximum(said, 0), axis=0), self.start)

    def profile(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """The profile before each of the tokens of a piece: (n,) to (n, decays, 12)."""
        count = len(tokens)
        _, _, sounding = self._sounding(tokens)
        sounded = self.pitch_class[sounding.reshape(-1)[:count]].astype(np.float64)
        profile = np.zeros((count, len(DECAYS), PITCH_CLASSES))
        lags = np.arange(_BLOCK)[:, None] - np.arange(_BLOCK)[None, :] - 1
        for index, decay in enumerate(self.decay.astype(np.float64)):
            weights = np.where(lags >= 0, decay ** np.maximum(lags, 0), 0.0)
            fading = decay ** np.arange(_BLOCK)[:, None]
            carried = np.zeros(PITCH_CLASSES)
            for first in range(0, count, _BLOCK):
                block = sounded[first : first + _BLOCK]
                size = len(block)
                before = weights[:size, :size] @ block + fading[:size] * carried
                profile[first : first + _BLOCK, index] = before
                carried = decay * before[-1] + block[-1]
        return profile.astype(np.float32)

    def step(self, registers: NDArray[np.int64], token: int) -> NDArray[np.int64]:
        """The registers after one more token: (size,) to (size,)."""
        sounding, age, motion, heard = registers[:-1].reshape(4, self.voices)
        own = self.voices - 1
        held, pitched = token == self.hold, token >= self.first_pitch
        now = int(sounding[own]) if held else token
        aged = min(int(age[own]) + 1, MAX_AGE) if held else 0
        moved = int(self.intervals[token, heard[own]]) if pitched else int(motion[own])
        last = token if pitched else int(heard[own])
        shifted = [now, *sounding[:own], aged, *age[:own], moved, *motion[:own], last, *heard[:own]]
        return np.array([*shifted, min(int(registers[-1]) + 1, SPANS * self.span)], np.int64)

    def profile_step(self, profile: NDArray[np.float32], now: int) -> NDArray[np.float32]:
        """The profile after a token by which the voice sounds `now` (the first register): (decays, 12) likewise."""
        after: NDArray[np.float32] = profile * self.decay[:, None] + self.pitch_class[now]
        return after

    def features(self, registers: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the network is told: registers (..., size) to (..., features), each below its `feature_sizes`.

        `before` is, for each other voice that has just moved, the interval at which the next voice stood to it before:
        what a parallel would keep.
        """
        voices = self.voices
        newer, older = (np.array([pair[side] for pair in self.pairs], np.intp) for side in range(2))
        intervals = self.intervals[registers[..., newer], registers[..., older]]
        elapsed = registers[..., -1:] // self.span
        age, motion, heard = (registers[..., first : first + voices - 1] for first in self.others)
        came_from = np.where((age == 0) & (motion > 0), heard - motion + self.pitches, self.start)
        before = self.intervals[registers[..., self.own, None], came_from]
        return np.concatenate([registers[..., : 3 * voices], elapsed, intervals, before], axis=-1)
