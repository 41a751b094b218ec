import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.tokenizers import GridTokenizer
from music.tokenizers.grid_vocabulary import FIRST_PITCH, HOLD, REST, START
from music.voice_tracker import DECAYS, MAX_AGE, PITCH_CLASSES, SPAN, SPANS, VoiceTracker
from tests.unit.music.strategies import grid_pieces
from tests.unit.music.voice_reference import features_of, next_profile, next_state


def tracker_of(tokenizer: GridTokenizer) -> VoiceTracker:
    assert tokenizer.voice_tracker is not None
    return tokenizer.voice_tracker


@given(grid_pieces())
def test_states_of_a_piece_equal_single_steps(piece: tuple[GridTokenizer, NDArray[np.int32]]) -> None:
    tokenizer, tokens = piece
    tracker = tracker_of(tokenizer)
    state = tracker.initial
    for token, read in zip(tokens, tracker.states(tokens), strict=True):
        np.testing.assert_array_equal(read, state)
        state = next_state(tracker, state, int(token))


@pytest.mark.slow
@given(grid_pieces(), st.integers(1, 300))
def test_profiles_of_a_piece_equal_single_steps(piece: tuple[GridTokenizer, NDArray[np.int32]], times: int) -> None:
    tokenizer, tokens = piece
    tracker = tracker_of(tokenizer)
    whole = np.tile(tokens, -(-times // len(tokens)))  # longer than one block, grammar or not
    state = tracker.initial
    profile = np.zeros((len(DECAYS), PITCH_CLASSES), np.float32)
    for token, read in zip(whole, tracker.profile(whole), strict=True):
        np.testing.assert_allclose(read, profile, rtol=1e-4, atol=1e-5)
        state = next_state(tracker, state, int(token))
        profile = next_profile(tracker, profile, int(state[0]))


@given(grid_pieces())
def test_every_feature_stays_below_its_size(piece: tuple[GridTokenizer, NDArray[np.int32]]) -> None:
    tokenizer, tokens = piece
    tracker = tracker_of(tokenizer)
    features = features_of(tracker, tracker.states(tokens))
    assert features.shape == (len(tokens), len(tracker.feature_sizes))
    assert (features >= 0).all()
    assert (features < np.array(tracker.feature_sizes)).all()


@given(grid_pieces(), st.integers(-7, 7))
def test_transposing_changes_only_sounding_pitches(piece: tuple[GridTokenizer, NDArray[np.int32]], wish: int) -> None:
    tokenizer, tokens = piece
    tracker = tracker_of(tokenizer)
    shifts = tokenizer.transpositions(tokens)
    shift = min(max(wish, shifts.start), shifts.stop - 1)
    before = features_of(tracker, tracker.states(tokens))
    after = features_of(tracker, tracker.states(tokenizer.transposed(tokens, shift)))
    sounding = before[:, : tracker.voices]
    moved = np.where(sounding >= FIRST_PITCH, sounding + shift, sounding)
    np.testing.assert_array_equal(after[:, : tracker.voices], moved)
    np.testing.assert_array_equal(after[:, tracker.voices :], before[:, tracker.voices :])
    profile = np.roll(tracker.profile(tokens), shift, axis=-1)
    np.testing.assert_allclose(tracker.profile(tokenizer.transposed(tokens, shift)), profile, rtol=1e-6)


def test_two_voices_by_hand() -> None:
    tokenizer = GridTokenizer(voices=2, lowest_pitch=60, highest_pitch=71)
    tracker = tracker_of(tokenizer)
    c, e, g = FIRST_PITCH, FIRST_PITCH + 4, FIRST_PITCH + 7
    none, octave = 0, tracker.pitches
    tokens = np.array([e, c, HOLD, REST, g, c])
    expected = [
        # newest and next voice sound; their ages; their last motions; their last pitches; tokens so far
        [START, START, 0, 0, none, none, START, START, 0],
        [e, START, 0, 0, none, none, e, START, 1],
        [c, e, 0, 0, none, none, c, e, 2],
        [e, c, 1, 0, none, none, e, c, 3],
        [REST, e, 0, 1, none, none, c, e, 4],
        [g, REST, 0, 0, octave + 3, none, g, c, 5],
    ]
    np.testing.assert_array_equal(tracker.states(tokens), expected)
    features = features_of(tracker, np.array(expected))
    assert features[:, -2].tolist() == [none, none, octave - 4, octave + 4, none, none], "newest voice to the next"
    assert features[:, -1].tolist() == [none] * 5 + [octave - 4], "c stood a third below the e that went to g"


@pytest.mark.parametrize("held", [1, MAX_AGE, 3 * MAX_AGE])
def test_age_has_a_maximum(held: int) -> None:
    tracker = tracker_of(GridTokenizer(voices=1, lowest_pitch=60, highest_pitch=71))
    tokens = np.array([FIRST_PITCH, *[HOLD] * held, HOLD])
    assert tracker.states(tokens)[-1, 1] == min(held, MAX_AGE)


def test_elapsed_spans_have_a_maximum() -> None:
    tracker = tracker_of(GridTokenizer(voices=2, lowest_pitch=60, highest_pitch=71))
    column = list(tracker.feature_groups).index("elapsed") * tracker.voices
    elapsed = features_of(tracker, tracker.states(np.full(2 * SPAN * (SPANS + 2), REST)))[:, column]
    assert elapsed.tolist() == [min(token // (2 * SPAN), SPANS) for token in range(len(elapsed))]
