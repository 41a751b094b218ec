"""Voice states, profiles and features, one token at a time: the reference for the code that computes whole pieces."""

import numpy as np
from numpy.typing import NDArray

from music.linear_voice_tracker import LinearFeatures, LinearVoiceTracker
from music.voice_tracker import MAX_AGE, SPANS, VoiceTracker


def next_state(tracker: VoiceTracker, state: NDArray[np.int64], token: int) -> NDArray[np.int64]:
    """The voice state after one more token: (size,) to (size,)."""
    sounding, age, motion, last_pitch = state[:-1].reshape(4, tracker.voices)
    voice = tracker.voices - 1
    held, pitched = token == tracker.hold, token >= tracker.first_pitch
    new_sounding = int(sounding[voice]) if held else token
    new_age = min(int(age[voice]) + 1, MAX_AGE) if held else 0
    new_motion = int(tracker.intervals[token, last_pitch[voice]]) if pitched else int(motion[voice])
    new_pitch = token if pitched else int(last_pitch[voice])
    shifted = [new_sounding, *sounding[:voice], new_age, *age[:voice]]
    shifted += [new_motion, *motion[:voice], new_pitch, *last_pitch[:voice]]
    return np.array([*shifted, min(int(state[-1]) + 1, SPANS * tracker.span)], np.int64)


def next_profile(tracker: VoiceTracker, profile: NDArray[np.float32], sounding: int) -> NDArray[np.float32]:
    """The profile (decays, 12) after a token by which its voice sounds `sounding`."""
    after: NDArray[np.float32] = profile * tracker.decay[:, None] + tracker.pitch_class[sounding]
    return after


def features_of(tracker: VoiceTracker, states: NDArray[np.int64]) -> NDArray[np.int64]:
    """The features of voice states: (..., size) to (..., features)."""
    voices = tracker.voices
    newer, older = (np.array([pair[side] for pair in tracker.pairs], np.intp) for side in range(2))
    intervals = tracker.intervals[states[..., newer], states[..., older]]
    elapsed = states[..., -1:] // tracker.span
    age, motion, last_pitch = (states[..., first : first + voices - 1] for first in tracker.other_voices)
    came_from = np.where((age == 0) & (motion > 0), last_pitch - motion + tracker.pitches, tracker.start)
    before = tracker.intervals[states[..., tracker.next_voice_pitch, None], came_from]
    return np.concatenate([states[..., : 3 * voices], elapsed, intervals, before], axis=-1)


def next_row(linear: LinearVoiceTracker, row: NDArray[np.float32], token: int) -> NDArray[np.float32]:
    """The row after one more token: (size,) to (size,)."""
    after: NDArray[np.float32] = row @ linear.advance * linear.gates[token] + linear.values[token]
    return after


def evaluate(features: LinearFeatures, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The features of rows: (..., size) to (..., features)."""
    values: NDArray[np.float32] = np.minimum(rows @ features.weights + features.bias, features.bound)
    return values
