from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from music.composition.guide import Instructions
from music.errors import NoTokenLeftError
from music.grammar import FORBIDDEN
from server.engine.bias_table import BiasTable
from server.engine.guided_rows import GuidedRows, RowOutcome, without_token
from tests.unit.server.engine.fake_guide import STATIC_ROWS, FakeCursor, FakeGuide

VOCABULARY = 8
NONE = np.zeros(0, np.int64)


@pytest.fixture
def biases() -> BiasTable:
    return BiasTable(VOCABULARY)


@pytest.fixture
def rows(biases: BiasTable) -> GuidedRows:
    return GuidedRows(biases, VOCABULARY, longest_chunk=16)


def next_steps(rows: GuidedRows, slot: int, steps: int) -> tuple[list[int], NDArray[np.int64]]:
    forced, bias_index = np.zeros(steps, np.int64), np.zeros(steps, np.int64)
    rows.fill(slot, forced, bias_index)
    return forced.tolist(), bias_index


def test_instructions_are_used_up_before_the_next_are_asked_for(rows: GuidedRows, biases: BiasTable) -> None:
    guide = FakeGuide(VOCABULARY, ahead=5)
    given = rows.start(2, guide, None, NONE, NONE)
    assert isinstance(given, np.ndarray)
    assert given.shape == (0,)
    assert rows.known_steps(2) == 5
    forced, bias_index = next_steps(rows, 2, 3)
    assert forced == [-1, -1, -1]
    assert biases.rows[bias_index].tolist() == guide.biases[:3].tolist()
    assert rows.advance(2, np.array([1, 2, 3])) is RowOutcome.GOES_ON
    assert rows.known_steps(2) == 2
    _, bias_index = next_steps(rows, 2, 2)
    assert biases.rows[bias_index].tolist() == guide.biases[[3, 0]].tolist()
    assert rows.advance(2, np.array([1, 2])) is RowOutcome.GOES_ON
    assert rows.known_steps(2) == 5


def test_rows_of_one_guide_share_its_bias_rows_until_the_last_one_leaves(rows: GuidedRows, biases: BiasTable) -> None:
    guide = FakeGuide(VOCABULARY)
    for slot in range(3):
        rows.start(slot, guide, None, NONE, NONE)
    assert len(biases) == STATIC_ROWS
    shared = biases.rows
    rows.start(3, guide, None, NONE, NONE)
    assert biases.rows is shared
    rows.start(4, guide, 7, NONE, NONE)  # its rows forbid one token more
    assert len(biases) == 2 * STATIC_ROWS
    for slot in range(5):
        assert len(biases) > 1
        rows.remove(slot)
    assert len(biases) == 1
    assert 0 not in rows


def test_the_banned_token_is_forbidden_in_every_row(rows: GuidedRows, biases: BiasTable) -> None:
    rows.start(0, FakeGuide(VOCABULARY, is_dynamic=True), 7, NONE, NONE)
    _, bias_index = next_steps(rows, 0, 1)
    row = [0.0] * VOCABULARY
    row[0] = row[7] = float(np.float32(FORBIDDEN))
    assert biases.rows[bias_index].tolist() == [row]


def test_extra_rows_live_as_long_as_their_instructions(rows: GuidedRows, biases: BiasTable) -> None:
    rows.start(0, FakeGuide(VOCABULARY, is_dynamic=True), None, NONE, NONE)
    for last, token in pairwise((0, 5, 6, 6, 0)):
        before = biases.rows
        assert rows.advance(0, np.array([token])) is RowOutcome.GOES_ON
        assert (biases.rows is before) == (token == last), "an equal row keeps its place"
        _, bias_index = next_steps(rows, 0, 1)
        expected = np.zeros(VOCABULARY, np.float32)
        expected[token] = FORBIDDEN
        assert biases.rows[bias_index[0]].tolist() == expected.tolist()
        assert len(biases) == STATIC_ROWS + 1
    rows.remove(0)
    assert len(biases) == 1


