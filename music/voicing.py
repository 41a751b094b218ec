"""What every voice of an interleaved grid sounds, kept in a few registers beside the LSTM.

A HOLD says nothing of what it holds, and an LSTM that must carry four pitches through dozens of them spends its
memory on bookkeeping. The registers are a function of the tokens so far, every one of them charged; the network
sees them, and the intervals between them, before each token. Like the clock and the grammar they step with table
lookups alone, in NumPy, PyTorch and an ONNX graph alike.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_AGE: Final = 16
"""Steps after which a held note no longer grows older."""


@dataclass(frozen=True, slots=True, eq=False)
class Voicing:
    """Registers over the last `voices` tokens, the newest first, and what the network is told of them.

    Before each token there are `3 * voices` registers, int64. First what the voice of the last token sounds since
    then (a pitch token, REST, or START before the voice's first token), that of the token before it, and so on; the
    `voices`-th is thus the very voice whose token comes next. Then, in the same order, the age of each in steps, and
    the interval by which each voice last moved.

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
        return 3 * self.voices

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
    def feature_sizes(self) -> tuple[int, ...]:
        """Number of values of each feature: what is sounded, ages, motions, then the intervals of `pairs`."""
        interval = 2 * self.pitches
        return (
            *(self.vocabulary,) * self.voices,
            *(MAX_AGE + 1,) * self.voices,
            *(interval,) * self.voices,
            *(interval,) * len(self.pairs),
        )

    @property
    def initial(self) -> NDArray[np.int64]:
        """(size,): the registers before the first token."""
        registers = np.zeros(self.size, np.int64)
        registers[: self.voices] = self.start
        return registers

    def registers(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The registers before each of the tokens of a piece: (n,) to (n, size)."""
        voices, count = self.voices, len(tokens)
        steps = -(-count // voices)
        grid = np.full(steps * voices, self.hold, np.int64)
        grid[:count] = tokens
        grid = grid.reshape(steps, voices)
        rows = np.arange(steps)[:, None]
        said = np.maximum.accumulate(np.where(grid != self.hold, rows, -1), axis=0)  # when the voice last spoke
        sounding = np.where(said >= 0, np.take_along_axis(grid, np.maximum(said, 0), axis=0), self.start)
        age = np.minimum(np.where(said >= 0, rows - said, rows + 1), MAX_AGE)
        before = np.vstack([np.full((1, voices), self.start), sounding[:-1]])
        struck = np.maximum.accumulate(np.where(grid >= self.first_pitch, rows, -1), axis=0)
        moved = self.intervals[sounding, before]
        motion = np.where(struck >= 0, np.take_along_axis(moved, np.maximum(struck, 0), axis=0), 0)

        registers = np.empty((count, self.size), np.int64)
        for offset, (values, nothing) in enumerate(((sounding, self.start), (age, 0), (motion, 0))):
            padded = np.concatenate([np.full(voices, nothing), values.reshape(-1)])
            for lag in range(1, voices + 1):
                registers[:, offset * voices + lag - 1] = padded[voices - lag : voices - lag + count]
        return registers

    def step(self, registers: NDArray[np.int64], token: int) -> NDArray[np.int64]:
        """The registers after one more token: (size,) to (size,)."""
        voices = self.voices
        sounding, age, motion = (registers[index * voices : (index + 1) * voices] for index in range(3))
        own = voices - 1
        held = token == self.hold
        now = int(sounding[own]) if held else token
        moved = int(self.intervals[token, sounding[own]]) if token >= self.first_pitch else int(motion[own])
        aged = min(int(age[own]) + 1, MAX_AGE) if held else 0
        return np.array([now, *sounding[:own], aged, *age[:own], moved, *motion[:own]], np.int64)

    def features(self, registers: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the network is told: registers (..., size) to (..., features), each below its `feature_sizes`."""
        newer, older = (np.array([pair[side] for pair in self.pairs], np.intp) for side in range(2))
        return np.concatenate([registers, self.intervals[registers[..., newer], registers[..., older]]], axis=-1)
