"""Where bars and beats begin, in one meter and in several."""

from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from music.bar_lines import BarLines
from music.score import Meter, MeterChange

FOUR, THREE, SIX_EIGHT = Meter(4, 4), Meter(3, 4), Meter(6, 8)
SEVERAL = BarLines(FOUR, 480, (MeterChange(4320, THREE), MeterChange(6000, SIX_EIGHT)))
"""A quarter, two bars of 4/4, a bar of 3/4, another one that is cut short after an eighth, then 6/8."""


@st.composite
def lines_in_several_meters(draw: st.DrawFn) -> BarLines:
    meters = st.builds(Meter, st.integers(1, 12), st.sampled_from((2, 4, 8)))
    first = draw(st.none() | meters)
    pickup = draw(st.integers(0, (first or FOUR).bar_ticks - 1))
    ticks = sorted(draw(st.sets(st.integers(pickup + 1, pickup + 20_000), max_size=5)))
    return BarLines(first, pickup, tuple(MeterChange(tick, draw(meters)) for tick in ticks))


def test_bars_of_one_meter_follow_the_pickup() -> None:
    lines = BarLines(THREE, 480)
    assert [lines.start(bar) for bar in range(4)] == [0, 480, 1920, 3360]
    assert [lines.bar_at(tick) for tick in (0, 479, 480, 1919, 1920)] == [0, 0, 1, 1, 2]
    assert (lines.first_bar, BarLines(THREE).first_bar) == (0, 1)
    assert [lines.last_bar(length) for length in (0, 480, 481, 1920)] == [0, 0, 1, 1]
    assert [lines.complete(length) for length in (0, 1, 480, 481, 1920)] == [0, 480, 480, 1920, 1920]


def test_a_change_of_the_meter_begins_a_bar() -> None:
    assert [SEVERAL.start(bar) for bar in range(8)] == [0, 480, 2400, 4320, 5760, 6000, 7440, 8880]
    assert [SEVERAL.bar_at(tick) for tick in (0, 4319, 4320, 5759, 5760, 5999, 6000, 7440)] == [0, 2, 3, 3, 4, 4, 5, 6]
    assert [SEVERAL.meter_at(tick) for tick in (0, 4319, 4320, 6000)] == [FOUR, FOUR, THREE, SIX_EIGHT]
    assert [SEVERAL.complete(length) for length in (4319, 5761, 6001)] == [4320, 6000, 7440]
    assert SEVERAL.last_bar_ticks == 1440


def test_bars_of_an_unknown_meter_are_those_of_4_4() -> None:
    late = BarLines(None, changes=(MeterChange(2400, THREE),))
    assert [late.start(bar) for bar in range(1, 5)] == [0, 1920, 2400, 3840]
    assert [late.meter_at(tick) for tick in (0, 2399, 2400)] == [None, None, THREE]


def test_beats_are_counted_from_the_bar_line() -> None:
    assert [*islice(SEVERAL.beats_from(2), 12)] == [
        2400, 2880, 3360, 3840, 4320, 4800, 5280, 5760, 6000, 6720, 7440, 8160,
    ]  # fmt: skip
    assert [*islice(BarLines(FOUR, 720).beats_from(0), 4)] == [0, 240, 720, 1200], "a pickup is the end of a bar"


def test_one_stretch_has_its_bar_lines_where_they_were() -> None:
    assert SEVERAL.single_stretch(100, 4320) == BarLines(FOUR, 480)
    assert SEVERAL.single_stretch(6000, 9000) == BarLines(SIX_EIGHT, 6000 % 1440)
    assert SEVERAL.single_stretch(4319, 4321) is None
    assert BarLines(None, 480).single_stretch(0, 10**9) == BarLines(None, 480)


def test_a_part_of_the_piece_has_the_meters_from_there_on() -> None:
    assert SEVERAL.cut(0) == SEVERAL
    assert SEVERAL.cut(4800) == BarLines(THREE, 960, (MeterChange(1200, SIX_EIGHT),))
    assert SEVERAL.cut(6000) == BarLines(SIX_EIGHT)
    assert BarLines(None, 480).cut(100) == BarLines(None)


@given(lines=lines_in_several_meters(), tick=st.integers(0, 30_000), unit=st.sampled_from(("bars_from", "beats_from")))
def test_every_tick_is_in_the_bar_that_begins_before_it(lines: BarLines, tick: int, unit: str) -> None:
    bar = lines.bar_at(tick)
    assert lines.start(bar) <= tick < lines.start(bar + 1)
    units = [*islice(getattr(lines, unit)(lines.first_bar), 200)]
    assert units[0] == 0
    longest = max(meter.bar_ticks for meter in (lines.meter or FOUR, *(change.meter for change in lines.changes)))
    assert all(0 < after - before <= longest for before, after in pairwise(units))
    assert {change.tick for change in lines.changes if change.tick <= units[-1]} <= set(units)


@given(lines=lines_in_several_meters(), tick=st.integers(1, 30_000), offset=st.integers(0, 30_000))
def test_a_part_has_the_bar_lines_of_the_whole(lines: BarLines, tick: int, offset: int) -> None:
    if lines.meter_at(tick) is not None:
        part = lines.cut(tick)
        assert part.complete(max(offset, 1)) == lines.complete(tick + max(offset, 1)) - tick
        assert part.meter_at(offset) == lines.meter_at(tick + offset)