def test_a_row_starts_behind_its_tokens_and_says_which_are_forced(rows: GuidedRows) -> None:
    guide = FakeGuide(VOCABULARY, primer=(1, 2), period=4, ahead=3)
    forced = guide.forced_token(4, None)
    given = rows.start(0, guide, None, np.array([1, 2, 5, 6, forced]), NONE)
    assert isinstance(given, np.ndarray)
    assert given.tolist() == [True, True, False, False, True]
    assert next_steps(rows, 0, 3)[0] == [-1, -1, -1]


def test_a_row_is_at_a_resampling_point_right_after_the_forced_token(rows: GuidedRows) -> None:
    guide = FakeGuide(VOCABULARY, period=4)
    rows.start(0, guide, None, NONE, NONE)
    assert rows.known_steps(0) == 1
    assert rows.advance(0, np.array([guide.forced_token(0, None)])) is RowOutcome.AT_RESAMPLING
    assert rows.known_steps(0) == 4, "the next forced token ends the instructions"
    assert rows.advance(0, np.array([1, 2])) is RowOutcome.GOES_ON


def test_the_tokens_that_complete_a_piece_are_counted(rows: GuidedRows) -> None:
    rows.start(0, FakeGuide(VOCABULARY, length=5), None, NONE, NONE)
    assert rows.advance(0, np.array([1, 2, 3])) is RowOutcome.GOES_ON
    tokens = np.array([4, 5, 6, 6])
    assert rows.advance(0, tokens) is RowOutcome.COMPLETE
    assert rows.completing_tokens(0, np.array([1, 2, 3]), tokens) == 2
    assert rows.completing_tokens(0, np.array([1, 2, 3, 4]), tokens[1:2]) == 1


