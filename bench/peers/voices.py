"""What the voices sound, kept in NumPy for a batch of pieces, as one would beside a network in PyTorch."""

import numpy as np
from numpy.typing import NDArray

from music.voicing import DECAYS, MAX_AGE, PITCH_CLASSES, SPANS, Voicing


class VoiceState:
    """Registers and profiles of some pieces (`music.voicing`), all advanced by a token at once."""

    def __init__(self, voicing: Voicing, pieces: int) -> None:
        self._voicing = voicing
        # Properties that compute: once is enough.
        self._intervals, self._initial = voicing.intervals, voicing.initial
        self._decay, self._pitch_class, self._turned = voicing.decay[:, None], voicing.pitch_class, voicing.turned
        self._newer, self._older = (np.array([pair[side] for pair in voicing.pairs]) for side in range(2))
        self.registers: NDArray[np.int64] = np.tile(self._initial, (pieces, 1))
        self.profile: NDArray[np.float32] = np.zeros((pieces, len(DECAYS), PITCH_CLASSES), np.float32)

    def features(self) -> NDArray[np.int64]:
        """What the network is told of the registers, as `Voicing.features` has it: (pieces, features)."""
        voicing, registers, voices = self._voicing, self.registers, self._voicing.voices
        elapsed = registers[:, -1:] // voicing.span
        intervals = self._intervals[registers[:, self._newer], registers[:, self._older]]
        age, motion, heard = (registers[:, first : first + voices - 1] for first in voicing.others)
        came_from = np.where((age == 0) & (motion > 0), heard - motion + voicing.pitches, voicing.start)
        before = self._intervals[registers[:, voicing.own, None], came_from]
        return np.concatenate([registers[:, : 3 * voices], elapsed, intervals, before], axis=1)

    def turned_profile(self) -> NDArray[np.float32]:
        """The profile from the last pitch of the voice whose token comes next upwards: (pieces, decays, 12)."""
        places = self._turned[self.registers[:, self._voicing.own]]
        turned: NDArray[np.float32] = np.take_along_axis(self.profile, places[:, None, :], axis=2)
        return turned

    def heard(self) -> NDArray[np.int64]:
        """The last pitch token of each voice: (pieces, voices)."""
        heard: NDArray[np.int64] = self.registers[:, self._voicing.heard]
        return heard

    def advance(self, tokens: NDArray[np.int64]) -> None:
        """Take one more token of each piece, (pieces,)."""
        voicing, pieces, own = self._voicing, len(tokens), self._voicing.voices - 1
        parts = self.registers[:, :-1].reshape(pieces, 4, voicing.voices)
        sounding, age, motion, heard = (parts[:, kind, own] for kind in range(4))
        held, pitched = tokens == voicing.hold, tokens >= voicing.first_pitch
        after = np.empty_like(self.registers)
        shifted = after[:, :-1].reshape(pieces, 4, voicing.voices)
        shifted[:, :, 1:] = parts[:, :, :-1]
        shifted[:, 0, 0] = now = np.where(held, sounding, tokens)
        shifted[:, 1, 0] = np.where(held, np.minimum(age + 1, MAX_AGE), 0)
        shifted[:, 2, 0] = np.where(pitched, self._intervals[tokens, heard], motion)
        shifted[:, 3, 0] = np.where(pitched, tokens, heard)
        after[:, :-1] = shifted.reshape(pieces, -1)
        after[:, -1] = np.minimum(self.registers[:, -1] + 1, SPANS * voicing.span)
        self.registers = after
        self.profile = self.profile * self._decay + self._pitch_class[now][:, None, :]
