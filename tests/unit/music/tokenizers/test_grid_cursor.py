from typing import Any

import numpy as np
import pytest

from music.composition.guide import SAMPLED, Cursor
from music.composition.task import ChordSpan, Constraints, Length, Region, WritingTask
from music.errors import NoTokenLeftError
from music.grammar import FORBIDDEN
from music.score import NOTE_ORDER, Note, Score, ScoreAttributes
from music.tokenizers import GridTokenizer
from music.tokenizers.grid_plan import GridPlan
from music.tokenizers.grid_vocabulary import FIRST_PITCH, HOLD, REST
from tests.unit.music.guided_writing import write
from tests.unit.music.tokenizers.grid_tasks import CHORALE, DUET, MELODY

BAR = 1920
ATTRIBUTES = ScoreAttributes()
C = ChordSpan(0, 960, frozenset({0, 4, 7}), name="C")
F = ChordSpan(960, BAR, frozenset({5, 9, 0}), name="F")


def plan_of(tokenizer: GridTokenizer, constraints: Constraints, length: int = BAR, **parts: Any) -> GridPlan:
    return tokenizer.plan(WritingTask(ATTRIBUTES, Length(length), constraints=constraints, **parts))


def cursor_after(plan: GridPlan, *tokens: int) -> Cursor:
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    cursor.advance(np.array(tokens))
    return cursor


def allowed(plan: GridPlan, cursor: Cursor) -> set[int]:
    """The next token's pitches as MIDI numbers, and `REST` and `HOLD`."""
    assert plan.guide is not None
    told = cursor.instructions(1)
    index, biases = int(told.bias[0]), plan.guide.biases
    row = biases[index] if index < len(biases) else told.extra[index - len(biases)]
    lowest = plan.tokenizer.lowest_pitch - FIRST_PITCH
    return {
        int(token) + (lowest if token >= FIRST_PITCH else 0)
        for token in np.flatnonzero(row > FORBIDDEN / 2)
        if token >= REST
    }


def token_of(tokenizer: GridTokenizer, pitch: int) -> int:
    return pitch - tokenizer.lowest_pitch + FIRST_PITCH


def test_static_rules_make_chunks_of_any_length() -> None:
    constraints = Constraints(pitch_classes=frozenset({0, 2, 4}), no_rests=True, ranges={0: (60, 70)})
    plan = plan_of(CHORALE, constraints)
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    assert len(cursor.instructions(1000).forced) == 64
    assert len(cursor.instructions(16).forced) == 16
    assert not cursor.instructions(16).extra


def test_chunks_end_before_a_chord_change_that_is_not_decided() -> None:
    plan = plan_of(CHORALE, Constraints(chords=(C, F)))
    assert plan.guide is not None
    assert len(plan.guide.cursor().instructions(100).forced) == 32
    tokens = write(CHORALE, plan, np.random.default_rng(0), limit=64)
    assert tokens.chunks == [32, 32]  # all four voices are decided at once


def test_a_note_is_held_into_a_chord_that_has_its_pitch() -> None:
    plan = plan_of(MELODY, Constraints(chords=(C, F)))
    for pitch, is_held in ((60, True), (64, False), (67, False), (72, True)):
        cursor = cursor_after(plan, token_of(MELODY, pitch), *[HOLD] * 7)
        assert (HOLD in allowed(plan, cursor)) == is_held
        assert {pitch % 12 for pitch in allowed(plan, cursor) if pitch > HOLD} == {0, 5, 9}
        assert REST in allowed(plan, cursor)


def test_a_tail_rests_where_its_note_cannot_be_held_even_without_rests() -> None:
    given = Score((Note(0, BAR, 60),), BAR)
    plan = plan_of(MELODY, Constraints(chords=(C, F), no_rests=True), given=given, regions=(Region(0, 480),))
    held = cursor_after(plan, token_of(MELODY, 60), *[HOLD] * 7)
    assert allowed(plan, held) == {HOLD}
    silent = cursor_after(plan, token_of(MELODY, 64), *[HOLD] * 7)
    assert allowed(plan, silent) == {REST}
    silent.advance(np.array([REST]))
    assert allowed(plan, silent) == {REST}


