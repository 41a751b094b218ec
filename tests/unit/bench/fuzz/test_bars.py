"""The fuzzer's bars are those of the server, which finds them in another way."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from bench.fuzz.bars import Bars
from music.bar_lines import BarLines
from music.score import Meter, MeterChange

METERS = st.sampled_from([(4, 4), (3, 4), (6, 8), (5, 8), (2, 2)])


@given(
    st.none() | METERS,
    st.integers(0, 20).map(lambda count: 60 * count),
    st.dictionaries(st.integers(1201, 15_000), METERS, max_size=4),
    st.integers(0, 8),
    st.integers(0, 20_000),
)
def test_bars_are_those_of_the_server(
    meter: tuple[int, int] | None, pickup: int, changes: dict[int, tuple[int, int]], bar: int, tick: int
) -> None:
    bars = Bars(meter, pickup, tuple(sorted(changes.items())))
    later = tuple(MeterChange(at, Meter(*to)) for at, to in sorted(changes.items()))
    lines = BarLines(None if meter is None else Meter(*meter), pickup, later)
    bar = max(bar, lines.first_bar)

    assert bars.start(bar) == lines.start(bar)
    assert bars.line_from(tick) == lines.complete(tick)
    assert bars.last_bar_ticks == lines.last_bar_ticks
    assert bars.meter_at(tick) == _signature(lines.meter_at(tick))
    for beats, units in ((False, lines.bars_from(bar)), (True, lines.beats_from(bar))):
        assert [*islice(bars.units(bars.start(bar), beats=beats), 40)] == [*islice(units, 40)]


def _signature(meter: Meter | None) -> tuple[int, int] | None:
    return None if meter is None else (meter.numerator, meter.denominator)