def test_shared_instructions_are_asked_for_once_for_all_rows_at_a_step(
    rows: GuidedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    instructions = FakeCursor.instructions

    def counted(cursor: FakeCursor, limit: int) -> Instructions:
        asked.append(limit)
        return instructions(cursor, limit)

    monkeypatch.setattr(FakeCursor, "instructions", counted)
    guide = FakeGuide(VOCABULARY, ahead=3)
    for slot in range(3):
        rows.start(slot, guide, None, NONE, NONE)
    rows.start(3, FakeGuide(VOCABULARY, ahead=3), None, NONE, NONE)  # another guide
    assert asked == [16, 16]
    for slot in (2, 0):
        assert rows.advance(slot, np.array([1, slot, 3])) is RowOutcome.GOES_ON
        assert next_steps(rows, slot, 3)[1].tolist() == [rows._guides[id(guide), None].table_index[3], 0, 1]
    assert asked == [16, 16, 16]
    assert rows.known_steps(1) == 3


def forbidden(biases: BiasTable, bias_index: NDArray[np.int64]) -> list[list[int]]:
    """The tokens that each step forbids."""
    return [np.flatnonzero(row).tolist() for row in biases.rows[bias_index]]


def test_a_chunk_with_a_wrong_guess_does_not_count(rows: GuidedRows, biases: BiasTable) -> None:
    rows.start(0, FakeGuide(VOCABULARY, is_dynamic=True, ahead=4), None, NONE, NONE)
    assert rows.known_steps(0) == 4
    assert forbidden(biases, next_steps(rows, 0, 4)[1]) == [[0]] * 4
    assert rows.advance(0, np.array([0, 5, 6, 6])) is RowOutcome.REJECTED
    assert rows.known_steps(0) == 2 + 4
    assert forbidden(biases, next_steps(rows, 0, 6)[1]) == [[0], [0], [5], [5], [5], [5]]
    assert rows.advance(0, np.array([0])) is RowOutcome.GOES_ON, "a shorter chunk"
    assert rows.advance(0, np.array([5, 5, 5, 5, 6])) is RowOutcome.GOES_ON
    assert rows.known_steps(0) == 4
    assert forbidden(biases, next_steps(rows, 0, 4)[1]) == [[6]] * 4
    assert rows.advance(0, np.array([6])) is RowOutcome.GOES_ON
    assert rows.known_steps(0) == 4, "guesses that can be known now are replaced"
    assert rows.advance(0, np.array([2, 3])) is RowOutcome.REJECTED
    rows.remove(0)
    assert len(biases) == 1


def test_a_row_fails_only_after_the_tokens_before_the_failing_step(rows: GuidedRows, biases: BiasTable) -> None:
    rows.start(0, FakeGuide(VOCABULARY, is_dynamic=True, ahead=4, failing_step=2), None, NONE, NONE)
    assert rows.advance(0, np.array([0, 5, 6, 6])) is RowOutcome.REJECTED
    assert rows.known_steps(0) == 2
    assert isinstance(rows.advance(0, np.array([0, 5])), KeyError)
    rows.remove(0)
    assert len(biases) == 1


def test_a_copy_goes_on_alone(rows: GuidedRows, biases: BiasTable) -> None:
    guide = FakeGuide(VOCABULARY, is_dynamic=True)
    for slot in range(2):
        rows.start(slot, guide, None, NONE, NONE)
    rows.advance(0, np.array([3]))
    rows.copy(0, 1)
    assert next_steps(rows, 1, 1)[1].tolist() == next_steps(rows, 0, 1)[1].tolist()
    rows.advance(0, np.array([5]))
    _, bias_index = next_steps(rows, 1, 1)
    assert biases.rows[bias_index[0]][3] == np.float32(FORBIDDEN), "its last token is still 3"
    rows.remove(0)
    rows.remove(1)
    assert len(biases) == 1


def test_an_error_of_a_guide_is_returned_and_leaves_nothing(rows: GuidedRows, biases: BiasTable) -> None:
    error = rows.start(0, FakeGuide(VOCABULARY, failing_step=0), None, NONE, NONE)
    assert isinstance(error, KeyError)
    assert 0 not in rows
    assert len(biases) == 1
    rows.start(0, FakeGuide(VOCABULARY, failing_step=1, ahead=1), None, NONE, NONE)
    assert isinstance(rows.advance(0, np.array([1])), KeyError)
    rows.remove(0)
    assert len(biases) == 1


def test_a_row_without_a_token_left_says_so(rows: GuidedRows) -> None:
    guide = FakeGuide(VOCABULARY, period=2, unlucky=1)
    rows.start(0, guide, None, NONE, NONE)
    assert isinstance(rows.advance(0, np.array([guide.forced_token(0, None)])), NoTokenLeftError)


def test_tokens_that_complete_the_piece_are_refused(rows: GuidedRows, biases: BiasTable) -> None:
    guide = FakeGuide(VOCABULARY, length=3)
    assert isinstance(rows.start(0, guide, None, np.array([1, 2, 3]), NONE), ValueError)
    assert isinstance(rows.start(0, guide, None, np.array([1]), np.array([2, 3])), ValueError)
    assert len(biases) == 1
    assert isinstance(rows.start(0, guide, None, np.array([1]), np.array([2])), np.ndarray)


@pytest.mark.parametrize("primer", [(VOCABULARY,), (1, VOCABULARY)])
def test_a_forced_token_outside_the_vocabulary_is_refused(rows: GuidedRows, primer: tuple[int, ...]) -> None:
    assert isinstance(rows.start(0, FakeGuide(VOCABULARY, primer=primer), None, NONE, NONE), ValueError)


def test_a_row_without_a_banned_token_stays_the_same_object() -> None:
    bias = np.zeros(3, np.float32)
    assert without_token(bias, None) is bias
    assert without_token(bias, 1).tolist() == [0, np.float32(FORBIDDEN), 0]
    assert bias.tolist() == [0, 0, 0]


@pytest.mark.parametrize("resampling", [True, False])
def test_a_cursor_is_told_whether_its_row_is_a_particle(rows: GuidedRows, resampling: bool) -> None:
    cursors: list[FakeCursor] = []

    class RecordingGuide(FakeGuide):
        def cursor(self) -> FakeCursor:
            cursors.append(super().cursor())
            return cursors[-1]

    rows.start(0, RecordingGuide(VOCABULARY), None, NONE, NONE, resampling=resampling)
    assert [cursor.resampling for cursor in cursors] == [resampling]