def test_parallel_fifths_and_octaves_are_forbidden() -> None:
    plan = plan_of(DUET, Constraints(no_parallels=True))
    fifth = [token_of(DUET, 60), token_of(DUET, 67)]  # voice 1 comes first
    up = cursor_after(plan, *fifth, token_of(DUET, 62))
    assert set(range(48, 80)) - allowed(plan, up) == {69}
    assert HOLD in allowed(plan, up)
    leap = cursor_after(plan, *fifth, token_of(DUET, 50))
    assert set(range(48, 80)) - allowed(plan, leap) == {57}
    contrary = cursor_after(plan, *fifth, token_of(DUET, 72))
    assert set(range(48, 80)) - allowed(plan, contrary) == {79}
    assert set(range(48, 80)) <= allowed(plan, cursor_after(plan, *fifth, HOLD))
    octave = cursor_after(plan, token_of(DUET, 60), token_of(DUET, 60), token_of(DUET, 62))
    assert set(range(48, 80)) - allowed(plan, octave) == {62, 74}


def test_parallels_with_a_given_note_that_comes_later_are_forbidden() -> None:
    given = Score((Note(0, 480, 67), Note(480, 480, 69)), 960)
    region = Region(0, 960, frozenset({1}))
    plan = plan_of(DUET, Constraints(no_parallels=True), 960, given=given, regions=(region,))
    cursor = cursor_after(plan, token_of(DUET, 60), token_of(DUET, 67), HOLD, HOLD)
    assert set(range(48, 80)) - allowed(plan, cursor) == {62, 74}


def test_a_region_does_not_end_on_a_parallel_with_what_follows() -> None:
    line = (Note(0, 480, 72), Note(480, 480, 74), Note(0, 480, 60, 80, 1), Note(480, 480, 67, 80, 1))
    given = Score(tuple(sorted(line, key=NOTE_ORDER)), 960)
    plan = plan_of(DUET, Constraints(no_parallels=True), 960, given=given, regions=(Region(0, 480, frozenset({1})),))
    # 72 to 74 above, x to 67 below: a fifth at the end, so x may not be a fifth below 72, which is 65, or 53.
    cursor = cursor_after(plan)
    assert {53, 65} <= set(range(48, 80)) - allowed(plan, cursor_after(plan, REST, token_of(DUET, 72)))
    assert set(range(48, 80)) <= allowed(plan, cursor)
    held = cursor_after(plan, token_of(DUET, 65), token_of(DUET, 72))
    assert HOLD not in allowed(plan, held)
    assert REST in allowed(plan, held)


def test_chunks_without_parallels_go_on_while_no_voice_is_at_risk() -> None:
    plan = plan_of(CHORALE, Constraints(no_parallels=True))
    third = [token_of(CHORALE, pitch) for pitch in (76, 49, 59, 62)]  # no fifth and no octave: E5 C#3 B3 D4
    assert len(cursor_after(plan, *third).instructions(16).forced) == 5
    risky = [token_of(CHORALE, pitch) for pitch in (76, 45, 59, 62)]  # E5 and A2 are a fifth
    assert len(cursor_after(plan, *risky).instructions(16).forced) == 1


def test_a_token_that_leaves_a_later_voice_no_choice_is_forbidden() -> None:
    """The upper voice has only D5 and D4 in the second chord, and the lower one would bring parallel octaves."""
    chords = (
        ChordSpan(0, 240, frozenset({0, 4, 7})),
        ChordSpan(240, 960, frozenset({2, 5, 9})),
    )
    constraints = Constraints(chords=chords, no_rests=True, no_parallels=True, ranges={0: (72, 74)})
    plan = plan_of(DUET, constraints, 960)
    cursor = cursor_after(plan, token_of(DUET, 60), token_of(DUET, 72))
    lower = {pitch for pitch in allowed(plan, cursor) if pitch > HOLD}
    assert lower == {pitch for pitch in range(48, 80) if pitch % 12 in (2, 5, 9)} - {62, 74}


