import math
from collections.abc import Callable
from typing import Any

import pytest

from music.bar_lines import BarLines
from music.composition.checks import check_consistent, check_supported, kept_notes
from music.composition.plan import WritingCapabilities
from music.composition.task import ChordSpan, Constraints, Controls, Length, Region, WritingTask
from music.errors import ContradictionError, UnsupportedTaskError
from music.score import Meter, Note, Score, ScoreAttributes

RANGES = ((60, 80), (40, 64))
NOTES = (Note(0, 480, 60), Note(480, 480, 50, 80, 1), Note(1920, 960, 62), Note(1920, 960, 45, 80, 1))
ATTRIBUTES = ScoreAttributes(Meter(4, 4), 480)


def task(**parts: Any) -> WritingTask:
    length = parts.pop("length", Length(2880))
    given = parts.pop("given", Score(NOTES, 2880))
    constraints = {name: parts.pop(name) for name in list(parts) if name in Constraints.__dataclass_fields__}
    return WritingTask(ATTRIBUTES, length, given, constraints=Constraints(**constraints), **parts)


def consistent(asked: WritingTask) -> None:
    check_consistent(asked, RANGES, kept_notes(asked, 120))


def test_bars_are_counted_from_the_pickup() -> None:
    seen = task()
    assert [seen.bar_at(ticks) for ticks in (0, 479, 480, 2399, 2400)] == [0, 0, 1, 1, 2]
    counted = task(bar_lines=BarLines(Meter(3, 4)))
    assert [counted.bar_at(ticks) for ticks in (0, 1439, 1440)] == [1, 1, 2]


def test_notes_that_begin_in_a_region_are_not_kept() -> None:
    assert kept_notes(task(), 120) == NOTES
    assert kept_notes(task(regions=(Region(480, 1920),)), 120) == (NOTES[0], *NOTES[2:])
    assert kept_notes(task(regions=(Region(0, 2880, frozenset({1})),)), 120) == (NOTES[0], NOTES[2])
    touching = (Region(480, 960, frozenset({1})), Region(0, 480), Region(900, 1000), Region(100, 300))
    assert kept_notes(task(regions=touching), 120) == NOTES[2:]
    assert kept_notes(task(regions=(Region(0, 480), Region(541, 1920))), 120) == NOTES[1:]
    assert kept_notes(task(given=None), 120) == ()


@pytest.mark.parametrize(
    ("onset", "region", "is_replaced"),
    [
        (419, Region(480, 960), False),
        (421, Region(480, 960), True),
        (421, Region(0, 480), False),
        (899, Region(480, 960), True),
        (901, Region(480, 960), False),
        (480, Region(541, 960), False),
        (480, Region(539, 960), True),
        (480, Region(0, 539), False),
        (480, Region(0, 541), True),
        (959, Region(600, 961), True),  # nearest to the step after the last one, which belongs to the last one
        (959, Region(600, 840), False),
    ],
)
def test_a_note_begins_at_the_nearest_step(onset: int, region: Region, is_replaced: bool) -> None:
    note = Note(onset, 1, 60)
    kept = kept_notes(task(given=Score((note,), 961 if onset < 959 else 960), regions=(region,)), 120)
    assert kept == (() if is_replaced else (note,))


