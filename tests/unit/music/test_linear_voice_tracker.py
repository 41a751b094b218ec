from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from music.linear_voice_tracker import INTERVALS, LinearVoiceTracker, none_interval_last
from music.tokenizers import GridTokenizer
from music.tokenizers.grid_vocabulary import HOLD, REST
from music.voice_tracker import SPAN, SPANS, VoiceTracker
from tests.unit.music.strategies import grid_pieces
from tests.unit.music.voice_reference import evaluate, features_of, next_row


def expected_features(tracker: VoiceTracker, voice_states: NDArray[np.int64]) -> NDArray[np.int64]:
    """Features of voice states, with intervals as in a `LinearVoiceTracker`."""
    names = [name for name, sizes in tracker.feature_groups.items() for _ in sizes]
    features = features_of(tracker, voice_states)
    lower = none_interval_last(features, tracker.pitches)
    return np.where(np.isin(names, INTERVALS), lower, features)


def rows(tokenizer: GridTokenizer, tokens: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
    """The row before each token."""
    assert tokenizer.voice_tracker is not None
    linear = LinearVoiceTracker(tokenizer.voice_tracker)
    row = linear.initial(tokenizer.start_token)
    for token in tokens:
        yield row
        row = next_row(linear, row, int(token))


@given(grid_pieces())
def test_stepped_rows_have_the_features_of_the_voice_states(piece: tuple[GridTokenizer, NDArray[np.int32]]) -> None:
    tokenizer, tokens = piece
    tracker = tokenizer.voice_tracker
    assert tracker is not None
    linear, voice_states, profile = LinearVoiceTracker(tracker), tracker.states(tokens), tracker.profile(tokens)
    previous = [tokenizer.start_token, *tokens[:-1]]
    for index, row in enumerate(rows(tokenizer, tokens)):
        assert row.shape == (linear.size,)
        np.testing.assert_array_equal(
            evaluate(linear.features, row).astype(int), expected_features(tracker, voice_states[index])
        )
        last_pitches = voice_states[index, tracker.last_pitches]
        expected = np.where(last_pitches >= tracker.first_pitch, last_pitches, tracker.vocabulary)
        np.testing.assert_array_equal(evaluate(linear.last_pitches, row), expected)
        np.testing.assert_array_equal(evaluate(linear.previous, row), [previous[index]])
        np.testing.assert_allclose(evaluate(linear.profile, row), profile[index].reshape(-1), rtol=1e-4, atol=1e-5)


@given(grid_pieces())
def test_a_row_from_a_voice_state_continues_like_a_stepped_row(
    piece: tuple[GridTokenizer, NDArray[np.int32]],
) -> None:
    """At any place in a piece: the row itself, and after one more token of each kind."""
    tokenizer, tokens = piece
    tracker = tokenizer.voice_tracker
    assert tracker is not None
    linear, voice_states, profile = LinearVoiceTracker(tracker), tracker.states(tokens), tracker.profile(tokens)
    previous = [tokenizer.start_token, *tokens[:-1]]
    for index, stepped in enumerate(rows(tokenizer, tokens)):
        made = linear.row(voice_states[index], profile[index], int(previous[index]))
        for token in (HOLD, REST, tracker.first_pitch, tracker.vocabulary - 1):
            for row in (made, stepped):
                assert row.dtype == np.float32
            after = [next_row(linear, row, token) for row in (made, stepped)]
            for features in (linear.features, linear.last_pitches, linear.previous):
                first, second = (evaluate(features, row).astype(int) for row in after)
                np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("voices", [1, 3, 4])
def test_elapsed_spans_are_counted_exactly(voices: int) -> None:
    """Spans of three voices are not a power of two: rounding must not lose the first token of a span."""
    tokenizer = GridTokenizer(voices=voices, lowest_pitch=60, highest_pitch=71)
    tracker = tokenizer.voice_tracker
    assert tracker is not None
    tokens = np.full(voices * SPAN * (SPANS + 2), REST, np.int32)
    linear = LinearVoiceTracker(tracker)
    column = list(tracker.feature_groups).index("elapsed") * voices
    counted = [int(evaluate(linear.features, row)[column]) for row in rows(tokenizer, tokens)]
    assert counted == np.minimum(np.arange(len(tokens)) // tracker.span, SPANS).tolist()
