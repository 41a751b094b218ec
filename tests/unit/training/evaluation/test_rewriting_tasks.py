"""What of a piece is given and what is written."""

import numpy as np
import pytest

from music.score import Meter, Score
from music.tokenizers import EventsTokenizer, GridTokenizer
from tests.unit.training.evaluation.scores import score
from training.errors import CorpusError
from training.evaluation.pieces import TokenizedPiece, attributes_of
from training.evaluation.rewriting_tasks import Part, RewritingTask, parts_of, rewriting_tasks

QUARTET = GridTokenizer(voices=4, lowest_pitch=36, highest_pitch=81, voice_order=(0, 3, 2, 1))
SOPRANO, BASS, TENOR, ALTO = range(4)  # the order of the tokens of a step


def task_of(piece: Score, part: Part, tokenizer: GridTokenizer = QUARTET) -> RewritingTask:
    encoding = tokenizer.encode(piece)
    real = TokenizedPiece(
        "piece", encoding, attributes_of(piece), tokenizer.decode(encoding.tokens, attributes_of(piece))
    )
    (task,) = rewriting_tasks(tokenizer, [real], part)
    return task


def chorale(bars: int, pickup: int = 0) -> Score:
    count = 4 * bars + pickup // 480
    voices = ([pitch + index % 3 for index in range(count)] for pitch in (72, 67, 60, 48))
    return score(*voices, meter=Meter(4, 4), pickup=pickup)


@pytest.mark.parametrize(
    ("part", "places"),
    [(Part.SOPRANO, {SOPRANO}), (Part.BASS, {BASS}), (Part.UPPER, {SOPRANO, TENOR, ALTO})],
)
def test_voices_are_given_from_beginning_to_end(part: Part, places: set[int]) -> None:
    task = task_of(chorale(4), part)
    by_place = task.given.reshape(-1, 4)
    assert by_place.shape == (64, 4)
    for place in range(4):
        assert (by_place[:, place] == (place in places)).all()
    assert not task.after.any()
    assert len(task.plan.kept) == 16 * len(places)


@pytest.mark.parametrize(("bars", "pickup", "first"), [(4, 0, 16), (5, 0, 16), (6, 0, 32), (5, 480, 20)])
def test_two_bars_in_the_middle_are_infilled(bars: int, pickup: int, first: int) -> None:
    task = task_of(chorale(bars, pickup), Part.INFILL)
    written = (~task.given).reshape(-1, 4)
    after = task.after.reshape(-1, 4)
    np.testing.assert_array_equal(np.flatnonzero(written.all(axis=1)), np.arange(first, first + 32))
    assert written.sum() == 32 * 4
    np.testing.assert_array_equal(np.flatnonzero(after.all(axis=1)), np.arange(first + 32, first + 48))
    assert after.sum() == 16 * 4
    np.testing.assert_array_equal(task.written_cells, written[:, [0, 3, 2, 1]])


def test_given_tokens_are_those_that_the_plan_forces() -> None:
    for part in Part:
        task = task_of(chorale(6, 480), part)
        assert task.plan.guide is not None
        forced = task.plan.guide.cursor().instructions(1).forced
        assert (forced[0] >= 0) == task.given[0]
        assert len(task.given) == task.plan.max_tokens == len(task.tokens)
        assert task.plan.primer == tuple(task.tokens[: int((~task.given).argmax())])


def test_which_parts_a_model_has_depends_on_its_voices() -> None:
    one, two = (GridTokenizer(voices=voices, lowest_pitch=48, highest_pitch=81) for voices in (1, 2))
    assert parts_of(one) == [Part.INFILL]
    assert parts_of(two) == [Part.SOPRANO, Part.BASS, Part.INFILL]
    assert parts_of(QUARTET) == list(Part)
    with pytest.raises(CorpusError, match="not for events"):
        parts_of(EventsTokenizer(lowest_pitch=21, highest_pitch=108))


def test_pieces_of_less_than_four_bars_are_left_out() -> None:
    with pytest.raises(CorpusError, match="long enough"):
        task_of(chorale(3), Part.INFILL)
    assert task_of(chorale(3), Part.SOPRANO).given.any()
