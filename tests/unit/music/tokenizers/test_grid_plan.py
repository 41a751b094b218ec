from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.composition.guide import SAMPLED
from music.composition.plan import WritingCapabilities
from music.composition.task import ChordSpan, Constraints, Controls, Length, Region, WritingTask
from music.errors import ContradictionError, NoTokenLeftError, UnsupportedMeterError, UnsupportedTaskError
from music.score import Meter, Note, Score, ScoreAttributes
from music.tokenizers import GridTokenizer
from music.tokenizers.grid_plan import GridPlan
from music.tokenizers.grid_vocabulary import END, FIRST_PITCH, HOLD, REST
from tests.unit.music.guided_writing import write
from tests.unit.music.tokenizers.grid_tasks import (
    CHORALE,
    DUET,
    MELODY,
    TOKENIZERS,
    check_parallels,
    check_piece,
    random_chords,
    random_regions,
    random_score,
    random_task,
)

ATTRIBUTES = ScoreAttributes()
TRIO = GridTokenizer(voices=3, lowest_pitch=60, highest_pitch=72, voice_order=(0, 2, 1))
BAR = 1920


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1))
def test_any_task_is_refused_by_name_or_done(seed: int) -> None:
    do_random_task(seed)


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1))
def test_no_parallels_are_written_in_narrow_ranges(seed: int) -> None:
    do_narrow_task(seed)


