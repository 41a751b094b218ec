"""A caller that floods the server keeps no other caller out. Calls are counted; no time is measured."""

import asyncio
from collections import Counter
from pathlib import Path

import grpc
import pytest

from fantasia.v1 import generation_pb2 as pb
from server.access.callers import token_entry
from server.app import App
from server.settings import Settings
from tests.integration.arithmetic_runner import ArithmeticRunner
from tests.integration.certificates import OWN, stub_of
from tests.integration.scraping import scrape
from tests.integration.statuses import rich_status

FLOOD = 2_000
"""Enough to fill the queue from the first calls of the others to their last ones."""
FLOODING_CONNECTIONS = 4


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    callers = tmp_path / "callers.toml"
    callers.write_text(
        "".join(f'[callers.{n}]\ntokens = ["{token_entry(n)}"]\n' for n in ("flooder", "polite", "third"))
    )
    # The limits in flight alone would keep the flooder small.
    update = {"callers_file": str(callers), "queue_limit": 32, "max_pieces_per_caller": 100_000}
    return settings.model_copy(update=update)


def bearer(name: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {name}"),)


async def flood(app: App, calls: int, found: Counter[grpc.StatusCode]) -> None:
    """Make calls on one connection: as many at once as the server lets a client open."""
    async with grpc.aio.insecure_channel(app.address, [OWN]) as channel:
        stub = stub_of(channel)
        pending = [stub.Generate(pb.GenerateRequest(bars=2), metadata=bearer("flooder")) for _ in range(calls)]
        for call in pending:
            found[await call.code()] += 1


async def test_every_call_of_others_is_served_while_one_caller_floods(app: App, runner: ArithmeticRunner) -> None:
    runner.run_seconds = 0.002
    found: Counter[grpc.StatusCode] = Counter()
    flooding = [
        asyncio.create_task(flood(app, FLOOD // FLOODING_CONNECTIONS, found)) for _ in range(FLOODING_CONNECTIONS)
    ]
    async with grpc.aio.insecure_channel(app.address, [OWN]) as channel:
        stub = stub_of(channel)
        while (await scrape(app)).sum("fantasia_sequences_in_flight") < 20:
            await asyncio.sleep(0.01)

        async def served(name: str) -> Counter[grpc.StatusCode]:
            """Call again and again until the flood is over."""
            request, codes = pb.GenerateRequest(bars=1, candidates=2), Counter[grpc.StatusCode]()
            while not all(task.done() for task in flooding):
                codes[await stub.Generate(request, metadata=bearer(name)).code()] += 1
            return codes

        polite, third = await asyncio.gather(served("polite"), served("third"))

    for others in (polite, third):
        assert set(others) == {grpc.StatusCode.OK}
        assert others.total() >= 10
    assert found[grpc.StatusCode.RESOURCE_EXHAUSTED] > 0
    assert found.total() == FLOOD
    assert set(found) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    scraped = await scrape(app)
    assert scraped.sum("fantasia_sequences_in_flight") == 0
    assert scraped.sum("fantasia_caller_requests_total", caller="flooder") == FLOOD
    assert app.quota.pieces == 0


async def test_a_call_that_loses_its_place_in_the_queue_is_told_when_to_try_again(
    app: App, runner: ArithmeticRunner
) -> None:
    runner.go.clear()
    async with grpc.aio.insecure_channel(app.address, [OWN]) as channel:
        stub = stub_of(channel)
        calls = [stub.Generate(pb.GenerateRequest(bars=1), metadata=bearer("flooder")) for _ in range(36)]
        while (await scrape(app)).sum("fantasia_sequences_in_flight") < 36:
            await asyncio.sleep(0.01)
        polite = stub.Generate(pb.GenerateRequest(bars=1), metadata=bearer("polite"))
        done, _ = await asyncio.wait(
            [asyncio.ensure_future(call.code()) for call in calls], return_when="FIRST_COMPLETED"
        )
        assert [task.result() for task in done] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        (lost,) = [call for call in calls if call.done()]
        _, status = await rich_status(lost)
        assert "callers with fewer requests come first: try again in " in status.message
        assert len(status.details) == 1
        found = await scrape(app)
        assert found.sum("fantasia_sequences_finished_total", outcome="displaced") == 1
        runner.go.set()
        await polite
        assert Counter([await call.code() for call in calls])[grpc.StatusCode.OK] == 35
