from typing import Any

import pytest

from music.composition.task import ChordSpan, Constraints, Length, Region, WritingTask
from music.errors import ContradictionError
from music.score import Meter, Note, Score, ScoreAttributes
from music.tokenizers import GridTokenizer
from music.tokenizers.grid_ending import ending_grid_ticks
from music.tokenizers.grid_guide import GridGuide
from tests.unit.music.tokenizers.grid_tasks import CHORALE, MELODY

BAR = 1920
COMMON = Meter(4, 4)
A_MINOR = frozenset((9, 11, 0, 2, 4, 5, 7))


def ending_step(tokenizer: GridTokenizer, length: int, meter: Meter | None = COMMON, pickup: int = 0) -> int:
    task = WritingTask(ScoreAttributes(meter, pickup), Length(length), constraints=Constraints(natural_ending=True))
    plan = tokenizer.plan(task)
    assert isinstance(plan.guide, GridGuide)
    assert plan.guide.ending is not None
    return plan.guide.ending.step


@pytest.mark.parametrize(
    ("meter", "beat"),
    [
        (None, 480), (Meter(4, 4), 480), (Meter(3, 4), 480), (Meter(6, 4), 1440), (Meter(2, 2), 960),
        (Meter(3, 1), 1920),
        (Meter(6, 8), 720), (Meter(12, 8), 720), (Meter(3, 8), 480), (Meter(6, 16), 480), (Meter(5, 8), 480),
    ],
)  # fmt: skip
def test_a_last_chord_begins_on_a_beat_of_a_quarter_or_longer(meter: Meter | None, beat: int) -> None:
    assert ending_grid_ticks(meter) == beat


def test_the_last_chord_begins_on_the_last_beat_that_leaves_a_quarter() -> None:
    assert ending_step(CHORALE, 2 * BAR) == 28
    assert ending_step(CHORALE, 2 * BAR - 120) == 24  # the fourth beat has only three sixteenths
    assert ending_step(CHORALE, 2 * BAR, Meter(3, 4)) == 28  # second beat of the third bar
    assert ending_step(CHORALE, 480 + BAR, pickup=480) == 16
    assert ending_step(CHORALE, 240 + BAR, pickup=240) == 14
    assert ending_step(CHORALE, BAR, None) == 12
    assert ending_step(MELODY, 1440, Meter(6, 8)) == 6
    assert ending_step(MELODY, 1440 + 480, Meter(6, 8)) == 12
    assert ending_step(MELODY, 1440 + 360, Meter(6, 8)) == 6
    assert ending_step(MELODY, 2 * BAR, Meter(2, 2)) == 24


def soprano(*notes: tuple[int, int, int]) -> Score:
    """Notes of voice 0 as (onset, duration, pitch) in quarters."""
    line = tuple(Note(onset * 480, duration * 480, pitch) for onset, duration, pitch in notes)
    return Score(line, line[-1].end)


def harmonised(given: Score, **constraints: Any) -> WritingTask:
    """The task to write the three lower voices."""
    region = Region(0, given.length_ticks, frozenset({1, 2, 3}))
    return WritingTask(
        ScoreAttributes(), Length(given.length_ticks), given, (region,), Constraints(natural_ending=True, **constraints)
    )


def test_the_last_chord_begins_with_the_last_given_note() -> None:
    plan = CHORALE.plan(harmonised(soprano((0, 2, 72), (2, 2, 74), (4, 4, 76))))
    assert isinstance(plan.guide, GridGuide)
    assert plan.guide.ending is not None
    assert plan.guide.ending.step == 16


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (WritingTask(ScoreAttributes(), Length(360), constraints=Constraints(natural_ending=True)), "too short"),
        (
            WritingTask(ScoreAttributes(), Length(BAR, is_open=True), constraints=Constraints(natural_ending=True)),
            "must be fixed",
        ),
        (harmonised(Score((Note(0, 960, 72),), BAR)), "in bar 1: voice 0 is given and silent at the end"),
        (
            harmonised(Score((Note(0, 3 * 480, 72), Note(1440, 240, 72), Note(1680, 240, 71)), BAR)),
            "less than a quarter",
        ),
        (harmonised(soprano((0, 4, 72), (4, 2, 74)), tonic=0), "in bar 2: .* leave no triad on C in root position"),
        (
            harmonised(soprano((0, 4, 72)), chords=(ChordSpan(0, BAR, frozenset({0, 4, 7}), 4, "C/E"),)),
            "leave no triad in root position",
        ),
        (harmonised(soprano((0, 4, 72)), pitch_classes=frozenset({0, 2, 7})), "leave no triad in root position"),
        (
            WritingTask(
                ScoreAttributes(),
                Length(BAR),
                Score((Note(0, BAR, 72), Note(0, 960, 60, 80, 2), Note(960, 960, 60, 80, 2)), BAR),
                (Region(0, BAR, frozenset({1, 3})),),
                Constraints(natural_ending=True),
            ),
            "do not strike it together",
        ),
        (
            WritingTask(
                ScoreAttributes(),
                Length(BAR),
                Score(tuple(Note(0, BAR, pitch, 80, voice) for voice, pitch in enumerate((72, 67, 60, 48))), BAR),
                (Region(1680, BAR),),
                Constraints(natural_ending=True),
            ),
            "nothing is left to write",
        ),
        (
            WritingTask(
                ScoreAttributes(),
                Length(BAR),
                Score(tuple(Note(0, 480, pitch, 80, voice) for voice, pitch in enumerate((72, 67, 60, 48))), BAR),
                (Region(1680, BAR),),
                Constraints(natural_ending=True),
            ),
            "voice 0 is partly given",
        ),
    ],
)
def test_an_ending_that_is_impossible_is_refused(task: WritingTask, said: str) -> None:
    with pytest.raises(ContradictionError, match=said):
        CHORALE.plan(task)


def test_a_melody_ends_on_the_tonic() -> None:
    constraints = Constraints(pitch_classes=A_MINOR, tonic=9, natural_ending=True)
    plan = MELODY.plan(WritingTask(ScoreAttributes(), Length(BAR), constraints=constraints))
    assert isinstance(plan.guide, GridGuide)
    ending = plan.guide.ending
    assert ending is not None
    assert ending.step == 12
    pitches = [MELODY.lowest_pitch + index for index, allowed in enumerate(ending.pitches[0]) if allowed]
    assert pitches == [57, 69, 81]
    given = Score((Note(0, BAR, 60),), BAR)
    with pytest.raises(ContradictionError, match="nothing is left"):
        MELODY.plan(WritingTask(ScoreAttributes(), Length(BAR), given, (Region(480, 960),), constraints))
    given = Score((Note(0, 480, 60), Note(480, BAR - 480, 60)), BAR)
    with pytest.raises(ContradictionError, match="no note on A"):
        MELODY.plan(WritingTask(ScoreAttributes(), Length(BAR), given, (Region(0, 240),), constraints))
