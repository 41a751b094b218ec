import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench import openload
from bench.callers import Call, Target
from bench.errors import BenchError
from bench.goals import OVERLOAD
from bench.latency import LOADS, measure_fairness, measure_latency
from bench.server import Running, running_server
from bench.service import client_process


@pytest.fixture
def server(small_bundle: Path) -> Iterator[Running]:
    with running_server(
        small_bundle, slots=2, provider="cpu", threads=1, precision="float32", queue_limit=2
    ) as running:
        yield running


def test_every_load_has_its_row_and_overload_turns_calls_away(server: Running) -> None:
    with client_process(frozenset()) as callers:
        latency = measure_latency(
            callers, Target("grpc", server.address), clients=2, slots=2, queue_limit=2, steps=32, tokens=64, seconds=8.0
        )

    assert [row.load for row in latency.rows] == [0.0, *LOADS]
    assert all(row.arrived == row.rejected + row.whole.count for row in latency.rows)
    assert all(row.first_note.p50_seconds <= row.whole.p50_seconds for row in latency.rows)
    assert latency.rows[0].rejected == 0
    assert latency.rows[-1].load == OVERLOAD
    assert latency.rows[-1].rejected > 0
    assert latency.goodput.rate > 0.0


class PatientCaller:
    """Takes a millisecond a step, for each call by itself."""

    async def connect(self) -> None:
        pass

    async def write(self, steps: int, seed: int) -> Call:
        began = time.perf_counter()
        await asyncio.sleep(steps / 1000)
        return Call(began, time.perf_counter(), steps)


def test_short_pieces_are_timed_behind_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def calling(target: Target) -> AsyncIterator[PatientCaller]:
        yield PatientCaller()

    monkeypatch.setattr(openload, "calling", calling)
    with ThreadPoolExecutor(1) as callers:
        fairness = measure_fairness(
            callers,
            Target("grpc", "nobody"),
            others=3,
            other_steps=60_000,
            steps=4,
            tokens_per_step=2,
            calls=3,
            seconds=0.1,
        )

    assert (fairness.others, fairness.other_tokens, fairness.piece_tokens) == (3, 120_000, 8)
    assert min(*fairness.idle_seconds, *fairness.behind_seconds) >= 0.004
    assert len(fairness.idle_seconds) == len(fairness.behind_seconds)


def test_long_pieces_that_are_too_short_are_told(server: Running) -> None:
    with client_process(frozenset()) as callers, pytest.raises(BenchError, match="ended before the short ones"):
        measure_fairness(
            callers,
            Target("grpc", server.address),
            others=1,
            other_steps=4,
            steps=4,
            tokens_per_step=2,
            calls=2,
            seconds=0.1,
        )
