from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.composition.plan import NoteStream
from music.composition.task import ChordSpan, Constraints, Controls, Length, Region, WritingTask
from music.errors import ContradictionError, UnsupportedTaskError
from music.score import Meter, Note, Score, ScoreAttributes
from music.tokenizers import EventsTokenizer
from music.tokenizers.event_plan import EventPlan
from music.tokenizers.event_vocabulary import BAR, END
from tests.unit.music.tokenizers.event_tasks import FLUTE, PIANO, TOKENIZERS, check_piece, follow, random_task

STEP = PIANO.step_ticks
BAR_TICKS = 1920
SEEDS = st.integers(0, 2**32 - 1)
EVERY = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["piano", "flute", "trio"])


def possible_plan(tokenizer: EventsTokenizer, seed: int) -> tuple[WritingTask, EventPlan]:
    """The plan of the first random task from this seed on that is no contradiction."""
    random = np.random.default_rng(seed)
    while True:
        task = random_task(random, tokenizer)
        try:
            return task, tokenizer.plan(task)
        except ContradictionError:
            continue


@pytest.mark.slow
@EVERY
@given(seed=SEEDS)
def test_any_task_is_written_as_it_was_asked(tokenizer: EventsTokenizer, seed: int) -> None:
    task, plan = possible_plan(tokenizer, seed)
    limits = np.random.default_rng(seed)
    run = follow(plan, tokenizer, seed, lambda: int(limits.integers(1, 40)))
    assert tokenizer.grammar.accepts(run.array)
    assert run.reason != "max_tokens"
    assert tuple(run.tokens[: len(plan.primer)]) == plan.primer
    assert all(count > len(plan.primer) for count in run.resampled_after)
    assert plan.is_observed or not run.resampled_after
    check_piece(task, tokenizer, plan.score(run.array))
    assert plan.note_steps(run.array) == max(len(run.tokens) - (END in run.tokens) - len(plan.primer), 1)


@pytest.mark.slow
@EVERY
@given(seed=SEEDS)
def test_tokens_do_not_depend_on_the_number_of_steps_told_at_once(tokenizer: EventsTokenizer, seed: int) -> None:
    _, plan = possible_plan(tokenizer, seed)
    short, long = follow(plan, tokenizer, seed, lambda: 1), follow(plan, tokenizer, seed, lambda: 1000)
    assert short.tokens == long.tokens
    assert short.reason == long.reason
    assert short.resampled_after == long.resampled_after


@pytest.mark.slow
@EVERY
@given(seed=SEEDS, part=st.floats(0, 1))
def test_a_cursor_that_is_given_many_tokens_at_once_stands_at_the_same_place(
    tokenizer: EventsTokenizer, seed: int, part: float
) -> None:
    _, plan = possible_plan(tokenizer, seed)
    if plan.guide is None:
        return
    tokens = follow(plan, tokenizer, seed, lambda: 16).array
    count = int(part * len(tokens))
    at_once, one_by_one = plan.guide.cursor(), plan.guide.cursor()
    at_once.advance(tokens[:count])
    for token in tokens[:count]:
        one_by_one.instructions(1)
        one_by_one.advance(np.array([token]))
    assert at_once.complete == one_by_one.complete
    first, second = at_once.instructions(200), one_by_one.instructions(200)
    assert first.forced.tolist() == second.forced.tolist()
    assert first.bias.tolist() == second.bias.tolist()
    assert [row.tolist() for row in first.extra] == [row.tolist() for row in second.extra]
    assert first.resample == second.resample


