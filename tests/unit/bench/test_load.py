import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import load
from bench.clients import Call, Target
from bench.load import Arrival, LoadGenerator, OpenLoop, Window, poisson_arrivals
from bench.options import BenchError
from fantasia_client import ServerBusyError


def call(began: float, ended: float, tokens: int = 100) -> Call:
    return Call(began, ended, tokens)


@pytest.mark.parametrize(
    ("began", "ended", "tokens"),
    [
        (1.0, 2.0, 100.0),  # inside
        (-1.0, 1.0, 50.0),  # half before
        (3.0, 7.0, 25.0),  # three quarters after
        (-3.0, 7.0, 40.0),  # around it
        (-2.0, -1.0, 0.0),  # before
        (5.0, 6.0, 0.0),  # after
    ],
)
def test_a_call_counts_by_its_part_inside_the_window(began: float, ended: float, tokens: float) -> None:
    assert Window(0.0, 4.0, (call(began, ended),)).rate == pytest.approx(tokens / 4.0)


@given(st.floats(0.5, 3.0), st.floats(0.0, 1.0), st.floats(1.0, 20.0))
def test_a_client_that_is_always_busy_has_its_own_rate_in_any_window(
    seconds: float, opened: float, width: float
) -> None:
    calls = tuple(call(index * seconds, (index + 1) * seconds) for index in range(50))

    assert Window(opened, opened + width, calls).rate == pytest.approx(100 / seconds)


def test_a_window_knows_its_rate_and_which_calls_ended_in_it() -> None:
    window = Window(0.0, 4.0, (call(-1.0, 1.0), call(1.0, 3.0), call(3.0, 7.0)))

    assert window.rate == pytest.approx((50 + 100 + 25) / 4)
    assert [call.ended for call in window.finished] == [1.0, 3.0]


def test_an_unreachable_server_is_one_sentence() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(BenchError, match="a call failed: "):
        LoadGenerator(executor, Target("grpc", "127.0.0.1:1")).closed_loop(2, 4)


class SlowClient:
    """Answers one call after the other, and rejects calls when too many wait."""

    def __init__(self, seconds: float, capacity: int) -> None:
        self._seconds, self._capacity = seconds, capacity
        self._lock = asyncio.Lock()
        self.inside = 0

    async def connect(self) -> None:
        pass

    async def generate(self, steps: int, seed: int) -> Call:
        began = time.perf_counter()
        if self.inside >= self._capacity:
            raise ServerBusyError("full")
        self.inside += 1
        try:
            async with self._lock:
                await asyncio.sleep(self._seconds)
        finally:
            self.inside -= 1
        return Call(began, time.perf_counter(), steps, first_token_seconds=0.25, engine_seconds=1.0)


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> LoadGenerator:
    """Load on a slow server."""

    @asynccontextmanager
    async def open_client(target: Target) -> AsyncIterator[SlowClient]:
        yield SlowClient(seconds=0.02, capacity=4)

    monkeypatch.setattr(load, "open_client", open_client)
    return LoadGenerator(ThreadPoolExecutor(1), Target("grpc", "none"))


@given(st.floats(5.0, 500.0), st.floats(1.0, 20.0), st.integers(0, 2**32))
def test_arrivals_ascend_within_their_time_and_have_their_rate(rate: float, seconds: float, seed: int) -> None:
    times = poisson_arrivals(rate, seconds, seed)

    assert len(times) >= 2
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert abs(len(times) - rate * seconds) <= 6.0 * (rate * seconds) ** 0.5 + 2


def test_gaps_are_exponential() -> None:
    gaps = np.diff(poisson_arrivals(1000.0, 60.0, 7))

    assert np.std(gaps) / np.mean(gaps) == pytest.approx(1.0, abs=0.03)
    assert np.mean(gaps > np.mean(gaps)) == pytest.approx(np.exp(-1.0), abs=0.01)


def test_calls_arrive_whether_or_not_others_were_answered(generator: LoadGenerator) -> None:
    found = generator.open_loop(rate=400.0, seconds=0.5, steps=8)
    intended = [arrival.intended - found.arrivals[0].intended for arrival in found.arrivals]
    times = poisson_arrivals(400.0, 0.5, 0)  # the first measurement's seed

    # A closed loop would have sent no more than what was answered.
    assert intended == pytest.approx((times - times[0]).tolist(), abs=1e-6)
    assert len(found.rejected) > len(found.answered) > 0


def test_a_wait_counts_from_the_intended_arrival(generator: LoadGenerator) -> None:
    found = generator.open_loop(rate=400.0, seconds=0.3, steps=8)

    answered = [arrival for arrival in found.arrivals if arrival.call is not None]
    assert all(arrival.call is not None and arrival.call.began == arrival.intended for arrival in answered)
    # The server takes four calls and answers one at a time: the last one waits for the others.
    assert max(arrival.answered - arrival.intended for arrival in answered) > 0.06


def test_goodput_counts_from_the_first_rejection_by_time_in_a_slot() -> None:
    def arrival(intended: float, running: tuple[float, float] | None) -> Arrival:
        if running is None:
            return Arrival(intended, intended, None, intended)
        began, ended = running
        answer = Call(intended, ended, 100, queue_seconds=began - intended, engine_seconds=ended - intended)
        return Arrival(intended, intended, answer, ended)

    found = OpenLoop(
        10.0,
        (
            arrival(0.0, (0.0, 2.0)),  # done before the first rejection
            arrival(1.0, (1.0, 5.0)),  # a quarter of it
            arrival(4.0, None),
            arrival(5.0, (5.0, 6.0)),  # all of it
            arrival(6.0, (7.0, 10.0)),  # two thirds
            arrival(9.0, None),
        ),
    )

    assert found.goodput == pytest.approx((25.0 + 100.0 + 200.0 / 3.0) / 5.0)


def test_single_calls_do_not_overlap(generator: LoadGenerator) -> None:
    calls = generator.single_calls(5, 8)

    assert len(calls) == 5
    assert all(earlier.ended <= later.began for earlier, later in pairwise(calls))


@pytest.mark.slow
def test_calls_behind_others_that_end_too_soon_are_not_counted(generator: LoadGenerator) -> None:
    assert generator.calls_under_load(2, 8, others=1, other_steps=8) == []


def test_every_measurement_has_its_own_seeds(generator: LoadGenerator) -> None:
    first, second = (generator.open_loop(400.0, 0.1, 8) for _ in range(2))

    def gaps(found: OpenLoop) -> list[float]:
        return [later.intended - earlier.intended for earlier, later in pairwise(found.arrivals)]

    assert gaps(first)[:5] != pytest.approx(gaps(second)[:5])
