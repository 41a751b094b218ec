import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench import load
from bench.bare_loop import BareLoop
from bench.clients import Call, Target
from bench.load import LoadGenerator, client_process
from bench.options import BenchError
from bench.processes import running_server
from bench.record import OVERLOAD
from bench.service import LOADS, measure_fairness, measure_neighbours, measure_open_load, measure_service
from bench.systems import make_requests
from music.bundle import load_bundle


@pytest.fixture
def generator(small_bundle: Path) -> Iterator[LoadGenerator]:
    """Load on a real server with few slots."""
    with (
        running_server(small_bundle, slots=2, provider="cpu", threads=1, precision="float32", queue_limit=2) as address,
        client_process(frozenset()) as executor,
    ):
        yield LoadGenerator(executor, Target("grpc", address))


@pytest.mark.slow
def test_every_load_has_its_row_and_overload_rejects_calls(generator: LoadGenerator) -> None:
    found = measure_open_load(generator, clients=2, slots=2, queue_limit=2, steps=32, tokens=64, seconds=4.0)

    assert [row.load_factor for row in found.rows] == [0.0, *LOADS]
    assert all(row.calls == row.rejected + row.latency.count for row in found.rows)
    assert all(row.first_token.p50_seconds <= row.latency.p50_seconds for row in found.rows)
    assert found.rows[0].rejected == 0
    assert found.rows[-1].load_factor == OVERLOAD
    assert found.rows[-1].rejected > 0
    assert found.goodput.rate > 0.0


@pytest.mark.slow
def test_a_server_with_another_bundle_is_refused(generator: LoadGenerator, small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    bare, requests = BareLoop(bundle, provider="cpu", threads=1), make_requests(bundle, 4, [1])

    with pytest.raises(BenchError, match=f"runs another bundle: {bundle.digest}"):
        measure_service(bare, generator, requests, steps=4, digest="0" * 64, seconds=0.1)


class PatientClient:
    """Takes a millisecond a step, for each call by itself."""

    async def connect(self) -> None:
        pass

    async def generate(self, steps: int, seed: int) -> Call:
        began = time.perf_counter()
        await asyncio.sleep(steps / 1000)
        return Call(began, time.perf_counter(), steps)


@pytest.mark.slow
def test_short_pieces_are_timed_behind_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def open_client(target: Target) -> AsyncIterator[PatientClient]:
        yield PatientClient()

    monkeypatch.setattr(load, "open_client", open_client)
    with ThreadPoolExecutor(1) as executor:
        fairness = measure_fairness(
            LoadGenerator(executor, Target("grpc", "none")),
            others=3,
            other_steps=60_000,
            steps=4,
            tokens_per_step=2,
            calls=3,
            seconds=0.1,
        )

    assert (fairness.long_pieces, fairness.long_tokens, fairness.short_tokens) == (3, 120_000, 8)
    assert min(*fairness.idle_seconds, *fairness.loaded_seconds) >= 0.004
    assert len(fairness.idle_seconds) == len(fairness.loaded_seconds)


@pytest.mark.slow
def test_long_pieces_that_are_too_short_are_refused(generator: LoadGenerator) -> None:
    with pytest.raises(BenchError, match="ended before the short ones"):
        measure_fairness(generator, others=1, other_steps=4, steps=4, tokens_per_step=2, calls=2, seconds=0.1)


@pytest.mark.slow
def test_the_service_is_measured_alone_and_beside_computing_processes(generator: LoadGenerator) -> None:
    neighbours = measure_neighbours(generator, clients=2, steps=4, processes=3, cores=2, seconds=0.1)

    assert (neighbours.processes, neighbours.clients, neighbours.fair_share) == (3, 2, 0.5)
    assert len(neighbours.comparison.rates) >= 3