def test_no_token_left_is_an_error_that_names_bar_and_voice() -> None:
    """One tone for the lower voice, which both its neighbours in time make a parallel."""
    given = Score((Note(0, 240, 67), Note(240, 720, 69)), 960)
    chord = ChordSpan(240, 960, frozenset({2}))
    plan = plan_of(
        DUET,
        Constraints(no_parallels=True, no_rests=True, chords=(chord,), ranges={1: (60, 64)}),
        960,
        given=given,
        regions=(Region(0, 960, frozenset({1})),),
    )
    cursor = cursor_after(plan, token_of(DUET, 60), token_of(DUET, 67))
    with pytest.raises(NoTokenLeftError, match="bar 1 leaves voice 1 no token") as error:
        cursor.instructions(16)
    assert error.value.field == "constraints.no_parallels"


def test_particles_are_resampled_after_the_last_given_token_before_a_written_one() -> None:
    given = Score((Note(0, 960, 72), Note(960, 960, 74)), BAR)
    harmonised = plan_of(CHORALE, Constraints(), given=given, regions=(Region(0, BAR, frozenset({1, 2, 3})),))
    written = write(CHORALE, harmonised, np.random.default_rng(0), limit=64)
    assert written.resampled == [4 * step + 1 for step in range(1, 16)]  # the first one is the primer
    infilled = plan_of(CHORALE, Constraints(), given=given, regions=(Region(480, 960), Region(1440, 1560)))
    forced = write(CHORALE, infilled, np.random.default_rng(0), limit=64)
    gaps = [index for index in range(1, 64) if forced.forced[index - 1] and not forced.forced[index]]
    assert forced.resampled == gaps[1:]
    continued = plan_of(CHORALE, Constraints(), 2 * BAR, given=given)
    assert write(CHORALE, continued, np.random.default_rng(0), limit=64).resampled == []


def test_without_resampling_instructions_go_past_given_tokens() -> None:
    given = Score((Note(0, 960, 72), Note(960, 960, 74)), BAR)
    harmonised = plan_of(CHORALE, Constraints(), given=given, regions=(Region(0, BAR, frozenset({1, 2, 3})),))
    assert harmonised.guide is not None
    cursor = harmonised.guide.cursor()
    assert len(cursor.instructions(64).forced) == 5  # the first token is the primer
    cursor.resampling = False
    for each in (cursor, cursor.copy()):
        told = each.instructions(64)
        assert (len(told.forced), told.resample) == (64, False)


def test_after_the_end_of_the_piece_steps_are_free() -> None:
    plan = plan_of(MELODY, Constraints(no_rests=True), 480)
    cursor = cursor_after(plan, *[20, HOLD, HOLD, HOLD])
    assert cursor.complete
    told = cursor.instructions(3)
    assert told.forced.tolist() == [SAMPLED] * 3
    assert told.bias.tolist() == [0] * 3


def test_a_copy_moves_on_its_own() -> None:
    plan = plan_of(MELODY, Constraints(chords=(C, F)))
    one = cursor_after(plan, token_of(MELODY, 60), *[HOLD] * 6)
    other = one.copy()
    one.advance(np.array([HOLD]))
    other.advance(np.array([token_of(MELODY, 64)]))
    assert HOLD in allowed(plan, one)
    assert HOLD not in allowed(plan, other)


def test_a_guess_holds_as_long_as_the_voices_that_matter_hold_their_notes() -> None:
    plan = plan_of(CHORALE, Constraints(no_parallels=True))
    soprano, bass, tenor = (token_of(CHORALE, pitch) for pitch in (76, 45, 59))  # E5 and A2 are a fifth; voices S B T A
    before = [soprano, bass, tenor, token_of(CHORALE, 62)]
    cursor = cursor_after(plan, *before)
    cursor.guesses = True
    told = cursor.instructions(16)
    assert (len(told.forced), told.guessed, len(told.extra)) == (5, 4, 0)
    assert cursor.copy().advance(np.array([HOLD, bass + 2, tenor, HOLD, HOLD])) == 5, "only S and B could be parallel"
    assert cursor.copy().advance(np.array([soprano + 2, bass + 2, tenor, HOLD, HOLD])) == 1
    assert cursor.advance(np.array([soprano + 2, HOLD, HOLD, HOLD, HOLD])) == 1
    told = cursor.instructions(16)
    assert told.forced.size > 1
    assert told.extra[0][bass + 2] == np.float32(FORBIDDEN)
    assert cursor.advance(np.array([HOLD, HOLD])) == 2
