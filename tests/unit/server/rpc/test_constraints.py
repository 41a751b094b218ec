"""Constraints and controls: what they become, and what is refused."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fantasia.v1 import generation_pb2 as pb
from music.bar_lines import BarLines
from music.composition.plan import WritingCapabilities
from music.composition.task import ChordSpan, Constraints, Controls
from music.score import Meter, MeterChange
from server.rpc.constraints import PieceFrame, read_constraints, read_controls
from server.rpc.validation import RequestValidator

ALL = WritingCapabilities(
    scale=True,
    chords=True,
    ranges=True,
    no_rests=True,
    no_parallels=True,
    natural_ending=True,
    density=True,
    voice_densities=True,
)
LENGTH_TICKS = 480 + 4 * 1440
FRAME = PieceFrame(
    bar_lines=BarLines(Meter(3, 4), 480),
    length_ticks=LENGTH_TICKS,
    is_open=False,
    given_ticks=0,
    ranges=((60, 81), (36, 62)),
    writing=ALL,
)


def read(message: pb.Constraints, frame: PieceFrame = FRAME) -> Constraints:
    validator = RequestValidator()
    constraints = read_constraints(message, frame, validator)
    validator.raise_if_invalid()
    return constraints


def violations(message: pb.Constraints, frame: PieceFrame = FRAME) -> dict[str, str]:
    validator = RequestValidator()
    read_constraints(message, frame, validator)
    return {violation.field: violation.description for violation in validator.violations}


def chords(*messages: pb.Chord, **fields: object) -> pb.Constraints:
    return pb.Constraints(chords=pb.ChordProgression(chords=messages, **fields))  # type: ignore[arg-type]


def spans(message: pb.Constraints, frame: PieceFrame = FRAME) -> list[tuple[int, int, str]]:
    return [(span.start_ticks, span.end_ticks, span.name) for span in read(message, frame).chords]


AM, F = pb.Chord(symbol="Am"), pb.Chord(symbol="F/A", length=2)


def test_every_constraint_is_read() -> None:
    message = pb.Constraints(
        scale="A minor",
        ranges=[pb.VoiceRange(voice=1, lowest=40, highest=60)],
        no_rests=True,
        no_parallels=True,
        natural_ending=True,
    )

    assert read(message) == Constraints(
        pitch_classes=frozenset({9, 11, 0, 2, 4, 5, 7}),
        pitch_field="constraints.scale",
        tonic=9,
        ranges={1: (40, 60)},
        no_rests=True,
        no_parallels=True,
        natural_ending=True,
    )
    classes = read(pb.Constraints(pitch_classes=pb.PitchClasses(values=[0, 0, 7])))
    assert (classes.pitch_classes, classes.pitch_field, classes.tonic) == (
        frozenset({0, 7}),
        "constraints.pitch_classes",
        None,
    )
    assert read(pb.Constraints()) == Constraints()


def test_chords_repeat_up_to_the_end() -> None:
    assert spans(chords(AM, F)) == [
        (480, 1920, "Am"),
        (1920, 4800, "F/A"),
        (4800, 6240, "Am"),
    ]
    assert read(chords(F)).chords[0] == ChordSpan(
        480, 3360, frozenset({5, 9, 0}), 9, "F/A", "constraints.chords.chords[0].symbol"
    )


def test_chords_by_beat_once_from_a_bar() -> None:
    beats = chords(AM, F, unit=pb.CHORD_UNIT_BEAT, once=True, first_bar=0)
    assert spans(beats) == [(0, 480, "Am"), (480, 1440, "F/A")]
    compound = replace(FRAME, bar_lines=BarLines(Meter(6, 8)))
    assert spans(chords(AM, unit=pb.CHORD_UNIT_BEAT, once=True, first_bar=2), compound) == [(1440, 2160, "Am")]
    eighths = replace(FRAME, bar_lines=BarLines(Meter(3, 8)))
    assert spans(chords(AM, unit=pb.CHORD_UNIT_BEAT, once=True, first_bar=2), eighths) == [(720, 960, "Am")]


def test_chords_follow_the_bars_of_a_piece_in_several_meters() -> None:
    # A quarter, a bar of 4/4, then 6/8.
    lines = BarLines(Meter(4, 4), 480, (MeterChange(2400, Meter(6, 8)),))
    several = replace(FRAME, bar_lines=lines, length_ticks=2400 + 2 * 1440)
    assert spans(chords(AM, F, first_bar=0), several) == [(0, 480, "Am"), (480, 3840, "F/A"), (3840, 5280, "Am")]
    beats = chords(AM, F, first_bar=1, unit=pb.CHORD_UNIT_BEAT)
    assert [start for start, _, _ in spans(beats, several)] == [480, 960, 1920, 2400, 3840, 4560]


def test_chords_begin_with_the_part_that_is_added() -> None:
    continued = replace(FRAME, given_ticks=2000)
    assert spans(chords(AM, once=True), continued) == [(3360, 4800, "Am")]
    rewritten = replace(FRAME, given_ticks=LENGTH_TICKS)
    assert spans(chords(AM, once=True), rewritten) == [(480, 1920, "Am")]


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.sampled_from([pb.CHORD_UNIT_BAR, pb.CHORD_UNIT_BEAT]),
    st.booleans(),
    st.integers(0, 4),
)
def test_spans_follow_one_another(lengths: list[int], unit: pb.ChordUnit, once: bool, first_bar: int) -> None:
    message = chords(
        *(pb.Chord(symbol="C", length=length) for length in lengths), unit=unit, once=once, first_bar=first_bar
    )
    found = read(message).chords

    assert found[0].start_ticks == FRAME.bar_lines.start(first_bar)
    for before, after in pairwise(found):
        assert before.end_ticks == after.start_ticks
    if not once:
        assert found[-1].end_ticks == LENGTH_TICKS
    assert all(span.start_ticks < span.end_ticks <= LENGTH_TICKS for span in found)


@pytest.mark.parametrize(
    ("message", "field", "text"),
    [
        (pb.Constraints(scale="Q"), "constraints.scale", "is not valid: 'Q' names no scale"),
        (
            pb.Constraints(pitch_classes=pb.PitchClasses()),
            "constraints.pitch_classes.values",
            "must name at least one pitch class",
        ),
        (
            pb.Constraints(pitch_classes=pb.PitchClasses(values=[0, 12])),
            "constraints.pitch_classes.values[1]",
            "must be 0 to 11, not 12",
        ),
        (chords(), "constraints.chords.chords", "must be 1 to 1024 chords, not 0"),
        (chords(*[AM] * 1025), "constraints.chords.chords", "must be 1 to 1024 chords, not 1,025"),
        (chords(AM, pb.Chord(symbol="H")), "constraints.chords.chords[1].symbol", "is not valid: 'H' names no chord"),
        (chords(pb.Chord()), "constraints.chords.chords[0]", "must have a symbol or pitch_classes"),
        (chords(pb.Chord(symbol="C", length=-1)), "constraints.chords.chords[0].length", "must be 1 to 1024, not -1"),
        (chords(AM, first_bar=5), "constraints.chords.first_bar", "must be 0 to 4, not 5"),
        (chords(AM, unit=7), "constraints.chords.unit", "must be CHORD_UNIT_BAR or CHORD_UNIT_BEAT, not 7"),
        (
            pb.Constraints(ranges=[pb.VoiceRange(voice=2, lowest=60, highest=61)]),
            "constraints.ranges[0].voice",
            "must be 0 to 1, not 2",
        ),
        (
            pb.Constraints(ranges=[pb.VoiceRange(voice=1, lowest=35, highest=61)]),
            "constraints.ranges[0].lowest",
            "must be 36 to 62, not 35",
        ),
        (
            pb.Constraints(ranges=[pb.VoiceRange(voice=1, lowest=50, highest=49)]),
            "constraints.ranges[0].highest",
            "must be 50 to 62, not 49",
        ),
        (
            pb.Constraints(ranges=[pb.VoiceRange(lowest=60, highest=61)] * 2),
            "constraints.ranges[1].voice",
            "must name each voice once; 0 is named twice",
        ),
    ],
)
def test_a_violation_names_its_field(message: pb.Constraints, field: str, text: str) -> None:
    found = violations(message)

    assert list(found) == [field]
    assert found[field].startswith(text)


def test_a_natural_ending_needs_a_length() -> None:
    assert violations(pb.Constraints(natural_ending=True), replace(FRAME, is_open=True)) == {
        "constraints.natural_ending": "needs a length that the request fixes: bars, steps or seconds"
    }


def test_what_the_model_does_not_support_is_refused() -> None:
    message = pb.Constraints(scale="C major", no_rests=True, no_parallels=True, natural_ending=True)
    message.chords.CopyFrom(chords(AM).chords)
    message.ranges.add(lowest=60, highest=61)
    none = replace(FRAME, writing=WritingCapabilities())

    found = violations(message, none)
    names = ("no_rests", "no_parallels", "natural_ending", "scale", "chords", "ranges")
    assert found == {f"constraints.{name}": "is not supported by this model" for name in names}

    validator = RequestValidator()
    read_controls(pb.Controls(density=2.0, voice_densities=[pb.VoiceDensity(density=3.0)]), none, validator)
    assert [str(violation) for violation in validator.violations] == [
        "controls.density is not supported by this model",
        "controls.voice_densities is not supported by this model",
    ]


def test_controls() -> None:
    validator = RequestValidator()
    density = pb.VoiceDensity(voice=1, density=0.5)

    assert read_controls(pb.Controls(), FRAME, validator) == Controls()
    assert read_controls(pb.Controls(density=3, voice_densities=[density]), FRAME, validator) == Controls(3.0, {1: 0.5})
    validator.raise_if_invalid()
    read_controls(pb.Controls(density=21, voice_densities=[density, density]), FRAME, validator)
    read_controls(pb.Controls(density=float("nan"), voice_densities=[pb.VoiceDensity(density=0.01)]), FRAME, validator)
    assert [str(violation) for violation in validator.violations] == [
        "controls.density must be 0.05 to 20, not 21.0",
        "controls.voice_densities[1].voice must name each voice once; 1 is named twice",
        "controls.density must be 0.05 to 20, not nan",
        "controls.voice_densities[0].density must be 0.05 to 20, not 0.01",
    ]