def do_narrow_task(seed: int) -> str:
    """Write a task without parallels for voices of an octave, where many tokens would make one."""
    rng = np.random.default_rng(seed)
    given = random_score(rng, TRIO, 24, frozenset((0, 2, 4, 5, 7, 9, 11)))
    chords = random_chords(rng, TRIO, 24, frozenset((0, 2, 4, 5, 7, 9, 11))) if rng.random() < 0.5 else ()
    constraints = Constraints(chords=chords, no_rests=bool(rng.random() < 0.5), no_parallels=True)
    regions = random_regions(rng, TRIO, given.length_ticks)
    length = -(-given.length_ticks // TRIO.step_ticks) * TRIO.step_ticks
    try:
        plan = TRIO.plan(WritingTask(ATTRIBUTES, Length(length), given, regions, constraints))
        written = write(TRIO, plan, rng, limit=int(rng.integers(1, 40)))
    except (ContradictionError, NoTokenLeftError) as error:
        return type(error).__name__
    check_parallels(TRIO, written.tokens, written.forced)
    return "written"


def do_random_task(seed: int) -> str:
    """Write a random task and check it; says what became of it."""
    rng = np.random.default_rng(seed)
    tokenizer = TOKENIZERS[rng.integers(len(TOKENIZERS))]
    task = random_task(rng, tokenizer)
    try:
        plan = tokenizer.plan(task)
    except ContradictionError as error:
        name = error.field.removeprefix("constraints.").replace("scale", "pitch_classes")
        assert name in ("length", "rewrite", *(f"rewrite[{index}]" for index in range(4))) or getattr(
            task.constraints, name
        )
        return f"refused: {error.field}"
    try:
        written = write(tokenizer, plan, rng, limit=int(rng.integers(1, 40)))
    except NoTokenLeftError as error:
        assert task.constraints.no_parallels
        return f"no token left: {error.field}"
    assert tuple(written.tokens[: len(plan.primer)].tolist()) == plan.primer
    assert written.forced[: len(plan.primer)].all() or plan.guide is None
    forced = written.forced if plan.guide is not None else np.arange(len(written.tokens)) < len(plan.primer)
    assert plan.is_observed == bool(forced[len(plan.primer) :].any())
    if not task.length.is_open:
        assert len(written.tokens) == plan.max_tokens
    count = len(written.tokens)
    check_stream(plan, written.tokens, rng)
    check_stream(plan, written.tokens[: int(rng.integers(1, count + 1))], rng)
    tokens = written.tokens[written.tokens != tokenizer.end_token]
    score = plan.score(written.tokens)
    assert not Counter(note for note in plan.kept if note.onset < score.length_ticks) - Counter(score.notes)
    check_piece(tokenizer, task, score, tokens, forced[: len(tokens)])
    return "written"


def check_stream(plan: GridPlan, tokens: NDArray[np.int64], rng: np.random.Generator) -> None:
    """The notes of a stream are those of the score, and what it says on the way is true."""
    score, stream = plan.score(tokens), plan.stream()
    notes: list[Note] = []
    seen: list[tuple[int, int, list[Note]]] = []
    place = 0
    while place < len(tokens):
        size = int(rng.integers(1, 30))
        new = stream.feed(tokens[place : place + size].tolist())
        assert [note.end for note in new] == sorted(note.end for note in new)
        notes, place = notes + new, place + size
        seen.append((stream.watermark_ticks, len(notes), list(stream.sounding)))
    notes += stream.finish()
    assert Counter(notes) == Counter(score.notes)
    assert [watermark for watermark, _, _ in seen] == sorted(watermark for watermark, _, _ in seen)
    for watermark, complete, sounding in seen:
        later = Counter(note._replace(duration=0) for note in notes[complete:])
        begun = Counter(note._replace(duration=0) for note in sounding)
        assert not begun - later
        assert all(note.end >= watermark for note in notes[complete:])
        assert all(note.onset >= watermark for note in (later - begun).elements())
        assert all(note.duration > 0 for note in sounding)


def line(*notes: tuple[int, int, int], voice: int = 0) -> tuple[Note, ...]:
    """Notes of a voice as (onset, duration, pitch) in sixteenths, with a velocity of their own."""
    return tuple(Note(onset * 120, duration * 120, pitch, 33, voice) for onset, duration, pitch in notes)


def melody_task(given: Score | None, *regions: Region, length: int | None = None, **constraints: Any) -> WritingTask:
    ticks = length if length is not None else given.length_ticks if given is not None else BAR
    return WritingTask(ATTRIBUTES, Length(ticks), given, regions, Constraints(**constraints))


def told(plan: GridPlan) -> list[int]:
    """The forced tokens of a plan."""
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    forced: list[int] = []
    while not cursor.complete:
        tokens = cursor.instructions(1).forced
        forced += tokens.tolist()
        cursor.advance(np.maximum(tokens, REST))
    return forced


def allowed(plan: GridPlan, tokens: list[int]) -> list[int]:
    """The tokens that the guide allows after these: MIDI pitches, and `REST` and `HOLD`."""
    assert plan.guide is not None
    cursor = plan.guide.cursor()
    cursor.advance(np.array(tokens))
    instructions = cursor.instructions(1)
    index = int(instructions.bias[0])
    biases = plan.guide.biases
    row = biases[index] if index < len(biases) else instructions.extra[index - len(biases)]
    lowest = plan.tokenizer.lowest_pitch - FIRST_PITCH
    return [
        int(token) + (lowest if token >= FIRST_PITCH else 0) for token in np.flatnonzero(row > -1e20) if token > END
    ]


def test_a_new_piece_needs_no_guide() -> None:
    plan = CHORALE.plan(WritingTask(ScoreAttributes(Meter(3, 4), 480), Length(2880)))
    assert plan.guide is None
    assert plan.primer == ()
    assert plan.position_index == CHORALE.positions.start(Meter(3, 4), 480)
    assert (plan.max_tokens, plan.may_end, plan.is_observed, plan.given_ticks) == (96, False, False, 0)


def test_a_new_piece_in_a_meter_without_positions_is_refused() -> None:
    with pytest.raises(UnsupportedMeterError, match="5/4"):
        MELODY.plan(WritingTask(ScoreAttributes(Meter(5, 4)), Length(BAR)))
    plan = MELODY.plan(WritingTask(ScoreAttributes(None, 600), Length(BAR)))
    assert plan.position_index == MELODY.positions.start(None, 120)


def test_a_primer_is_forced_with_its_rests_and_its_last_note_does_not_become_longer() -> None:
    given = Score(line((0, 2, 60), (4, 4, 64)), 1000, Meter(5, 4))
    plan = MELODY.plan(WritingTask(ScoreAttributes(Meter(5, 4)), Length(BAR), given))
    pitch = FIRST_PITCH - MELODY.lowest_pitch
    assert plan.primer == (60 + pitch, HOLD, REST, REST, 64 + pitch, HOLD, HOLD, HOLD, REST)
    assert (plan.given_ticks, plan.max_tokens, plan.is_observed) == (1080, 16, False)
    assert plan.position_index == MELODY.positions.start(None, 0)
    held = MELODY.plan(melody_task(replace(given, length_ticks=960), length=BAR))
    assert HOLD not in allowed(held, list(held.primer))
    assert HOLD in allowed(held, [*held.primer, 70 + pitch])
    tokens = np.array([*held.primer, *[REST] * 8])
    assert held.score(tokens).notes == given.notes
    assert held.note_steps(tokens) == 8
    assert held.note_steps(np.array([*held.primer, REST, END])) == 1


def test_a_region_is_sampled_and_what_stands_around_it_is_forced() -> None:
    given = Score(line((0, 4, 60), (4, 8, 62), (12, 4, 64)), BAR)
    plan = MELODY.plan(melody_task(given, Region(480, 720)))
    pitch = FIRST_PITCH - MELODY.lowest_pitch
    forced = told(plan)
    assert forced[:4] == [60 + pitch, HOLD, HOLD, HOLD]
    assert forced[4:12] == [SAMPLED] * 8  # two steps of the region, six in which the replaced note still sounded
    assert forced[12:] == [64 + pitch, HOLD, HOLD, HOLD]
    assert plan.is_observed
    in_region = allowed(plan, forced[:4])
    assert HOLD not in in_region
    assert {REST, 55, 84} <= set(in_region)
    after = [*forced[:4], 70 + pitch, HOLD]
    assert allowed(plan, after) == [REST, HOLD]
    score = plan.score(np.array([*after, HOLD, REST, REST, REST, REST, REST, *forced[12:]]))
    assert score.notes == (given.notes[0], Note(480, 360, 70), given.notes[2])


def test_the_tail_of_a_replaced_note_ends_at_the_next_given_note() -> None:
    given = Score((Note(0, 960, 60), Note(480, 120, 62)), 960)
    plan = MELODY.plan(melody_task(given, Region(0, 240)))
    assert [token == SAMPLED for token in told(plan)] == [True] * 4 + [False] * 4
    assert plan.changed_notes == {}


def test_a_note_that_began_before_a_region_stays() -> None:
    given = Score(line((0, 6, 60), (6, 2, 62)), 960)
    plan = MELODY.plan(melody_task(given, Region(480, 960)))
    assert [token == SAMPLED for token in told(plan)] == [False] * 6 + [True] * 2
    with pytest.raises(ContradictionError, match="rewrite: nothing is left to write"):
        MELODY.plan(melody_task(given, Region(480, 720)))


def test_a_single_step_of_one_voice() -> None:
    voices = tuple(note for voice in (0, 1) for note in line((0, 4, 72 - 12 * voice), (4, 4, 74), voice=voice))
    given = Score(tuple(sorted(voices, key=lambda note: (note.onset, note.voice))), 960)
    step = DUET.step_ticks
    region = Region(2 * step, 3 * step, frozenset({1}))
    plan = DUET.plan(melody_task(given, region))
    forced = told(plan)
    assert [index for index, token in enumerate(forced) if token == SAMPLED] == [4, 6]  # voice 1 comes first in a step


def test_rewriting_goes_on_after_the_end_of_the_given_piece() -> None:
    given = Score(line((0, 8, 60)), 960)
    plan = MELODY.plan(melody_task(given, Region(0, 120), length=1200))
    forced = told(plan)
    assert forced == [SAMPLED] * 10
    assert HOLD in allowed(plan, [*[10, HOLD, HOLD, HOLD, HOLD, HOLD, HOLD, HOLD]])
    assert 60 in allowed(plan, [*[10, HOLD, HOLD, HOLD, HOLD, HOLD, HOLD, HOLD]])
    assert allowed(plan, [10]) == [REST, HOLD]


def test_given_notes_that_the_grid_does_not_have_come_back_as_they_are() -> None:
    odd = (Note(70, 200, 60, 3), Note(480, 480, 30, 4), Note(500, 200, 62, 5, 3), Note(1350, 400, 65, 6))
    given = Score(odd, BAR)
    plan = MELODY.plan(melody_task(given, Region(960, 1200)))
    assert plan.changed_notes == {"off_grid": 2, "out_of_range": 1, "extra_voice": 1}
    assert not plan.given_ticks % 120
    tokens = told(plan)
    tokens[8:10] = [20, HOLD]
    score = plan.score(np.array(tokens))
    assert set(score.notes) == {*odd, Note(960, 240, 20 - FIRST_PITCH + 55)}


def test_a_written_note_ends_where_a_given_note_begins_early() -> None:
    given = Score((Note(0, 450, 60), Note(450, 510, 62)), 960)
    plan = MELODY.plan(melody_task(given, Region(0, 240)))
    tokens = np.array([20, HOLD, HOLD, *told(plan)[3:]])
    assert plan.score(tokens).notes == (Note(0, 360, 71), given.notes[1])
    tokens = np.array([20, HOLD, HOLD, HOLD, *told(plan)[4:]])
    assert plan.score(tokens).notes == (Note(0, 450, 71), given.notes[1])
    stream = plan.stream()
    assert stream.feed(tokens[:3]) == []
    assert stream.feed(tokens[3:4]) == [Note(0, 450, 71)]


def test_a_stream_shows_the_first_note_after_the_first_token() -> None:
    stream = CHORALE.plan(WritingTask(ATTRIBUTES, Length(960))).stream()
    assert stream.feed([40]) == []
    assert stream.sounding == [Note(0, 120, 40 - FIRST_PITCH + 36)]
    assert stream.watermark_ticks == 0
    assert stream.feed([REST, REST, REST, HOLD]) == []
    assert stream.watermark_ticks == 120
    assert stream.sounding == [Note(0, 240, 72)]
    assert stream.feed([REST, REST, REST, REST]) == [Note(0, 240, 72)]
    assert stream.finish() == []


def test_a_stream_gives_given_notes_when_all_voices_have_reached_their_end() -> None:
    given = Score((Note(0, 250, 72, 99), Note(130, 830, 70, 98, 7)), 960)
    plan = CHORALE.plan(melody_task(given, Region(0, 960, frozenset({1, 2, 3}))))
    tokens = [token if token != SAMPLED else REST for token in told(plan)]
    stream = plan.stream()
    assert stream.feed(tokens[:1]) == []
    assert stream.sounding == [given.notes[0]]
    assert stream.feed(tokens[1:11]) == []
    assert stream.sounding == list(given.notes)
    assert stream.feed(tokens[11:12]) == [given.notes[0]]
    assert stream.feed(tokens[12:]) == [given.notes[1]]


def test_kept_notes_are_those_outside_of_the_regions_and_in_voices_that_the_model_lacks() -> None:
    inside, after, unknown = Note(0, 480, 60), Note(950, 480, 62), Note(0, 480, 50, 98, 1)
    given = Score((inside, unknown, after), 1440)
    assert MELODY.plan(melody_task(given, Region(0, 1440))).kept == (unknown,)
    assert MELODY.plan(melody_task(given, Region(480, 960))).kept == given.notes
    assert MELODY.plan(melody_task(given, length=BAR)).kept == given.notes
    assert MELODY.plan(melody_task(None)).kept == ()


def test_open_lengths_have_a_least_and_a_most() -> None:
    plan = DUET.plan(WritingTask(ATTRIBUTES, Length(1920, is_open=True, min_ticks=480)))
    assert plan.may_end
    assert plan.max_tokens == 16
    assert plan.guide is not None
    instructions = plan.guide.cursor().instructions(16)
    ends = [plan.guide.biases[index][END] == 0 for index in instructions.bias]
    assert ends == [False, True, False, True] + [True] * 12  # the grammar has END before the first voice alone
    cursor = plan.guide.cursor()
    cursor.advance(np.array([REST] * 4))
    assert not cursor.complete
    cursor.advance(np.array([END]))
    assert cursor.complete
    assert plan.score(np.array([REST] * 4 + [END])).length_ticks == 480


@pytest.mark.parametrize(
    ("parts", "field", "said"),
    [
        ({"given": None, "regions": (Region(0, 480),)}, "rewrite[0]", "no piece is given"),
        ({"regions": (Region(0, 50),)}, "rewrite[0]", "shorter than a step"),
        ({"regions": (Region(0, 480), Region(960, 1200))}, "rewrite[1]", "begins in bar 1, after the given piece"),
        ({"regions": (Region(0, 480, frozenset({4})),)}, "rewrite[0]", "voice 4 is unknown"),
        ({}, "length", "nothing is left to write"),
        ({"length": Length(480)}, "length", "less than the given piece"),
        ({"given": None, "length": Length(960, is_open=True, min_ticks=1000)}, "length", "1000"),
        ({"given": None, "ranges": {1: (80, 90)}}, "constraints.ranges", "voice 1"),
        ({"regions": (Region(0, 240),), "pitch_classes": frozenset({1})}, "constraints.scale", "in bar 1"),
        (
            {"given": None, "pitch_classes": frozenset({1}), "ranges": {2: (50, 55)}},
            "constraints.scale",
            "voice 2 has no pitch of C#",
        ),
        ({"given": None, "chords": (ChordSpan(480, 500, frozenset({1}), name="X"),)}, "constraints.chords", "chord X"),
        (
            {"given": None, "chords": (ChordSpan(0, 480, frozenset({1})), ChordSpan(240, 960, frozenset({1})))},
            "constraints.chords",
            "begins before",
        ),
        ({"given": None, "chords": (ChordSpan(960, 1920, frozenset({1})),)}, "constraints.chords", "after the end"),
    ],
)
def test_contradictions_name_the_field_and_the_bar(parts: dict[str, Any], field: str, said: str) -> None:
    constraints = {name: parts.pop(name) for name in list(parts) if name in Constraints.__dataclass_fields__}
    given = Score(line((0, 4, 72), (4, 4, 74)), 960)
    task = WritingTask(ATTRIBUTES, Length(960), given, constraints=Constraints(**constraints))
    with pytest.raises(ContradictionError, match=said) as error:
        CHORALE.plan(replace(task, **parts))
    assert error.value.field == field


def test_models_with_one_voice_can_do_less() -> None:
    assert DUET.writing.rewrite_voices
    assert not MELODY.writing.rewrite_voices
    assert MELODY.writing == replace(DUET.writing, rewrite_voices=False, no_parallels=False, voice_densities=False)
    assert WritingCapabilities() != MELODY.writing
    with pytest.raises(UnsupportedTaskError, match="no_parallels"):
        MELODY.plan(melody_task(None, no_parallels=True))


def test_densities_multiply_the_odds_of_onsets() -> None:
    controls = Controls(density=2.0, voice_densities={1: 0.25})
    plan = DUET.plan(WritingTask(ATTRIBUTES, Length(480), controls=controls))
    assert plan.guide is not None
    rows = plan.guide.biases[plan.guide.cursor().instructions(4).bias]
    assert rows.shape == (4, DUET.vocabulary_size)
    np.testing.assert_allclose(
        np.exp(rows[:, FIRST_PITCH:]), np.array([[0.5], [2], [0.5], [2]]) * np.ones((1, 32)), 1e-6
    )
    assert not rows[:, :FIRST_PITCH].any()
