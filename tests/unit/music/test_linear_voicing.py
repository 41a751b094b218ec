from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from music.linear_voicing import INTERVALS, LinearVoicing, stored_lower
from music.tokenizers.grid import HOLD, REST, GridTokenizer
from music.voicing import SPAN, SPANS, Voicing
from tests.unit.music.strategies import grid_pieces


def told(voicing: Voicing, registers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The features of the registers, intervals where a `LinearVoicing` has them."""
    names = [name for name, sizes in voicing.feature_groups.items() for _ in sizes]
    features = voicing.features(registers)
    lower = stored_lower(features, voicing.pitches)
    return np.where(np.isin(names, INTERVALS), lower, features)


def rows(tokenizer: GridTokenizer, tokens: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
    """The row before each token."""
    assert tokenizer.voicing is not None
    linear = LinearVoicing(tokenizer.voicing)
    row = linear.initial(tokenizer.start_token)
    for token in tokens:
        yield row
        row = linear.step(row, int(token))


@given(grid_pieces())
def test_rows_that_step_say_what_the_registers_say(piece: tuple[GridTokenizer, NDArray[np.int32]]) -> None:
    tokenizer, tokens = piece
    voicing = tokenizer.voicing
    assert voicing is not None
    linear, registers, profile = LinearVoicing(voicing), voicing.registers(tokens), voicing.profile(tokens)
    previous = [tokenizer.start_token, *tokens[:-1]]
    for index, row in enumerate(rows(tokenizer, tokens)):
        assert row.shape == (linear.size,)
        np.testing.assert_array_equal(linear.features.of(row).astype(int), told(voicing, registers[index]))
        heard = registers[index, voicing.heard]
        expected = np.where(heard >= voicing.first_pitch, heard, voicing.vocabulary)
        np.testing.assert_array_equal(linear.heard.of(row), expected)
        np.testing.assert_array_equal(linear.previous.of(row), [previous[index]])
        np.testing.assert_allclose(linear.profile.of(row), profile[index].reshape(-1), rtol=1e-4, atol=1e-5)


@given(grid_pieces())
def test_a_row_made_of_registers_goes_on_as_the_one_that_stepped(
    piece: tuple[GridTokenizer, NDArray[np.int32]],
) -> None:
    """Anywhere in a piece: what a row says now and after each of the next tokens of every kind."""
    tokenizer, tokens = piece
    voicing = tokenizer.voicing
    assert voicing is not None
    linear, registers, profile = LinearVoicing(voicing), voicing.registers(tokens), voicing.profile(tokens)
    previous = [tokenizer.start_token, *tokens[:-1]]
    for index, stepped in enumerate(rows(tokenizer, tokens)):
        made = linear.row(registers[index], profile[index], int(previous[index]))
        for token in (HOLD, REST, voicing.first_pitch, voicing.vocabulary - 1):
            for row in (made, stepped):
                assert row.dtype == np.float32
            after = [linear.step(row, token) for row in (made, stepped)]
            for features in (linear.features, linear.heard, linear.previous):
                first, second = (features.of(row).astype(int) for row in after)
                np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("voices", [1, 3, 4])
def test_what_has_elapsed_is_counted_exactly_to_its_end(voices: int) -> None:
    """Spans of three voices are no power of two: rounding must not lose the first token of one."""
    tokenizer = GridTokenizer(voices=voices, lowest_pitch=60, highest_pitch=71)
    voicing = tokenizer.voicing
    assert voicing is not None
    tokens = np.full(voices * SPAN * (SPANS + 2), REST, np.int32)
    linear = LinearVoicing(voicing)
    column = list(voicing.feature_groups).index("elapsed") * voices
    counted = [int(linear.features.of(row)[column]) for row in rows(tokenizer, tokens)]
    assert counted == np.minimum(np.arange(len(tokens)) // voicing.span, SPANS).tolist()
