"""The state of every voice of an interleaved grid, and a pitch-class profile: both computed from the tokens.

A HOLD token does not say which pitch it holds. Without help, the LSTM would have to remember four pitches through
dozens of HOLD tokens. So the network gets, before each token, the voice state, the intervals between the voices and the
profile. They advance with table lookups and one multiplication, in NumPy, PyTorch and an ONNX graph alike.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_AGE: Final = 16
"""Steps after which a held note no longer grows older."""
SPAN: Final = 8
"""Steps of one span: the network gets the length of the piece so far in spans."""
SPANS: Final = 64
"""Maximum length of the piece so far, in spans."""
DECAYS: Final = (0.85, 0.98)
"""Decay factors of the profile per step: memories of about 6 and 50 steps."""
PITCH_CLASSES: Final = 12
_BLOCK: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class VoiceTracker:
    """Computes voice states, pitch-class profiles, and the features of both for the network.

    The voice state before a token is a vector of `4 * voices + 1` numbers, int64, in this order:

    * sounding: for each voice, the token that sounds (a pitch, REST, or START before the voice's first token);
    * age: for each voice, steps since that token, at most `MAX_AGE`;
    * motion: for each voice, the interval by which it last moved;
    * last pitch: for each voice, its last pitch token (START before its first);
    * the number of tokens so far, at most `SPANS` spans.

    Voices are in the order of their last tokens, the newest first. So the last one is the voice of the next token.

    The profile, (decays, 12) float32, counts for each pitch class the tokens that sounded it; older tokens count less.
    The network gets the share of each pitch class, rotated so that the last pitch of the next token's voice is first.
    This makes the input independent of the key.

    Intervals are stored as `semitones + pitches`, 1 to 2 * pitches - 1; 0 if one side is no pitch.
    """

    voices: int
    """Number of voices, which is the number of tokens of a step."""
    vocabulary: int
    hold: int
    """Token that continues what the voice sounds."""
    first_pitch: int
    """Lowest pitch token; all higher ids are pitches, a semitone apart."""
    start: int
    """Token in place of a sounding token or last pitch before the first token."""

    @property
    def pitches(self) -> int:
        """Number of pitch tokens."""
        return self.vocabulary - self.first_pitch

    @property
    def size(self) -> int:
        """Length of the voice state."""
        return 4 * self.voices + 1

    @property
    def next_voice_pitch(self) -> int:
        """Index of the last pitch of the next token's voice."""
        return 4 * self.voices - 1

    @property
    def last_pitches(self) -> slice:
        """Indices of the last pitch of each voice."""
        return slice(3 * self.voices, 4 * self.voices)

    @property
    def other_voices(self) -> tuple[int, int, int]:
        """First indices of age, motion and last pitch; `voices - 1` of each belong to the other voices."""
        return self.voices, 2 * self.voices, 3 * self.voices

    @property
    def span(self) -> int:
        """Tokens of one span."""
        return SPAN * self.voices

    @property
    def decay(self) -> NDArray[np.float32]:
        """(decays,): decay factors of the profile per token."""
        return np.power(DECAYS, 1 / self.voices).astype(np.float32)

    @property
    def pitch_class(self) -> NDArray[np.float32]:
        """(vocabulary, 12): one-hot pitch class, counted from the lowest pitch; all zero if the token is no pitch."""
        table = np.zeros((self.vocabulary, PITCH_CLASSES), np.float32)
        pitches = np.arange(self.pitches)
        table[self.first_pitch + pitches, pitches % PITCH_CLASSES] = 1.0
        return table

    @property
    def rotations(self) -> NDArray[np.int64]:
        """(vocabulary, 12): the pitch classes upwards from the token's own."""
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
        """Indices of sounding tokens whose interval is a feature: each pair of voices, (newer, older)."""
        return tuple((newer, older) for older in range(self.voices) for newer in range(older))

    @property
    def feature_groups(self) -> dict[str, tuple[int, ...]]:
        """The features of a voice state: by group and in their order, the number of values of each feature.

        * sounding, ages, motions: of each voice, as in the voice state;
        * elapsed: the number of tokens so far, in spans;
        * intervals: between the sounding pitches of each pair of `pairs`;
        * before: for each other voice that has just moved, the interval from its previous pitch to the last pitch of
          the next token's voice, which a parallel motion would keep; 0 for the others.
        """
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
        """(size,): the voice state before the first token."""
        state = np.zeros(self.size, np.int64)
        state[: self.voices] = state[self.last_pitches] = self.start
        return state

    def states(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The voice state before each token of a piece: (n,) to (n, size)."""
        voices, count = self.voices, len(tokens)
        grid, last_change, sounding = self._sounding(tokens)
        rows = np.arange(len(grid))[:, None]
        age = np.minimum(np.where(last_change >= 0, rows - last_change, rows + 1), MAX_AGE)
        onset = np.maximum.accumulate(np.where(grid >= self.first_pitch, rows, -1), axis=0)
        last_pitch = np.where(onset >= 0, np.take_along_axis(grid, np.maximum(onset, 0), axis=0), self.start)
        moved = self.intervals[last_pitch, np.vstack([np.full((1, voices), self.start), last_pitch[:-1]])]
        motion = np.where(onset >= 0, np.take_along_axis(moved, np.maximum(onset, 0), axis=0), 0)

        states = np.empty((count, self.size), np.int64)
        groups = ((sounding, self.start), (age, 0), (motion, 0), (last_pitch, self.start))
        for offset, (values, initial) in enumerate(groups):
            padded = np.concatenate([np.full(voices, initial), values.reshape(-1)])
            for lag in range(1, voices + 1):
                states[:, offset * voices + lag - 1] = padded[voices - lag : voices - lag + count]
        states[:, -1] = np.minimum(np.arange(count), SPANS * self.span)
        return states

    def _sounding(self, tokens: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
        """Tokens, the step of each voice's last token other than HOLD (-1 for none), and what sounds.

        Each (steps, voices).
        """
        steps = -(-len(tokens) // self.voices)
        filled = np.full(steps * self.voices, self.hold, np.int64)
        filled[: len(tokens)] = tokens
        grid = filled.reshape(steps, self.voices)
        last_change = np.maximum.accumulate(np.where(grid != self.hold, np.arange(steps)[:, None], -1), axis=0)
        changed_to = np.take_along_axis(grid, np.maximum(last_change, 0), axis=0)
        return grid, last_change, np.where(last_change >= 0, changed_to, self.start)

    def profile(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """The profile before each token of a piece: (n,) to (n, decays, 12)."""
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
