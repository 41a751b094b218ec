"""Accents and swells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.bar_lines import BarLines
from music.dynamics import VelocityShape
from music.errors import InvalidDynamicsError
from music.score import Meter, MeterChange, Note

ACCENTS = VelocityShape(velocity=70, downbeat_accent=20, beat_accent=10)
METERS = st.builds(Meter, st.integers(1, 16), st.sampled_from((2, 4, 8, 16)))
RANGES = {
    "velocity": (1, 127),
    "downbeat_accent": (-64, 64),
    "beat_accent": (-64, 64),
    "phrase_bars": (0, 64),
    "swell": (-64, 64),
}
SHAPES = st.builds(VelocityShape, **{name: st.integers(*bounds) for name, bounds in RANGES.items()})


def velocities(shape: VelocityShape, meter: str, ticks: int, count: int, pickup_ticks: int = 0) -> list[int]:
    """Velocities of `count` notes, each `ticks` long."""
    notes = [Note(index * ticks, ticks, 60) for index in range(count)]
    return [note.velocity for note in shape.apply(notes, BarLines(Meter.parse(meter), pickup_ticks))]


def test_without_numbers_every_note_has_the_same_velocity() -> None:
    assert velocities(VelocityShape(), "4/4", 240, 20) == [80] * 20
    assert velocities(VelocityShape(velocity=1), "6/8", 240, 20) == [1] * 20


@pytest.mark.parametrize(
    ("meter", "bar"),
    [
        ("4/4", [90, 70, 80, 70, 80, 70, 80, 70]),
        ("3/4", [90, 70, 80, 70, 80, 70]),
        ("2/2", [90, 70, 70, 70, 80, 70, 70, 70]),
        ("6/8", [90, 70, 70, 80, 70, 70]),
        ("9/8", [90, 70, 70, 80, 70, 70, 80, 70, 70]),
        ("12/8", [90, 70, 70, 80, 70, 70, 80, 70, 70, 80, 70, 70]),
        ("5/8", [90, 80, 80, 80, 80]),
        ("3/8", [90, 80, 80]),
        ("6/4", [90, 70, 70, 70, 70, 70, 80, 70, 70, 70, 70, 70]),
    ],
)
def test_beats_of_a_meter_in_eighths(meter: str, bar: list[int]) -> None:
    assert velocities(ACCENTS, meter, 240, 3 * len(bar)) == 3 * bar


def test_a_pickup_is_the_end_of_a_bar() -> None:
    assert velocities(ACCENTS, "4/4", 240, 7, pickup_ticks=480) == [80, 70, 90, 70, 80, 70, 80]
    assert velocities(ACCENTS, "6/8", 240, 5, pickup_ticks=240) == [70, 90, 70, 70, 80]
    assert velocities(ACCENTS, "3/4", 480, 4, pickup_ticks=1440) == [90, 80, 80, 90], "a whole bar is no pickup"


def test_accents_and_phrases_follow_a_change_of_the_meter() -> None:
    lines = BarLines(Meter(3, 4), 480, (MeterChange(1920, Meter(6, 8)),))
    beats = [ACCENTS.velocity_at(onset, lines) for onset in range(0, 3600, 240)]
    assert beats == [80, 70, 90, 70, 80, 70, 80, 70, 90, 70, 70, 80, 70, 70, 90]
    swell = VelocityShape(velocity=60, phrase_bars=2, swell=40)
    shorter = BarLines(Meter(4, 4), changes=(MeterChange(1920, Meter(1, 4)),))
    assert [swell.velocity_at(onset, shorter) for onset in (0, 1200, 2400, 2880)] == [60, 100, 60, 100]


def test_a_note_between_beats_has_no_accent() -> None:
    assert [ACCENTS.velocity_at(onset, BarLines()) for onset in (0, 1, 479, 480, 481, 1919, 1920)] == [
        90, 70, 70, 80, 70, 70, 90,
    ]  # fmt: skip


def test_a_phrase_swells_to_its_middle() -> None:
    swell = VelocityShape(velocity=60, phrase_bars=2, swell=40)
    bars = [60, 66, 80, 94, 100, 94, 80, 66]
    assert velocities(swell, "2/4", 240, 16) == 2 * bars
    assert velocities(swell, "2/4", 240, 18, pickup_ticks=480) == [60, 60, *bars, *bars]
    assert velocities(VelocityShape(phrase_bars=2, swell=-40), "2/4", 240, 5)[-1] == 40
    assert velocities(VelocityShape(swell=40), "2/4", 240, 9) == [80] * 9, "without phrases"


def test_accents_add_to_the_swell_and_velocities_are_clipped() -> None:
    loud = VelocityShape(velocity=100, downbeat_accent=30, beat_accent=5, phrase_bars=1, swell=20)
    assert velocities(loud, "2/4", 240, 4) == [127, 110, 125, 110]
    assert velocities(VelocityShape(velocity=3, downbeat_accent=-64), "2/4", 480, 2) == [1, 3]


def test_without_a_meter_there_are_no_accents() -> None:
    assert [note.velocity for note in ACCENTS.apply([Note(0, 1, 60), Note(480, 1, 60)], BarLines(None))] == [70, 70]


@given(shape=SHAPES, meter=METERS, onset=st.integers(0, 10**8), pickup=st.integers(0, 4000))
def test_any_velocity_is_valid_and_comes_back_with_the_phrase(
    shape: VelocityShape, meter: Meter, onset: int, pickup: int
) -> None:
    velocity = shape.velocity_at(onset + pickup, BarLines(meter, pickup))
    assert 1 <= velocity <= 127
    period = max(shape.phrase_bars, 1) * meter.bar_ticks
    assert shape.velocity_at(onset + pickup + period, BarLines(meter, pickup)) == velocity
    assert shape.velocity_at(onset, BarLines(meter)) == velocity, "a pickup moves everything"


@given(shape=SHAPES, onsets=st.lists(st.integers(0, 10_000), max_size=20))
def test_a_velocity_depends_on_the_onset_alone(shape: VelocityShape, onsets: list[int]) -> None:
    notes = [Note(onset, 120, 40 + index, 33, index % 4) for index, onset in enumerate(onsets)]
    shaped = shape.apply(notes, BarLines(Meter(6, 8), 240))
    assert [note._replace(velocity=33) for note in shaped] == notes
    assert [note.velocity for note in shaped] == [
        shape.velocity_at(onset, BarLines(Meter(6, 8), 240)) for onset in onsets
    ]


@pytest.mark.parametrize("name", RANGES)
def test_numbers_out_of_range_are_refused(name: str) -> None:
    lowest, highest = RANGES[name]
    VelocityShape(**{name: lowest})
    VelocityShape(**{name: highest})
    for value in (lowest - 1, highest + 1):
        with pytest.raises(InvalidDynamicsError, match=f"^{name} must be {lowest} to {highest}, not {value}$"):
            VelocityShape(**{name: value})