@pytest.mark.parametrize(
    ("parts", "field", "said"),
    [
        ({"length": Length(2400)}, "length", "2400 ticks are less than the given piece has, 2880"),
        ({"regions": (Region(0, 480), Region(2880, 3000))}, "rewrite[1]", "begins in bar 2, after .* ends in bar 2"),
        ({"regions": (Region(0, 480, frozenset({2})),)}, "rewrite[0]", "voice 2 is unknown; .* voices 0 to 1"),
        ({"regions": (Region(0, 480, frozenset()),)}, "rewrite[0]", "names no voice"),
        ({"regions": (Region(480, 480),)}, "rewrite[0]", "ends at tick 480, not after 480"),
        ({"given": None, "regions": (Region(0, 480),)}, "rewrite[0]", "no piece is given"),
        ({"ranges": {2: (50, 60)}}, "constraints.ranges", "voice 2 is unknown"),
        ({"controls": Controls(voice_densities={5: 2.0})}, "controls.voice_densities", "voice 5 is unknown"),
        ({"controls": Controls(density=0.0)}, "controls.density", "above 0"),
        ({"controls": Controls(voice_densities={0: math.nan})}, "controls.voice_densities", "above 0"),
        ({"length": Length(2880, is_open=True, min_ticks=3000)}, "length", "the least, 3000 ticks, is above the most"),
        ({"ranges": {0: (30, 40)}}, "constraints.ranges", "voice 0 has the range C4 to G#5 .* F#1 to E2"),
        (
            {"pitch_classes": frozenset({0, 9}), "regions": (Region(0, 960),)},
            "constraints.scale",
            "D4 in bar 1 has none of the pitches C, A",
        ),
        (
            {"given": None, "pitch_classes": frozenset({1}), "ranges": {1: (50, 55)}, "pitch_field": "here"},
            "here",
            "voice 1 has no pitch of C# between D3 and G3",
        ),
        (
            {"given": None, "ranges": {0: (61, 63)}, "chords": (ChordSpan(2400, 2880, frozenset({0, 4}), name="C"),)},
            "constraints.chords",
            "leave voice 0 no tone of the chord C in bar 2",
        ),
        (
            {
                "given": None,
                "ranges": {1: (51, 54)},
                "chords": (ChordSpan(0, 480, frozenset({0, 4}), bass=0, field="x.y"),),
            },
            "x.y",
            "voice 1 no tone of the chord C, E in bar 0: none of C",
        ),
    ],
)
def test_contradictions_name_field_and_bar(parts: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(ContradictionError, match=said) as caught:
        consistent(task(**parts))
    assert caught.value.field == field


def test_chords_where_nothing_of_a_voice_is_written_do_not_matter() -> None:
    chords = (ChordSpan(0, 1920, frozenset({1})), ChordSpan(1920, 2880, frozenset({2})))
    consistent(task(regions=(Region(1920, 2880, frozenset({1})),), chords=chords, ranges={1: (50, 50)}))
    with pytest.raises(ContradictionError, match="in bar 1: none of D"):
        consistent(task(regions=(Region(1920, 2880, frozenset({1})),), chords=chords, ranges={1: (51, 51)}))
    with pytest.raises(ContradictionError, match="voice 1 no tone of the chord C# in bar 0"):
        consistent(task(regions=(Region(0, 960),), chords=chords, ranges={1: (50, 50)}))
    consistent(task(given=None, chords=(*chords[:1], ChordSpan(2880, 3840, frozenset()))))


ASKED: dict[str, Callable[[], WritingTask]] = {
    "given": task,
    "length": lambda: task(length=Length(2880, is_open=True)),
    "constraints.scale": lambda: task(pitch_classes=frozenset({0})),
    "constraints.chords": lambda: task(chords=(ChordSpan(0, 1, frozenset({0})),)),
    "constraints.ranges": lambda: task(ranges={0: (60, 70)}),
    "constraints.no_rests": lambda: task(no_rests=True),
    "constraints.no_parallels": lambda: task(no_parallels=True),
    "constraints.natural_ending": lambda: task(natural_ending=True),
    "controls.density": lambda: task(controls=Controls(density=2.0)),
    "controls.voice_densities": lambda: task(controls=Controls(voice_densities={0: 2.0})),
}


@pytest.mark.parametrize("field", ASKED)
def test_what_a_tokenizer_cannot_do_is_named(field: str) -> None:
    names = ("continuation", "open_length", "scale", "chords", "ranges", "no_rests", "no_parallels", "natural_ending")
    able = WritingCapabilities(**dict.fromkeys((*names, "density", "voice_densities"), True))
    check_supported(ASKED[field](), able, "events")
    with pytest.raises(UnsupportedTaskError, match="models with the tokenizer events cannot do this") as caught:
        check_supported(ASKED[field](), WritingCapabilities(continuation=field != "given"), "events")
    assert caught.value.field == field
