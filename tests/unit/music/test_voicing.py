import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.tokenizers.grid import FIRST_PITCH, HOLD, REST, START, GridTokenizer
from music.voicing import DECAYS, MAX_AGE, PITCH_CLASSES, SPAN, SPANS, Voicing
from tests.unit.music.strategies import grid_pieces


def voicing_of(tokenizer: GridTokenizer) -> Voicing:
    assert tokenizer.voicing is not None
    return tokenizer.voicing


@given(grid_pieces())
def test_reading_a_piece_is_stepping_through_it(piece: tuple[GridTokenizer, NDArray[np.int32]]) -> None:
    tokenizer, tokens = piece
    voicing = voicing_of(tokenizer)
    registers = voicing.initial
    for token, read in zip(tokens, voicing.registers(tokens), strict=True):
        np.testing.assert_array_equal(read, registers)
        registers = voicing.step(registers, int(token))


@given(grid_pieces(), st.integers(1, 300))
def test_the_profile_of_a_piece_is_what_stepping_gives(
    piece: tuple[GridTokenizer, NDArray[np.int32]], times: int
) -> None:
    tokenizer, tokens = piece
    voicing = voicing_of(tokenizer)
    whole = np.tile(tokens, -(-times // len(tokens)))  # longer than one block, grammar or not
    registers = voicing.initial
    profile = np.zeros((len(DECAYS), PITCH_CLASSES), np.float32)
    for token, read in zip(whole, voicing.profile(whole), strict=True):
        np.testing.assert_allclose(read, profile, rtol=1e-4, atol=1e-5)
        registers = voicing.step(registers, int(token))
        profile = voicing.profile_step(profile, int(registers[0]))


@given(grid_pieces())
def test_every_feature_stays_below_its_size(piece: tuple[GridTokenizer, NDArray[np.int32]]) -> None:
    tokenizer, tokens = piece
    voicing = voicing_of(tokenizer)
    features = voicing.features(voicing.registers(tokens))
    assert features.shape == (len(tokens), len(voicing.feature_sizes))
    assert (features >= 0).all()
    assert (features < np.array(voicing.feature_sizes)).all()


@given(grid_pieces(), st.integers(-7, 7))
def test_transposing_a_piece_moves_what_sounds_and_nothing_else(
    piece: tuple[GridTokenizer, NDArray[np.int32]], wish: int
) -> None:
    tokenizer, tokens = piece
    voicing = voicing_of(tokenizer)
    shifts = tokenizer.shifts(tokens)
    shift = min(max(wish, shifts.start), shifts.stop - 1)
    before = voicing.features(voicing.registers(tokens))
    after = voicing.features(voicing.registers(tokenizer.shifted(tokens, shift)))
    sounding = before[:, : voicing.voices]
    moved = np.where(sounding >= FIRST_PITCH, sounding + shift, sounding)
    np.testing.assert_array_equal(after[:, : voicing.voices], moved)
    np.testing.assert_array_equal(after[:, voicing.voices :], before[:, voicing.voices :])
    profile = np.roll(voicing.profile(tokens), shift, axis=-1)
    np.testing.assert_allclose(voicing.profile(tokenizer.shifted(tokens, shift)), profile, rtol=1e-6)


def test_two_voices_by_hand() -> None:
    tokenizer = GridTokenizer(voices=2, lowest_pitch=60, highest_pitch=71)
    voicing = voicing_of(tokenizer)
    c, e, g = FIRST_PITCH, FIRST_PITCH + 4, FIRST_PITCH + 7
    none, octave = 0, voicing.pitches
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
    np.testing.assert_array_equal(voicing.registers(tokens), expected)
    features = voicing.features(np.array(expected))
    assert features[:, -2].tolist() == [none, none, octave - 4, octave + 4, none, none], "newest voice to the next"
    assert features[:, -1].tolist() == [none] * 5 + [octave - 4], "c stood a third below the e that went to g"


@pytest.mark.parametrize("held", [1, MAX_AGE, 3 * MAX_AGE])
def test_a_note_grows_no_older_than_the_maximum(held: int) -> None:
    voicing = voicing_of(GridTokenizer(voices=1, lowest_pitch=60, highest_pitch=71))
    tokens = np.array([FIRST_PITCH, *[HOLD] * held, HOLD])
    assert voicing.registers(tokens)[-1, 1] == min(held, MAX_AGE)


def test_a_piece_seems_no_longer_than_the_maximum() -> None:
    voicing = voicing_of(GridTokenizer(voices=2, lowest_pitch=60, highest_pitch=71))
    column = list(voicing.feature_groups).index("elapsed") * voicing.voices
    elapsed = voicing.features(voicing.registers(np.full(2 * SPAN * (SPANS + 2), REST)))[:, column]
    assert elapsed.tolist() == [min(token // (2 * SPAN), SPANS) for token in range(len(elapsed))]
