"""One connection leaves room for others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.app import App
from server.settings import Settings
from tests.integration.arithmetic_runner import ArithmeticRunner
from tests.integration.scraping import scrape_until
from tests.integration.statuses import rich_status

Connect = Callable[[], "pb_grpc.GenerationServiceAsyncStub"]
TOKENS_A_BAR = 64  # 16 steps of four voices


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"max_pieces_per_caller": 3, "max_tokens_per_caller": 32 * TOKENS_A_BAR, "queue_limit": 9}
    )


@pytest.fixture
async def connect(app: App) -> AsyncIterator[Connect]:
    """Makes stubs, each with its own connection."""
    channels: list[grpc.aio.Channel] = []

    def connect() -> "pb_grpc.GenerationServiceAsyncStub":
        channel = grpc.aio.insecure_channel(app.address, options=[("grpc.use_local_subchannel_pool", 1)])
        channels.append(channel)
        return pb_grpc.GenerationServiceStub(channel)

    yield connect
    for channel in channels:
        await channel.close()


async def until_nothing_is_held(app: App) -> None:
    async with asyncio.timeout(10):
        while app.quota.pieces:
            await asyncio.sleep(0.01)


def start(call: Awaitable[Any]) -> "asyncio.Future[Any]":
    return asyncio.ensure_future(call)


async def test_pieces_beyond_the_limit_are_refused_but_not_those_of_other_connections(
    app: App, connect: Connect, runner: ArithmeticRunner
) -> None:
    runner.go.clear()
    one, other = connect(), connect()
    running = [start(one.Generate(pb.GenerateRequest(bars=1))) for _ in range(3)]
    await scrape_until(app, "fantasia_sequences_in_flight", 3)
    code, status = await rich_status(one.Generate(pb.GenerateRequest(bars=1)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "has 3 pieces in flight, and 1 more would exceed the server's limit of 3 pieces" in status.message
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() >= 100

    admitted = start(other.Generate(pb.GenerateRequest(bars=1)))
    await scrape_until(app, "fantasia_sequences_in_flight", 4)
    runner.go.set()
    await asyncio.gather(*running, admitted)
    await one.Generate(pb.GenerateRequest(bars=1))
    await until_nothing_is_held(app)


async def test_tokens_beyond_the_limit_are_refused(app: App, connect: Connect, runner: ArithmeticRunner) -> None:
    runner.go.clear()
    one = connect()
    running = start(one.Generate(pb.GenerateRequest(bars=30)))
    await scrape_until(app, "fantasia_sequences_in_flight", 1)
    code, status = await rich_status(one.Generate(pb.GenerateRequest(bars=3)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (
        f"has {30 * TOKENS_A_BAR} tokens in flight, and {3 * TOKENS_A_BAR} more would exceed the server's limit of "
        f"{32 * TOKENS_A_BAR} tokens"
    ) in status.message
    fits = start(one.Generate(pb.GenerateRequest(bars=2)))
    await scrape_until(app, "fantasia_sequences_in_flight", 2)
    runner.go.set()
    await asyncio.gather(running, fits)
    await until_nothing_is_held(app)


async def test_a_piece_without_a_length_counts_as_the_mean_of_such_pieces(
    app: App, connect: Connect, runner: ArithmeticRunner
) -> None:
    one = connect()
    lengths = [(await one.Generate(pb.GenerateRequest(seed=seed))).pieces[0].token_count for seed in range(6)]
    assert max(lengths) < 10 * TOKENS_A_BAR  # of the 32 bars that it might take
    runner.go.clear()
    running = [start(one.Generate(pb.GenerateRequest(seed=seed))) for seed in range(3)]
    await scrape_until(app, "fantasia_sequences_in_flight", 3)
    runner.go.set()
    await asyncio.gather(*running)


async def test_nothing_is_held_after_a_call_however_it_ends(
    app: App, connect: Connect, runner: ArithmeticRunner
) -> None:
    stub = connect()
    await stub.Generate(pb.GenerateRequest(bars=1))  # finished
    await until_nothing_is_held(app)

    with pytest.raises(grpc.aio.AioRpcError, match="bars"):  # refused before it is held
        await stub.Generate(pb.GenerateRequest(bars=0))
    assert app.quota.pieces == 0

    runner.run_seconds = 0.02
    for _ in range(3):  # each takes all of the bound
        call = stub.Generate(pb.GenerateRequest(bars=32))
        await scrape_until(app, "fantasia_slots_used", 1)
        assert app.quota.pieces == 1
        call.cancel()
        await until_nothing_is_held(app)
        await scrape_until(app, "fantasia_slots_used", 0)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Generate(pb.GenerateRequest(bars=32), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until_nothing_is_held(app)

    runner.fail = True
    code, _ = await rich_status(stub.Generate(pb.GenerateRequest(bars=32)))
    assert code is grpc.StatusCode.INTERNAL
    await until_nothing_is_held(app)
    runner.fail = False

    async with grpc.aio.insecure_channel(app.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        lost = start(pb_grpc.GenerationServiceStub(channel).Generate(pb.GenerateRequest(bars=32)))
        await scrape_until(app, "fantasia_slots_used", 1)
    with pytest.raises(asyncio.CancelledError):
        await lost
    await until_nothing_is_held(app)

    runner.run_seconds = 0.0
    await stub.Generate(pb.GenerateRequest(bars=32))
    await until_nothing_is_held(app)


async def test_a_full_queue_holds_nothing(app: App, connect: Connect, runner: ArithmeticRunner) -> None:
    runner.go.clear()
    stubs = [connect() for _ in range(5)]
    calls = [start(stub.Generate(pb.GenerateRequest(bars=1))) for stub in stubs for _ in range(3)]
    done, pending = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
    async with asyncio.timeout(10):
        while len(done) < 2:  # four slots and nine places in the queue for fifteen calls
            done, pending = await asyncio.wait(calls, timeout=0.1)
    assert {call.exception().code() for call in done} == {grpc.StatusCode.RESOURCE_EXHAUSTED}  # type: ignore[union-attr]
    assert app.quota.pieces == len(pending) == 13
    runner.go.set()
    await asyncio.gather(*pending)
    await until_nothing_is_held(app)


async def test_a_flood_on_one_connection_does_not_refuse_calls_of_others(
    app: App, connect: Connect, runner: ArithmeticRunner
) -> None:
    flooding = connect()
    flood = [start(flooding.Generate(pb.GenerateRequest(bars=16))) for _ in range(500)]

    async def honest(stub: "pb_grpc.GenerationServiceAsyncStub") -> None:
        for _ in range(5):
            response = await stub.Generate(pb.GenerateRequest(bars=1), timeout=30)
            assert response.pieces[0].length_ticks == 1920

    await asyncio.gather(*(honest(connect()) for _ in range(8)))
    async with asyncio.timeout(30):
        while sum(call.done() for call in flood) < 490:
            await asyncio.sleep(0.05)
    codes = []
    for call in flood:
        with suppress(asyncio.CancelledError):
            call.cancel()
            try:
                await call
            except grpc.aio.AioRpcError as error:
                codes.append(error.code())
    assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert len(codes) >= 490
    await until_nothing_is_held(app)