def check_stream(stream: NoteStream, tokens: list[int], sizes: Any) -> list[Note]:
    """Feed the tokens in parts, check watermark and sounding notes, and return all notes."""
    notes: list[Note] = []
    states = []
    while tokens:
        size = int(sizes.integers(1, 9))
        notes += stream.feed(tokens[:size])
        tokens = tokens[size:]
        assert all(note.end <= stream.watermark_ticks for note in notes)
        states.append((stream.watermark_ticks, list(stream.sounding), len(notes)))
    notes += stream.finish()
    for watermark, sounding, count in states:
        begun = {(note.onset, note.voice, note.pitch) for note in sounding}
        for note in notes[count:]:
            assert note.end >= watermark  # it may be cut there
            assert note.onset >= watermark or (note.onset, note.voice, note.pitch) in begun
        assert all(note.onset <= watermark <= note.end for note in sounding)
    watermarks = [watermark for watermark, _, _ in states]
    assert watermarks == sorted(watermarks)
    ends = [note.end for note in notes]
    assert ends == sorted(ends)
    return notes


@pytest.mark.slow
@EVERY
@given(seed=SEEDS)
def test_a_stream_has_the_notes_of_the_score(tokenizer: EventsTokenizer, seed: int) -> None:
    _, plan = possible_plan(tokenizer, seed)
    run = follow(plan, tokenizer, seed, lambda: 16)
    for tokens in (run.tokens, run.tokens[: len(run.tokens) // 2]):
        notes = check_stream(plan.stream(), tokens, np.random.default_rng(seed))
        assert sorted(notes) == sorted(plan.score(np.array(tokens)).notes)


def task(given: Score | None = None, **parts: Any) -> WritingTask:
    length = parts.pop("length", Length(given.length_ticks if given else 2 * BAR_TICKS))
    attributes = parts.pop("attributes", ScoreAttributes(Meter(4, 4), tempo_bpm=84.9))
    return WritingTask(attributes, length, given, **parts)


def words(tokens: Any) -> list[str]:
    return [PIANO.token_name(int(token)) for token in tokens]


def told(plan: EventPlan, *names: str) -> list[str]:
    """What the guide tells after these tokens, which follow the primer: forced tokens, or those that it allows."""
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    tokens = [*plan.primer, *(NAMES[name] for name in names)]
    state = PIANO.grammar.joint_start
    for token in tokens:
        cursor.advance(np.array([token]))
        state = PIANO.grammar.joint_successor(state, token)
    instructions = cursor.instructions(100)
    if instructions.forced[0] >= 0:
        return ["forced", *words(instructions.forced), *["resample"] * instructions.resample]
    rows = np.concatenate([plan.guide.biases, *(row[None] for row in instructions.extra)])
    legal = PIANO.grammar.joint_allowed(state) & (rows[instructions.bias[0]] > -1e20)
    return words(np.flatnonzero(legal))


NAMES = {PIANO.token_name(token): token for token in range(PIANO.vocabulary_size)}
HANDS = Score(
    (Note(0, 480, 60, 90, 0), Note(0, 960, 48, 50, 1), Note(960, 480, 64, 90, 0), Note(1920, 480, 65, 90, 0)), 3840
)


def test_a_new_piece_is_free_after_its_header() -> None:
    plan = PIANO.plan(task())
    assert words(plan.primer) == ["PROGRAM_0", "TEMPO_84.9", "METER_4/4", "DYNAMICS_KNOWN", "POSITION_0"]
    assert (plan.guide, plan.may_end, plan.stop_token, plan.stop_count) == (None, False, BAR, 2)
    assert plan.max_tokens == PIANO.token_count(2 * BAR_TICKS, ScoreAttributes())
    assert (plan.is_observed, plan.given_ticks) == (False, 0)


def test_a_scale_and_ranges_hold_for_any_number_of_steps() -> None:
    constraints = Constraints(frozenset({0}), ranges={0: (60, 70)})
    plan = PIANO.plan(task(constraints=constraints))
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    cursor.advance(np.array(plan.primer))
    assert (cursor.instructions(500).forced == -1).all()
    assert len(cursor.instructions(500).bias) == 500
    pitches = [name for name in told(plan, "POSITION_0") if name.startswith("PITCH")]
    assert pitches == ["PITCH_60_0", "PITCH_48_1", "PITCH_60_1", "PITCH_72_1"]


def test_a_piece_of_an_open_length_does_not_end_too_early() -> None:
    plan = PIANO.plan(task(length=Length(6 * BAR_TICKS, is_open=True, min_ticks=3 * BAR_TICKS)))
    assert plan.may_end
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    cursor.advance(np.array(plan.primer))
    assert len(cursor.instructions(500).forced) == 2, "after that, the piece may be in bar 3"
    note = ("POSITION_0", "PITCH_60_0", "DURATION_1", "VELOCITY_48")
    assert "END" not in told(plan, "BAR", *note)
    assert "END" not in told(plan, "BAR", "BAR", "POSITION_12")
    assert "END" in told(plan, "BAR", "BAR", *note)
    cursor.advance(np.array([BAR, BAR, BAR]))
    assert len(cursor.instructions(500).forced) == 500
    assert "END" in told(plan, "BAR", "BAR", "BAR", "POSITION_12")
    assert not cursor.complete
    cursor.advance(np.array([NAMES["END"]]))
    assert cursor.complete


def test_a_primer_is_the_encoding_without_its_end() -> None:
    given = Score(HANDS.notes, 2 * BAR_TICKS)
    plan = PIANO.plan(task(given, length=Length(4 * BAR_TICKS)))
    assert plan.primer == (*PIANO.encode(given).tokens[:-1].tolist(), BAR)
    assert plan.guide is None, "whole bars follow, and nothing binds them"
    assert plan.given_ticks == 2 * BAR_TICKS
    assert not plan.is_observed


def test_a_primer_that_ends_within_a_bar_is_written_on_in_it() -> None:
    given = Score(HANDS.notes, 2400)
    plan = PIANO.plan(task(given, length=Length(2 * BAR_TICKS)))
    encoded = PIANO.encode(given).tokens.tolist()
    assert words(encoded[-2:]) == ["POSITION_4", "END"]
    assert plan.primer == tuple(encoded[:-2])
    assert told(plan) == ["BAR", *(f"POSITION_{position}" for position in range(4, 16))]
    tokens = [*plan.primer, *(NAMES[name] for name in ("POSITION_4", "PITCH_70_0", "TIE", "DURATION_4")), 0]
    tokens[-1] = NAMES["VELOCITY_48"]
    for rest in ([], [BAR]):
        score = plan.score(np.array([*tokens, *rest]))
        assert score.notes == (*HANDS.notes, Note(2400, 960, 70, 48))
        assert score.length_ticks == 2 * BAR_TICKS


def test_a_given_note_may_last_beyond_the_primer() -> None:
    pedal = Note(0, 3000, 50, 33, 1)
    plan = PIANO.plan(task(Score((pedal,), BAR_TICKS), length=Length(2 * BAR_TICKS)))
    assert plan.score(np.array([*plan.primer, BAR])).notes == (pedal,)


def test_the_right_hand_is_written_around_the_left() -> None:
    plan = PIANO.plan(task(HANDS, regions=(Region(0, BAR_TICKS, frozenset({0})),)))
    assert words(plan.primer[5:]) == ["POSITION_0"], "the left hand begins there"
    assert plan.is_observed
    right = [f"PITCH_{pitch}_0" for pitch in range(48, 73)]
    assert told(plan) == [*right, "PITCH_48_1"]
    left = ["TIE", "DURATION_4", "VELOCITY_48"]
    assert told(plan, "PITCH_48_1") == ["forced", *left, "resample"]
    assert told(plan, "PITCH_70_0") == ["TIE", *(f"DURATION_{steps}" for steps in range(1, 5))]
    assert told(plan, "PITCH_70_0", "DURATION_1", "VELOCITY_48") == [*right[-2:], "PITCH_48_1"]
    higher = ("PITCH_72_0", "DURATION_1", "VELOCITY_48")
    assert told(plan, *higher) == ["forced", "PITCH_48_1", *left, "resample"]
    positions = [f"POSITION_{position}" for position in range(1, 16)]
    assert told(plan, "PITCH_48_1", *left) == ["BAR", *positions]
    given_bar = ["POSITION_0", "PITCH_65_0", "DURATION_4", "VELOCITY_80"]
    assert told(plan, "PITCH_48_1", *left, "BAR") == ["forced", *given_bar]
    tokens = [NAMES[name] for name in (*higher, "PITCH_48_1", *left, "BAR", *given_bar)]
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    cursor.advance(np.array([*plan.primer, *tokens[:-1]]))
    assert not cursor.complete
    cursor.advance(np.array(tokens[-1:]))
    assert cursor.complete
    score = plan.score(np.array([*plan.primer, *tokens]))
    assert score.notes == (Note(0, 120, 72, 48, 0), HANDS.notes[1], HANDS.notes[3])
    assert score.length_ticks == 3840


def test_the_left_hand_is_written_around_the_right() -> None:
    plan = PIANO.plan(task(HANDS, regions=(Region(0, 3840, frozenset({1})),)))
    assert words(plan.primer[5:]) == ["POSITION_0", "PITCH_60_0", "DURATION_4", "VELOCITY_80"]
    left = [f"PITCH_{pitch}_1" for pitch in range(48, 73)]
    assert told(plan) == [*(f"POSITION_{position}" for position in range(1, 9)), *left]
    note = ("PITCH_64_0", "DURATION_4", "VELOCITY_80")
    assert told(plan, "POSITION_8") == ["forced", *note, "resample"]
    assert told(plan, "POSITION_8", *note) == ["BAR", *(f"POSITION_{p}" for p in range(9, 16)), *left]
    assert told(plan, "POSITION_7") == left


def test_given_bars_between_written_ones_are_forced_and_observed() -> None:
    notes = (Note(0, 480, 60), Note(BAR_TICKS, 480, 62, 80, 1), Note(3 * BAR_TICKS, 480, 64))
    regions = (Region(0, BAR_TICKS), Region(2 * BAR_TICKS, 4 * BAR_TICKS))
    plan = PIANO.plan(task(Score(notes, 4 * BAR_TICKS), regions=regions))
    given_bar = ["POSITION_0", "PITCH_62_1", "DURATION_4", "VELOCITY_80", "BAR"]
    assert told(plan, "BAR") == ["forced", *given_bar, "resample"]
    assert plan.is_observed
    rewritten = PIANO.plan(task(Score(notes, 4 * BAR_TICKS), regions=(Region(2 * BAR_TICKS, 4 * BAR_TICKS),)))
    assert not rewritten.is_observed
    assert words(rewritten.primer[-5:]) == given_bar


def test_nothing_is_written_after_the_end_of_a_given_piece() -> None:
    given = Score((Note(0, 480, 60),), BAR_TICKS + 4 * STEP)
    plan = PIANO.plan(task(given, regions=(Region(480, 4 * BAR_TICKS),)))
    assert told(plan, "BAR") == ["BAR", "POSITION_0", "POSITION_1", "POSITION_2", "POSITION_3"]


def test_given_notes_keep_their_room_in_the_bar() -> None:
    chords = [Note(step * STEP, STEP, pitch, 64, 0) for step in (8, 12) for pitch in range(60, 68)]
    plan = PIANO.plan(task(Score(tuple(chords), BAR_TICKS), regions=(Region(0, BAR_TICKS, frozenset({1})),)))
    # 64 tokens less the header, the BAR, and the given 2 + 16 * 3 leave 9: two notes at different positions.
    note = ("PITCH_48_1", "DURATION_1", "VELOCITY_48")
    assert "TIE" in told(plan, "POSITION_0", "PITCH_48_1")
    assert "PITCH_49_1" in told(plan, "POSITION_0", *note)
    assert told(plan, "POSITION_0", *note, "POSITION_1", *note)[:3] == ["forced", "POSITION_8", "PITCH_60_0"]
    assert "TIE" not in told(plan, "POSITION_0", *note, "POSITION_1", "PITCH_48_1", "TIE")


def test_a_chord_ends_the_notes_that_are_not_in_it() -> None:
    chords = (ChordSpan(0, 960, frozenset({0, 4, 7})), ChordSpan(960, 1920, frozenset({0, 5, 9})))
    plan = PIANO.plan(task(constraints=Constraints(chords=chords)))
    at = told(plan, "POSITION_6")
    assert [name for name in at if name.endswith("_0")] == [
        f"PITCH_{pitch}_0" for pitch in range(48, 73) if pitch % 12 in {0, 4, 7}
    ]
    assert told(plan, "POSITION_6", "PITCH_52_0") == ["DURATION_1", "DURATION_2"]
    assert told(plan, "POSITION_3", "PITCH_52_0") == ["TIE", *(f"DURATION_{steps}" for steps in range(1, 5))]
    assert told(plan, "POSITION_3", "PITCH_52_0", "TIE") == ["forced", "DURATION_1"]
    assert "TIE" in told(plan, "POSITION_6", "PITCH_60_0")


def test_the_bass_of_a_chord_is_its_lowest_note() -> None:
    chords = (ChordSpan(0, 1920, frozenset({5, 9, 0}), bass=9),)
    plan = PIANO.plan(task(constraints=Constraints(chords=chords)))
    rest = ("DURATION_1", "VELOCITY_48")

    def left(*names: str) -> list[str]:
        return [name for name in told(plan, *names) if name.endswith("_1")]

    assert left("POSITION_0") == ["PITCH_57_1", "PITCH_69_1"]
    assert left("POSITION_0", "PITCH_69_1", *rest, "POSITION_1") == ["PITCH_57_1", "PITCH_69_1", "PITCH_72_1"]
    later = left("POSITION_0", "PITCH_57_1", *rest, "POSITION_1")
    assert later == [f"PITCH_{pitch}_1" for pitch in (57, 60, 65, 69, 72)]
    higher = ("POSITION_1", "PITCH_69_1", *rest, "POSITION_2")
    assert left("POSITION_0", "PITCH_57_1", *rest, *higher) == later, "the lowest bass counts, not the last"
    assert left("BAR", "POSITION_0") == [f"PITCH_{pitch}_1" for pitch in range(48, 73)], "the chord is over"


@pytest.mark.parametrize("density", [0.3, 4.0])
def test_density_multiplies_the_odds_that_a_note_begins(density: float) -> None:
    plan = PIANO.plan(task(controls=Controls(density)))
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    cursor.advance(np.array(plan.primer))
    for token in ("POSITION_3", "PITCH_60_0", "DURATION_1", "VELOCITY_48"):
        cursor.advance(np.array([NAMES[token]]))
    (bias,) = cursor.instructions(100).extra

    def distribution(onset: float) -> NDArray[np.float64]:
        """Of the next position, 4 to 15, or the bar line, if a note begins at each step with this probability."""
        return np.array([(1 - onset) ** skipped * onset for skipped in range(12)] + [(1 - onset) ** 12])

    tokens = [*(NAMES[f"POSITION_{position}"] for position in range(4, 16)), BAR]
    leaning = distribution(0.5) * np.exp(bias[tokens])
    odds = density * 0.5 / 0.5
    np.testing.assert_allclose(leaning / leaning.sum(), distribution(odds / (1 + odds)), rtol=1e-5)
    pitch = NAMES["PITCH_61_0"]
    assert bias[pitch] == pytest.approx(np.log(density)), "a note begins, or none does"


def test_density_leaves_given_notes_alone() -> None:
    left = PIANO.plan(task(HANDS, regions=(Region(0, 3840, frozenset({1})),), controls=Controls(4.0)))
    right = PIANO.plan(task(HANDS, regions=(Region(0, 3840, frozenset({0})),), controls=Controls(4.0)))
    rows: list[NDArray[np.float32]] = []
    for plan in (left, right):
        assert plan.guide is not None
        cursor = plan.guide.cursor()
        cursor.advance(np.array(plan.primer))
        rows += cursor.instructions(100).extra
    # The left hand may begin at positions 1 to 7; at 8 the given note begins if it does not.
    skipped = np.arange(8)
    without_lean = 0.5 ** np.minimum(skipped + 1, 7)
    odds = 4.0
    rest, onset = 1 / (1 + odds), odds / (1 + odds)
    expected = np.where(skipped < 7, rest**skipped * onset, rest**7)
    leaning = without_lean * np.exp(rows[0][[NAMES[f"POSITION_{position}"] for position in range(1, 9)]])
    np.testing.assert_allclose(leaning / leaning.sum(), expected, rtol=1e-5)
    assert rows[1][NAMES["PITCH_60_0"]] == pytest.approx(np.log(4.0)), "a note begins before the given one"
    assert rows[1][NAMES["PITCH_48_1"]] == 0


def test_voice_densities_lean_their_pitches_only() -> None:
    plan = PIANO.plan(task(controls=Controls(voice_densities={1: 3.0})))
    assert plan.guide is not None
    row = plan.guide.biases[plan.guide.cursor().instructions(1).bias[0]]
    assert not row.any(), "the header is forced"
    cursor = plan.guide.cursor()
    cursor.advance(np.array(plan.primer))
    row = plan.guide.biases[cursor.instructions(1).bias[0]]
    left = np.array([name.startswith("PITCH") and name.endswith("_1") for name in NAMES])
    np.testing.assert_allclose(row[left], np.log(3.0), rtol=1e-6)
    assert not row[~left].any()


def test_copies_of_a_cursor_move_on_their_own() -> None:
    plan = PIANO.plan(task(HANDS, regions=(Region(0, 3840, frozenset({1})),)))
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    cursor.advance(np.array(plan.primer))
    copy = cursor.copy()
    copy.advance(np.array([NAMES["POSITION_8"]]))
    assert copy.instructions(9).forced[0] == NAMES["PITCH_64_0"]
    assert cursor.instructions(9).forced[0] == -1


def test_capabilities_depend_on_the_number_of_voices() -> None:
    assert PIANO.writing.rewrite_voices
    assert not FLUTE.writing.rewrite_voices
    with pytest.raises(UnsupportedTaskError, match="tokenizer events cannot"):
        FLUTE.plan(task(controls=Controls(voice_densities={0: 2.0})))
    for tokenizer in TOKENIZERS:
        assert tokenizer.writing.rewrite_ticks
        assert not tokenizer.writing.no_rests


def test_changed_notes_are_counted_and_come_back_as_they_were() -> None:
    notes = (Note(0, 480, 100, 64, 0), Note(10, 480, 60, 64, 0), Note(960, 100, 61, 64, 0), Note(1915, 5, 62, 64, 0))
    plan = PIANO.plan(task(Score(notes, BAR_TICKS), length=Length(2 * BAR_TICKS)))
    assert plan.changed_notes == {"out_of_range": 1, "off_grid": 2, "rounded_duration": 1}
    assert plan.score(np.array([*plan.primer, BAR])).notes == plan.kept == notes


@pytest.mark.parametrize(
    ("asked", "error", "field"),
    [
        (task(HANDS), ContradictionError, "length"),
        (task(HANDS, regions=(Region(0, 480), Region(10, 20))), ContradictionError, "rewrite[1]"),
        (task(HANDS, regions=(Region(3840, 3841),)), ContradictionError, "rewrite[0]"),
        (task(HANDS, regions=(Region(0, 480, frozenset({2})),)), ContradictionError, "rewrite[0]"),
        (
            task(HANDS, regions=(Region(0, 480),), constraints=Constraints(frozenset({0}))),
            ContradictionError,
            "constraints.scale",
        ),
        (task(constraints=Constraints(no_rests=True)), UnsupportedTaskError, "constraints.no_rests"),
        (task(constraints=Constraints(no_parallels=True)), UnsupportedTaskError, "constraints.no_parallels"),
        (task(constraints=Constraints(natural_ending=True)), UnsupportedTaskError, "constraints.natural_ending"),
        (task(constraints=Constraints(ranges={0: (90, 95)})), ContradictionError, "constraints.ranges"),
    ],
)
def test_impossible_tasks_are_refused(asked: WritingTask, error: type[Exception], field: str) -> None:
    with pytest.raises(error) as caught:
        PIANO.plan(asked)
    assert caught.value.field == field  # type: ignore[attr-defined]
