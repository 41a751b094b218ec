import numpy as np
import pytest

from music.remaining_length import UNKNOWN, RemainingLength
from music.score import TICKS_PER_QUARTER, Meter, Note, Score, ScoreAttributes
from music.tokenizers import EventsTokenizer, GridTokenizer, Tokenizer

WALTZ = Meter(3, 4)
GRID = GridTokenizer(voices=2, lowest_pitch=40, highest_pitch=80, steps_per_quarter=2, meters=(Meter(4, 4), WALTZ))
EVENTS = EventsTokenizer(lowest_pitch=40, highest_pitch=80, meters=(WALTZ,))


def waltz(bars: int, pickup_quarters: int) -> Score:
    """So many bars, the last of which lacks the pickup."""
    return Score(
        notes=(Note(0, TICKS_PER_QUARTER, 60, 80, 0), Note(TICKS_PER_QUARTER, TICKS_PER_QUARTER, 50, 80, 1)),
        length_ticks=bars * WALTZ.bar_ticks,
        meter=WALTZ,
        pickup_ticks=pickup_quarters * TICKS_PER_QUARTER,
    )


def features(tokenizer: Tokenizer, score: Score) -> list[tuple[int, ...]]:
    """The features before each token, the end token included, less one: an unknown length is -1."""
    encoding = tokenizer.encode(score)
    counted = tokenizer.remaining_length
    before = counted.before(counted.of_piece(encoding.tokens), encoding.tokens)[:-1]
    positions = tokenizer.positions.indices(encoding.first_position, len(encoding.tokens))
    return [tuple(row) for row in (counted.features(before, positions) - 1).tolist()]


@pytest.mark.parametrize("pickup", [0, 1])
def test_a_grid_counts_its_last_steps_and_its_bars(pickup: int) -> None:
    found = features(GRID, waltz(3, pickup))
    assert len(found) == 3 * 6 * 2 + 1, "the end token"
    steps, bars = zip(*found, strict=True)
    assert steps[-5:] == (2, 2, 1, 1, 0)
    assert steps[:4] == (16, 16, 16, 16), "eight quarters, or more"
    bar = 6 * 2
    expected = [4] * (pickup * 2 * 2) + [left for left in (3, 2, 1) for _ in range(bar)]
    assert list(bars[: 3 * bar]) == expected[: 3 * bar]


@pytest.mark.parametrize("pickup", [0, 1])
def test_events_count_bars_up_to_the_present_one(pickup: int) -> None:
    encoding = EVENTS.encode(waltz(3, pickup))
    bars = [row[0] for row in features(EVENTS, waltz(3, pickup))]
    assert bars[0] == EVENTS.remaining_length.of_piece(encoding.tokens) == 3 + (pickup > 0)
    assert bars[-1] == 1, "the end token is in the last bar"
    assert sorted(bars, reverse=True) == bars
    attributes = ScoreAttributes(WALTZ, pickup * TICKS_PER_QUARTER)
    assert EVENTS.bar_count(3 * WALTZ.bar_ticks, attributes) == bars[0], "as a request for this length counts"


def test_an_unknown_length_stays_unknown_and_has_a_value_of_its_own() -> None:
    counted = GRID.remaining_length
    before = counted.before(UNKNOWN, np.arange(40))
    assert before.tolist() == [UNKNOWN] * 41
    positions = GRID.positions.indices(0, 41)
    assert not counted.features(before, positions).any()
    known = counted.features(np.arange(4000), GRID.positions.indices(0, 4000))
    assert known.min() == 1
    assert tuple(known.max(axis=0) + 1) == counted.feature_sizes, "far ahead all lengths are the same"


def test_a_known_length_never_falls_below_zero() -> None:
    assert GRID.remaining_length.before(3, np.arange(5)).tolist() == [3, 2, 1, 0, 0, 0]
    assert RemainingLength.in_bars(7).before(1, np.array([7, 7, 1])).tolist() == [1, 0, 0, 0]
