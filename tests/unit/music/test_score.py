from dataclasses import replace

import pytest
from music21 import meter as music21_meter

from music.errors import InvalidScoreError
from music.score import Meter, MeterChange, Note, Score, TempoChange


@pytest.mark.parametrize(("text", "ticks"), [("4/4", 1920), ("3/4", 1440), ("6/8", 1440), ("2/2", 1920), ("3/8", 720)])
def test_bar_length_of_a_meter(text: str, ticks: int) -> None:
    assert Meter.parse(text).bar_ticks == ticks
    assert str(Meter.parse(text)) == text


@pytest.mark.parametrize("text", ["6/8", "9/8", "12/8", "6/4", "12/16", "3/4", "5/8", "7/8", "4/4", "2/2"])
def test_music21_has_the_same_beats(text: str) -> None:
    assert Meter.parse(text).beat_ticks == 480 * music21_meter.TimeSignature(text).beatDuration.quarterLength


def test_a_bar_of_three_eighths_has_three_beats() -> None:
    assert Meter(3, 8).beat_ticks == 240  # music21 counts one in a bar


@pytest.mark.parametrize("text", ["", "4", "4/3", "0/4", "65/4", "4/4/4", "a/b", "-3/4"])
def test_invalid_meters_are_refused(text: str) -> None:
    with pytest.raises(InvalidScoreError):
        Meter.parse(text)


def test_transposing_moves_pitches_and_key_and_back_again() -> None:
    score = Score((Note(0, 480, 60), Note(480, 480, 67, voice=1)), 960, key_sharps=1)
    up = score.transposed(2)
    assert [note.pitch for note in up.notes] == [62, 69]
    assert up.key_sharps == 3  # G major becomes A major
    assert up.transposed(-2) == score
    assert replace(score, key_sharps=None).transposed(1).key_sharps is None


def test_transposing_outside_midi_pitches_is_refused() -> None:
    with pytest.raises(InvalidScoreError, match="0 to 127"):
        Score((Note(0, 480, 120),), 480).transposed(8)


def test_length_in_seconds_follows_the_tempo() -> None:
    assert Score((), 1920, tempo_bpm=60).duration_seconds == pytest.approx(4)
    assert Score((), 1920).voices == 0


MAPPED = Score(
    (Note(0, 1920, 60), Note(0, 480, 48, voice=1)),
    1920,
    tempo_bpm=60,
    tempo_changes=(TempoChange(480, 120.0), TempoChange(960, 30.0)),
    programs=(40, 0),
)


def test_length_in_seconds_follows_the_tempo_changes() -> None:
    assert MAPPED.duration_seconds == pytest.approx(1 + 0.5 + 4)
    assert replace(MAPPED, length_ticks=240).duration_seconds == pytest.approx(0.5)
    assert replace(MAPPED, length_ticks=720).duration_seconds == pytest.approx(1 + 0.25)


def test_tempo_changes_and_programs_are_kept() -> None:
    assert replace(MAPPED.transposed(2), notes=MAPPED.notes) == MAPPED
    cut = MAPPED.truncated(960)
    assert (cut.tempo_changes, cut.programs) == (MAPPED.tempo_changes[:1], (40, 0))
    assert MAPPED.truncated(961).tempo_changes == MAPPED.tempo_changes
    changing = replace(MAPPED, meter_changes=(MeterChange(480, Meter(3, 4)), MeterChange(960, Meter(2, 4))))
    assert changing.truncated(960).meter_changes == changing.meter_changes[:1]


def test_a_voice_without_its_own_program_has_that_of_the_score() -> None:
    assert [replace(MAPPED, program=7).program_of(voice) for voice in (0, 1, 2)] == [40, 0, 7]
    assert Score((), 1, program=7).program_of(0) == 7


def test_truncating_shortens_and_drops_notes() -> None:
    score = Score((Note(0, 960, 60), Note(240, 240, 62), Note(480, 480, 64), Note(960, 480, 65)), 1920)
    assert score.truncated(1920) == score
    assert score.truncated(9999) == score
    cut = score.truncated(480)
    assert (cut.notes, cut.length_ticks) == ((Note(0, 480, 60), Note(240, 240, 62)), 480)
    assert score.truncated(481).notes[-1] == Note(480, 1, 64)


def test_truncating_lengthens_a_piece_to_its_last_note() -> None:
    score = Score((Note(0, 960, 60),), 480)
    assert (score.truncated(720).length_ticks, score.truncated(720).notes) == (720, (Note(0, 720, 60),))
    assert (score.truncated(9999).length_ticks, score.truncated(9999).notes) == (960, score.notes)
