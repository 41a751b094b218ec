import pytest

from music.score import Meter
from tests.unit.training.evaluation.scores import score
from training.evaluation.features import NoteArrays
from training.evaluation.form import form_counts, notes_in_scale, returning_bars

C_MAJOR = (60, 62, 64, 65)
D_FLAT_MAJOR = (61, 63, 65, 66)
CHROMATIC = (60, 61, 62, 63)


@pytest.mark.parametrize(
    ("bars", "found"),
    [
        ([C_MAJOR] * 16, 64),
        ([C_MAJOR] * 8 + [D_FLAT_MAJOR] * 8, 64),  # each window has its own scale
        ([C_MAJOR] * 4 + [D_FLAT_MAJOR] * 12, 24 + 32),  # of C major, C and F are in D flat major
        ([C_MAJOR] * 9 + [D_FLAT_MAJOR] * 2, 36 + 2),  # bars that are left over belong to the last window
        ([CHROMATIC] * 8, 24),
    ],
)
def test_notes_are_compared_with_the_scale_of_their_window(bars: list[tuple[int, ...]], found: int) -> None:
    notes = NoteArrays.from_score(score([pitch for bar in bars for pitch in bar]))
    assert notes_in_scale(notes) == (found, 4 * len(bars))


def test_a_bar_returns_with_the_same_notes_at_the_same_places() -> None:
    other = (60, 62, 64, 67)
    line = [*C_MAJOR, *other, *C_MAJOR, 0, 0, 0, 0, *other]
    assert returning_bars(NoteArrays.from_score(score(line))) == (2, 4), "an empty bar does not count"
    assert returning_bars(NoteArrays.from_score(score(line, [48, 0, 0, 0, 50, 0, 0, 0, 48]))) == (1, 4)


def test_a_pickup_moves_the_bars() -> None:
    line = [55, *C_MAJOR, *C_MAJOR, *C_MAJOR]
    assert returning_bars(NoteArrays.from_score(score(line, pickup=480))) == (2, 4)
    assert returning_bars(NoteArrays.from_score(score(line)))[0] == 1
    assert returning_bars(NoteArrays.from_score(score(line, pickup=480, meter=Meter(3, 4))))[0] == 0


def test_a_piece_without_notes_has_nothing_to_count() -> None:
    assert form_counts(score([0])) == {"in_scale": (0, 0), "returning_bars": (0, 0)}
