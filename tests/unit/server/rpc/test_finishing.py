"""What is done to a piece after it is written, to single notes and to the whole."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from music.bar_lines import BarLines
from music.dynamics import VelocityShape
from music.score import Meter, MeterChange, Note, Score, TempoChange
from server.rpc.finishing import Finishing, tempo_at

SHAPE = VelocityShape(velocity=70, downbeat_accent=20, beat_accent=5)
NOTES = (Note(0, 480, 60), Note(480, 480, 62), Note(600, 120, 64), Note(1920, 960, 65, 80, 1))
SCORE = Score(NOTES, 3840, Meter(4, 4), key_sharps=1)


def test_nothing_is_changed_by_default() -> None:
    finishing = Finishing()

    assert finishing.score(SCORE) == SCORE
    assert finishing.notes(NOTES) == list(NOTES)


def test_given_notes_keep_their_velocity() -> None:
    finishing = Finishing(shape=SHAPE, kept=frozenset(NOTES[:1]))

    assert [note.velocity for note in finishing.score(SCORE).notes] == [80, 75, 70, 90]


def test_a_transposed_piece_has_another_key() -> None:
    finished = Finishing(transposition=2).score(SCORE)

    assert [note.pitch for note in finished.notes] == [62, 64, 66, 67]
    assert finished.key_sharps == SCORE.transposed(2).key_sharps == 3


def test_the_given_part_is_left_out() -> None:
    finishing = Finishing(
        bar_lines=BarLines(Meter(4, 4), 480),
        tempo_bpm=60.0,
        tempo_changes=(TempoChange(480, 70.0), TempoChange(600, 80.0), TempoChange(2000, 90.0)),
        omitted_ticks=600,
    )
    finished = finishing.score(SCORE)

    assert [note.onset for note in finished.notes] == [0, 1320]
    assert (finished.length_ticks, finished.pickup_ticks) == (3240, 1800)
    assert (finished.tempo_bpm, finished.tempo_changes) == (80.0, (TempoChange(1400, 90.0),))
    assert (finishing.ticks(500), finishing.ticks(1000)) == (0, 400)
    assert replace(finishing, omitted_ticks=480).returned_bar_lines.pickup_ticks == 0
    assert replace(finishing, bar_lines=BarLines(None, 480)).returned_bar_lines == BarLines(None)
    several = replace(finishing, bar_lines=BarLines(Meter(2, 4), 0, (MeterChange(1000, Meter(3, 4)),)))
    assert several.score(SCORE).meter_changes == (MeterChange(400, Meter(3, 4)),)
    assert (several.score(SCORE).meter, several.score(SCORE).pickup_ticks) == (Meter(2, 4), 360)


def test_tempo_changes_after_the_end_are_left_out() -> None:
    changes = (TempoChange(100, 50.0), TempoChange(3840, 60.0))

    assert Finishing(tempo_changes=changes).score(SCORE).tempo_changes == changes[:1]
    assert tempo_at(99, 40.0, changes) == 40.0
    assert tempo_at(100, 40.0, changes) == 50.0


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 900), st.integers(50, 70)), max_size=20),
    st.integers(-12, 12),
    st.integers(0, 2000),
    st.booleans(),
)
def test_notes_one_by_one_are_those_of_the_piece(
    made: list[tuple[int, int, int]], transposition: int, omitted: int, shaped: bool
) -> None:
    notes = sorted(Note(*each) for each in made)
    finishing = Finishing(transposition=transposition, omitted_ticks=omitted, shape=SHAPE if shaped else None)
    finished = finishing.score(Score(tuple(notes), 4000))

    assert [note for each in notes for note in finishing.notes([each])] == list(finished.notes)
    assert len(finished.notes) == sum(note.onset >= omitted for note in notes)
