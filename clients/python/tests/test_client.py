import asyncio
import inspect
import math
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from clients.python.tests.conftest import piece_message
from fantasia.v1 import generation_pb2 as pb
from fantasia_client import (
    AsyncClient,
    CallCancelledError,
    Client,
    ClientClosedError,
    DeadlineExceededError,
    Retry,
    ServerUnavailableError,
)

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer

QUICK = Retry(initial_backoff_seconds=0.01, max_backoff_seconds=0.02)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


# Deadlines and cancelling


async def test_the_default_deadline_ends_a_call_and_frees_the_server(
    server: "ScriptedServer", connect: "Connect"
) -> None:
    server.script.append(server.hang)
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"did not answer within 0\.3 s"):
        await connect(server.address, timeout_seconds=0.3)("generate")
    assert 0.25 < time.monotonic() - started < 5
    assert await asyncio.to_thread(server.cancelled.wait, 5)


async def test_a_call_may_have_a_deadline_of_its_own(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(server.hang)
    with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
        await connect(server.address)("generate", timeout_seconds=0.2)


async def test_the_minimum_deadline_works(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(server.hang)
    with pytest.raises(DeadlineExceededError, match=r"within 0\.01 s"):
        await connect(server.address)("generate", timeout_seconds=0.01)


async def test_the_deadline_is_sent_to_the_server(server: "ScriptedServer", connect: "Connect") -> None:
    remaining: list[float] = []

    def measure(_request: object, context: grpc.ServicerContext) -> pb.GenerateResponse:
        remaining.append(context.time_remaining())
        return piece_message()

    server.script.extend([measure, measure])
    client = connect(server.address, timeout_seconds=29.5)  # gRPC sends tenths of a second, rounded up
    await client("generate")
    await client("generate", timeout_seconds=math.inf)
    assert 20 < remaining[0] <= 30
    assert remaining[1] is None or remaining[1] > 1e6


@pytest.mark.parametrize("timeout", [0, -1, 1e-9, 0.009, math.nan, "5", (5,)])
async def test_an_invalid_timeout_is_refused(server: "ScriptedServer", connect: "Connect", timeout: float) -> None:
    with pytest.raises(ValueError, match=r"timeout_seconds must be a number of at least 0\.01 seconds"):
        connect(server.address, timeout_seconds=timeout)
    with pytest.raises(ValueError, match=r"timeout_seconds must be a number of at least 0\.01 seconds"):
        await connect(server.address)("generate", timeout_seconds=timeout)
    assert server.requests == []


async def test_a_cancelled_task_cancels_its_call(server: "ScriptedServer") -> None:
    server.script.append(server.hang)
    async with AsyncClient(server.address) as client:
        task = asyncio.create_task(client.generate())
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(server.cancelled.wait, 5)


async def test_closing_cancels_running_calls(server: "ScriptedServer") -> None:
    server.script.append(server.hang)
    client = Client(server.address)
    task = asyncio.create_task(asyncio.to_thread(client.generate))
    while not server.requests:
        await asyncio.sleep(0.01)
    client.close()
    with pytest.raises(CallCancelledError):
        await task


# Connections


async def test_nothing_listens_at_the_address(connect: "Connect") -> None:
    address = free_address()
    with pytest.raises(ServerUnavailableError, match=rf"^{address} cannot be reached: .*refused") as caught:
        await connect(address, retry=QUICK)("generate")
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["client", "call"])
async def test_wait_for_ready_waits_for_the_server(
    idle_server: "ScriptedServer", connect: "Connect", where: str
) -> None:
    address = free_address()
    client = connect(address, wait_for_ready=where == "client", retry=Retry(attempts=1))
    options = {"wait_for_ready": True} if where == "call" else {}
    task = asyncio.create_task(client("generate", timeout_seconds=20, **options))
    await asyncio.sleep(0.2)
    assert not task.done()
    await asyncio.to_thread(idle_server.start, address)
    assert (await task).bars == 2


async def test_a_closed_client_raises_an_error(server: "ScriptedServer", connect: "Connect") -> None:
    client = connect(server.address)
    await client("generate")
    await client("close")
    await client("close")
    for method in ("generate", "list_models", "get_model", "health"):
        with pytest.raises(ClientClosedError, match="is closed"):
            await client(method)


async def test_leaving_the_block_closes_the_client(server: "ScriptedServer") -> None:
    with Client(server.address) as client:
        client.generate()
    with pytest.raises(ClientClosedError):
        client.generate()
    async with AsyncClient(server.address) as async_client:
        await async_client.generate()
    with pytest.raises(ClientClosedError):
        await async_client.generate()


@pytest.mark.parametrize("address", [" ", "http://localhost:50051", "localhost:70000"])
async def test_the_constructor_checks_the_address(connect: "Connect", address: str) -> None:
    with pytest.raises(ValueError, match="server's address"):
        connect(address)


def test_the_asyncio_client_needs_a_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        AsyncClient("localhost:1")


# The package


def test_both_clients_have_the_same_methods() -> None:
    def surface(client: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(function).replace(return_annotation=None)
            for name, function in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    assert surface(Client) == surface(AsyncClient)
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    assert set(surface(Client)) == {
        "generate", "generate_many", "stream", "evaluate", "list_models", "list_unavailable_models", "get_model",
        "health", "close",
    }  # fmt: skip


def test_importing_the_client_imports_no_heavy_package() -> None:
    heavy = {"music", "server", "training", "torch", "music21", "numpy", "matplotlib", "onnxruntime"}
    code = f"import sys, fantasia_client, fantasia_client.cli; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert result.stdout.strip() == "[]"
