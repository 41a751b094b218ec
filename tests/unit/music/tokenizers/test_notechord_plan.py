from collections import Counter

import numpy as np
import pytest

from music.composition.task import Constraints, Length, Region, WritingTask
from music.errors import ContradictionError, UnsupportedTaskError
from music.score import Meter, Note, Score, ScoreAttributes
from music.tokenizers import NoteChordTokenizer
from tests.unit.music.guided_writing import write

TOKENIZER = NoteChordTokenizer(names=sorted(["C4", "C4.E4", "G4"]))
GIVEN = Score((Note(0, 300, 60, 99), Note(0, 300, 64), Note(300, 200, 66), Note(500, 100, 67, 50, 3)), 610, Meter(3, 4))
ATTRIBUTES = ScoreAttributes(Meter(3, 4), 0, 77.0, 2, 5)


def test_a_new_piece_is_as_long_as_its_length() -> None:
    plan = TOKENIZER.plan(WritingTask(ATTRIBUTES, Length(1000)))
    assert (plan.guide, plan.primer, plan.max_tokens, plan.may_end, plan.given_ticks) == (None, (), 5, False, 0)
    score = plan.score(np.array([2, 3, 4, 2, 2]))
    assert score == TOKENIZER.decode([2, 3, 4, 2, 2], ATTRIBUTES)


@pytest.mark.parametrize("seed", range(20))
def test_a_primer_comes_back_and_is_continued(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length = Length(1920, is_open=seed % 2 == 0, min_ticks=1200)
    plan = TOKENIZER.plan(WritingTask(ATTRIBUTES, length, GIVEN))
    assert plan.changed_notes == {"unknown_sonority": 1, "retimed": 3}
    assert plan.given_ticks == 720
    assert plan.kept == GIVEN.notes
    assert [TOKENIZER.token_name(token) for token in plan.primer] == ["C4.E4", "G4"]
    written = write(TOKENIZER, plan, rng, limit=3)
    score = plan.score(written.tokens)
    assert not Counter(GIVEN.notes) - Counter(score.notes)
    later = [note for note in score.notes if note not in GIVEN.notes]
    assert all(note.onset >= 720 for note in later)
    assert {note.onset for note in later} == set(range(720, score.length_ticks, 240))
    assert 1200 <= score.length_ticks <= 1920
    assert length.is_open or score.length_ticks == 1920
    assert (score.tempo_bpm, score.program, score.meter) == (77.0, 5, Meter(3, 4))
    assert plan.note_steps(written.tokens) == (score.length_ticks - 720) // 240

    stream, notes = plan.stream(), []
    for token in written.tokens.tolist():
        notes += stream.feed([token])
        assert all(note.end <= stream.watermark_ticks for note in notes)
        assert not stream.sounding
    notes += stream.finish()
    assert Counter(notes) == Counter(score.notes)


def test_a_stream_that_stops_within_the_primer_has_all_given_notes() -> None:
    plan = TOKENIZER.plan(WritingTask(ATTRIBUTES, Length(1920), GIVEN))
    stream = plan.stream()
    assert stream.feed(plan.primer[:1]) == []
    assert stream.watermark_ticks == 0
    assert Counter(stream.finish()) == Counter(GIVEN.notes) == Counter(plan.score(np.array(plan.primer[:1])).notes)


def test_the_end_may_not_come_before_the_least_length() -> None:
    plan = TOKENIZER.plan(WritingTask(ATTRIBUTES, Length(1920, is_open=True, min_ticks=1200), GIVEN))
    assert plan.guide is not None
    told = plan.guide.cursor().instructions(6)
    assert told.forced.tolist() == [*plan.primer, -1, -1, -1, -1]
    assert told.bias.tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (WritingTask(ATTRIBUTES, Length(1920), GIVEN, (Region(0, 480),)), "rewrite"),
        (WritingTask(ATTRIBUTES, Length(1920), constraints=Constraints(no_rests=True)), "constraints.no_rests"),
    ],
)
def test_other_tasks_are_refused(task: WritingTask, field: str) -> None:
    with pytest.raises(UnsupportedTaskError) as error:
        TOKENIZER.plan(task)
    assert error.value.field == field


def test_a_length_without_room_is_refused() -> None:
    with pytest.raises(ContradictionError, match="nothing is left"):
        TOKENIZER.plan(WritingTask(ATTRIBUTES, Length(720), GIVEN))
