import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import openload
from bench.callers import Call, Target
from bench.openload import Arrival, Crowd, play_behind, play_crowd, play_singly, poisson_arrivals
from fantasia_client import ServerBusyError

NOBODY = Target("grpc", "nobody")


class SlowCaller:
    """Answers one call after the other, and turns away whoever finds too many waiting."""

    def __init__(self, seconds: float, room: int) -> None:
        self._seconds, self._room = seconds, room
        self._turn = asyncio.Lock()
        self.inside = 0

    async def connect(self) -> None:
        pass

    async def write(self, steps: int, seed: int) -> Call:
        began = time.perf_counter()
        if self.inside >= self._room:
            raise ServerBusyError("full")
        self.inside += 1
        try:
            async with self._turn:
                await asyncio.sleep(self._seconds)
        finally:
            self.inside -= 1
        return Call(began, time.perf_counter(), steps, first_token_seconds=0.25, engine_seconds=1.0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def calling(target: Target) -> AsyncIterator[SlowCaller]:
        yield SlowCaller(seconds=0.02, room=4)

    monkeypatch.setattr(openload, "calling", calling)


@given(st.floats(5.0, 500.0), st.floats(1.0, 20.0), st.integers(0, 2**32))
def test_arrivals_ascend_within_their_time_and_come_at_their_rate(rate: float, seconds: float, seed: int) -> None:
    times = poisson_arrivals(rate, seconds, seed)

    assert len(times) >= 2
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert abs(len(times) - rate * seconds) <= 6.0 * (rate * seconds) ** 0.5 + 2


def test_gaps_are_exponential() -> None:
    gaps = np.diff(poisson_arrivals(1000.0, 60.0, 7))

    assert np.std(gaps) / np.mean(gaps) == pytest.approx(1.0, abs=0.03)
    assert np.mean(gaps > np.mean(gaps)) == pytest.approx(np.exp(-1.0), abs=0.01)


@pytest.mark.usefixtures("slow")
def test_calls_come_whether_or_not_others_were_answered() -> None:
    crowd = play_crowd(NOBODY, rate=400.0, seconds=0.5, steps=8, seed=3)
    intended = [arrival.intended - crowd.arrivals[0].intended for arrival in crowd.arrivals]
    times = poisson_arrivals(400.0, 0.5, 3)

    # A closed loop would have sent no more than what was answered.
    assert intended == pytest.approx((times - times[0]).tolist(), abs=1e-6)
    assert len(crowd.rejected) > len(crowd.written) > 0


@pytest.mark.usefixtures("slow")
def test_a_wait_counts_from_the_intended_arrival() -> None:
    crowd = play_crowd(NOBODY, rate=400.0, seconds=0.3, steps=8, seed=3)

    answered = [arrival for arrival in crowd.arrivals if arrival.call is not None]
    assert all(arrival.call is not None and arrival.call.began == arrival.intended for arrival in answered)
    # Four have room, each for the time of one: the last of them waits for those before it.
    assert max(arrival.answered - arrival.intended for arrival in answered) > 0.06


def test_the_first_note_is_the_wait_less_the_time_from_first_to_last_token() -> None:
    call = Call(10.0, 11.5, 64, queue_seconds=0.1, first_token_seconds=0.2, engine_seconds=1.2)

    assert call.first_note_seconds == pytest.approx(0.5)
    assert call.running == pytest.approx((10.4, 11.5))


def test_goodput_counts_from_the_first_rejection_by_time_in_a_slot() -> None:
    def arrival(intended: float, running: tuple[float, float] | None) -> Arrival:
        if running is None:
            return Arrival(intended, intended, None, intended)
        began, ended = running
        call = Call(intended, ended, 100, queue_seconds=began - intended, engine_seconds=ended - intended)
        return Arrival(intended, intended, call, ended)

    crowd = Crowd(
        10.0,
        (
            arrival(0.0, (0.0, 2.0)),  # over when the first is turned away
            arrival(1.0, (1.0, 5.0)),  # a quarter of it
            arrival(4.0, None),
            arrival(5.0, (5.0, 6.0)),  # all of it
            arrival(6.0, (7.0, 10.0)),  # two thirds
            arrival(9.0, None),
        ),
    )

    assert crowd.goodput == pytest.approx((25.0 + 100.0 + 200.0 / 3.0) / 5.0)


@pytest.mark.usefixtures("slow")
def test_one_at_a_time_is_one_at_a_time() -> None:
    calls = play_singly(NOBODY, 5, 0.001, 8, seed=1)

    assert len(calls) == 5
    assert all(earlier.ended <= later.began for earlier, later in pairwise(calls))


@pytest.mark.usefixtures("slow")
def test_nothing_is_compared_with_when_the_others_were_done_before() -> None:
    assert play_behind(NOBODY, others=1, other_steps=8, calls=2, steps=8, pause_seconds=0.001, seed=1) == []
