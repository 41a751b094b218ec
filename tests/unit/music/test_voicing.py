import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.tokenizers.grid import FIRST_PITCH, HOLD, REST, START, GridTokenizer
from music.voicing import MAX_AGE, Voicing


def voicing_of(tokenizer: GridTokenizer) -> Voicing:
    assert tokenizer.voicing is not None
    return tokenizer.voicing


@st.composite
def pieces(draw: st.DrawFn) -> tuple[GridTokenizer, NDArray[np.int32]]:
    """A grid and tokens that its grammar accepts; HOLDs are made frequent, so that notes grow old."""
    voices = draw(st.integers(1, 4))
    tokenizer = GridTokenizer(voices=voices, lowest_pitch=60, highest_pitch=67)
    grammar, state, tokens = tokenizer.grammar, tokenizer.grammar.start, []
    for choice in draw(st.lists(st.integers(0, 19), min_size=1, max_size=120)):
        allowed = [token for token in np.flatnonzero(grammar.allowed[state]) if token != tokenizer.end_token]
        token = HOLD if HOLD in allowed and choice < 12 else int(allowed[choice % len(allowed)])
        tokens.append(token)
        state = int(grammar.successor[state, token])
    return tokenizer, np.array(tokens, np.int32)


@given(pieces())
def test_reading_a_piece_is_stepping_through_it(piece: tuple[GridTokenizer, NDArray[np.int32]]) -> None:
    tokenizer, tokens = piece
    voicing = voicing_of(tokenizer)
    registers = voicing.initial
    for token, read in zip(tokens, voicing.registers(tokens), strict=True):
        np.testing.assert_array_equal(read, registers)
        registers = voicing.step(registers, int(token))


@given(pieces())
def test_every_feature_stays_below_its_size(piece: tuple[GridTokenizer, NDArray[np.int32]]) -> None:
    tokenizer, tokens = piece
    voicing = voicing_of(tokenizer)
    features = voicing.features(voicing.registers(tokens))
    assert features.shape == (len(tokens), len(voicing.feature_sizes))
    assert (features >= 0).all()
    assert (features < np.array(voicing.feature_sizes)).all()


@given(pieces(), st.integers(-7, 7))
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


def test_two_voices_by_hand() -> None:
    tokenizer = GridTokenizer(voices=2, lowest_pitch=60, highest_pitch=71)
    voicing = voicing_of(tokenizer)
    c, e, g = FIRST_PITCH, FIRST_PITCH + 4, FIRST_PITCH + 7
    none, octave = 0, voicing.pitches
    tokens = np.array([e, c, HOLD, REST, g, c])
    expected = [
        # newest and next voice sound; their ages; their last motions
        [START, START, 0, 0, none, none],
        [e, START, 0, 0, none, none],
        [c, e, 0, 0, none, none],
        [e, c, 1, 0, none, none],
        [REST, e, 0, 1, none, none],
        [g, REST, 0, 0, octave + 3, none],
    ]
    np.testing.assert_array_equal(voicing.registers(tokens), expected)
    assert voicing.features(np.array(expected))[2, -1] == octave - 4  # the newest voice, a third below the other


@pytest.mark.parametrize("held", [1, MAX_AGE, 3 * MAX_AGE])
def test_a_note_grows_no_older_than_the_maximum(held: int) -> None:
    voicing = voicing_of(GridTokenizer(voices=1, lowest_pitch=60, highest_pitch=71))
    tokens = np.array([FIRST_PITCH, *[HOLD] * held, HOLD])
    assert voicing.registers(tokens)[-1, 1] == min(held, MAX_AGE)
