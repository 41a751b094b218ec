from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from music.composition.task import ChordSpan, Constraints, Controls, Length, Region, WritingTask
from music.grammar import FORBIDDEN
from music.score import Note, Score, ScoreAttributes
from music.tokenizers import GridTokenizer
from music.tokenizers.grid_given import GivenNotes
from music.tokenizers.grid_rules import ALWAYS, DEPENDS, NEVER, GridRules, bias_rows, grid_rules, harmonies
from music.tokenizers.grid_vocabulary import END, FIRST_PITCH, HOLD, REST
from tests.unit.music.tokenizers.grid_tasks import CHORALE, DUET, MELODY

C = ChordSpan(240, 480, frozenset({0, 4, 7}), 4, "C/E")
F = ChordSpan(480, 720, frozenset({5, 9, 0}), None, "F")
GIVEN = Score((Note(0, 240, 60), Note(240, 480, 62)), 960)


def rules_of(tokenizer: GridTokenizer, task: WritingTask) -> tuple[GridRules, NDArray[np.bool_]]:
    """The rules of a task, and which tokens are sampled."""
    steps = task.length.max_ticks // tokenizer.step_ticks
    given = GivenNotes(tokenizer, task).grid(task.regions, steps)
    harmony, pitches = harmonies(tokenizer, task, steps)
    return grid_rules(tokenizer, task, given, harmony, pitches, None), given.sampled


def melody(length: int, given: Score | None = None, *regions: Region, **constraints: Any) -> WritingTask:
    return WritingTask(ScoreAttributes(), Length(length), given, regions, Constraints(**constraints))


def test_a_harmony_is_what_chord_scale_and_range_leave_to_a_voice() -> None:
    constraints = Constraints(frozenset({0, 4, 5, 9}), chords=(C, F), ranges={0: (60, 65)})
    task = WritingTask(ScoreAttributes(), Length(960), constraints=constraints)
    harmony, pitches = harmonies(DUET, task, 4)
    assert harmony.tolist() == [0, 1, 2, 0]
    sets = [[[48 + int(pitch) for pitch in np.flatnonzero(line)] for line in kind] for kind in pitches]
    upper = {0: [60, 64, 65], 1: [60, 64], 2: [60, 65]}
    assert [sets[kind][0] for kind in range(3)] == [upper[kind] for kind in range(3)]
    assert sets[1][1] == [52, 64, 76]  # the bass of C/E
    assert sets[2][1] == [48, 53, 57, 60, 65, 69, 72, 77]


def test_a_model_with_one_voice_has_no_bass() -> None:
    harmony, pitches = harmonies(MELODY, melody(960, chords=(C,)), 8)
    assert harmony.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert {(55 + int(pitch)) % 12 for pitch in np.flatnonzero(pitches[1, 0])} == {0, 4, 7}


@pytest.mark.parametrize(
    ("chords", "hold"),
    [
        ((), [ALWAYS] * 8),
        ((C, F), [ALWAYS, ALWAYS, DEPENDS, ALWAYS, DEPENDS, ALWAYS, ALWAYS, ALWAYS]),
        (
            (ChordSpan(0, 480, frozenset({0})), ChordSpan(480, 960, frozenset({1}))),
            [ALWAYS] * 4 + [NEVER] + [ALWAYS] * 3,
        ),
        ((ChordSpan(0, 480, frozenset({0})), ChordSpan(480, 960, frozenset({0, 1}))), [ALWAYS] * 8),
    ],
)
def test_notes_are_held_into_a_new_chord_where_it_has_their_pitch(
    chords: tuple[ChordSpan, ...], hold: list[int]
) -> None:
    rules, _ = rules_of(MELODY, melody(960, chords=chords))
    assert rules.hold[:, 0].tolist() == hold


def test_given_notes_do_not_become_longer() -> None:
    rules, sampled = rules_of(MELODY, melody(960, GIVEN, Region(240, 480)))
    assert sampled[:, 0].tolist() == [False, False] + [True] * 4 + [False, False]
    assert rules.hold[2, 0] == NEVER
    assert rules.onset[:, 0].tolist()[2:6] == [True, True, False, False]


def test_no_rests_leave_a_tail_its_rest_where_the_note_cannot_be_held() -> None:
    rules, _ = rules_of(MELODY, melody(960, GIVEN, Region(240, 480), no_rests=True))
    assert not rules.rest.any()
    assert rules.spare_rest[:, 0].tolist() == [False] * 4 + [True, True, False, False]
    assert rules.hold[4:6, 0].tolist() == [DEPENDS, DEPENDS]


def test_steps_without_rules_have_the_row_of_zeros() -> None:
    task = WritingTask(ScoreAttributes(), Length(480))
    rules, sampled = rules_of(CHORALE, task)
    rows, held, unheld = bias_rows(CHORALE, task, rules, sampled)
    assert rows.shape == (1, CHORALE.vocabulary_size)
    assert not rows.any()
    assert not held.any()
    assert not unheld.any()


def test_rows_say_what_each_step_forbids() -> None:
    task = WritingTask(
        ScoreAttributes(),
        Length(960, is_open=True, min_ticks=480),
        constraints=Constraints(chords=(F,), no_rests=True, ranges={0: (60, 72)}),
        controls=Controls(density=2.0),
    )
    rules, sampled = rules_of(MELODY, task)
    rows, held, unheld = bias_rows(MELODY, task, rules, sampled)

    def allowed(index: int) -> set[int]:
        return {int(token) for token in np.flatnonzero(rows[index] > FORBIDDEN / 2) if token}

    pitches = {FIRST_PITCH + pitch - 55 for pitch in range(60, 73)}
    f_major = {FIRST_PITCH + pitch - 55 for pitch in (60, 65, 69, 72)}
    assert allowed(held[0, 0]) == {HOLD, *pitches}
    assert allowed(held[4, 0]) == {HOLD, END, *f_major}
    assert allowed(unheld[4, 0]) == {END, *f_major}
    assert allowed(held[5, 0]) == {HOLD, END, *f_major}
    assert allowed(held[7, 0]) == {HOLD, END, *pitches}
    assert REST not in set().union(*(allowed(index) for index in held[:, 0]))
    np.testing.assert_allclose(rows[held[0, 0]][sorted(pitches)], np.log(2), 1e-6)
