from dataclasses import replace

import pytest

from music.errors import InvalidScoreError
from music.score import Meter, Note, Score


@pytest.mark.parametrize(("text", "ticks"), [("4/4", 1920), ("3/4", 1440), ("6/8", 1440), ("2/2", 1920), ("3/8", 720)])
def test_a_bar_is_as_long_as_its_meter_says(text: str, ticks: int) -> None:
    assert Meter.parse(text).bar_ticks == ticks
    assert str(Meter.parse(text)) == text


@pytest.mark.parametrize("text", ["", "4", "4/3", "0/4", "65/4", "4/4/4", "a/b", "-3/4"])
def test_what_is_no_meter_is_refused(text: str) -> None:
    with pytest.raises(InvalidScoreError):
        Meter.parse(text)


def test_transposing_moves_pitches_and_key_and_back_again() -> None:
    score = Score((Note(0, 480, 60), Note(480, 480, 67, voice=1)), 960, key_sharps=1)
    up = score.transposed(2)
    assert [note.pitch for note in up.notes] == [62, 69]
    assert up.key_sharps == 3  # G major becomes A major
    assert up.transposed(-2) == score
    assert replace(score, key_sharps=None).transposed(1).key_sharps is None


def test_transposing_out_of_midi_is_refused() -> None:
    with pytest.raises(InvalidScoreError, match="0 to 127"):
        Score((Note(0, 480, 120),), 480).transposed(8)


def test_length_in_seconds_follows_the_tempo() -> None:
    assert Score((), 1920, tempo_bpm=60).duration_seconds == pytest.approx(4)
    assert Score((), 1920).voices == 0


def test_a_piece_within_a_length_loses_what_lies_past_it() -> None:
    score = Score((Note(0, 960, 60), Note(240, 240, 62), Note(480, 480, 64), Note(960, 480, 65)), 1920)
    assert score.within(1920) == score
    assert score.within(9999) == score
    cut = score.within(480)
    assert (cut.notes, cut.length_ticks) == ((Note(0, 480, 60), Note(240, 240, 62)), 480)
    assert score.within(481).notes[-1] == Note(480, 1, 64)


def test_a_last_note_that_rings_past_the_end_makes_a_piece_longer_where_there_is_room() -> None:
    score = Score((Note(0, 960, 60),), 480)
    assert (score.within(720).length_ticks, score.within(720).notes) == (720, (Note(0, 720, 60),))
    assert (score.within(9999).length_ticks, score.within(9999).notes) == (960, score.notes)
