"""The request reader on a real server, around the health service."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bench.http2_peer import CHECK, WATCH, Http2Peer
from server.rpc.context import Context
from server.rpc.interceptor import SERVICE
from server.rpc.logging_interceptor import CallObserver
from server.rpc.request_reader_interceptor import RequestReaderInterceptor
from tests.integration.statuses import rich_status

Bytes: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"
StreamOfBytes: TypeAlias = "grpc.aio.StreamUnaryMultiCallable[bytes, bytes]"
GENERATE = f"/{SERVICE.full_name}/Generate"
REQUEST = health_pb2.HealthCheckRequest()


class Recorder(CallObserver):
    """Records received and finished calls."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def received(self, method: str) -> None:
        self.events.append(method)

    def finished(self, method: str, code: str, seconds: float) -> None:
        self.events.append(f"{method} {code}")

    def first_note(self, model: str, version: int, seconds: float) -> None:
        raise AssertionError("no notes were written")

    def notes_written(self, model: str, version: int, notes: int) -> None:
        raise AssertionError("no notes were written")

    def pieces_evaluated(self, model: str, version: int, pieces: int) -> None:
        raise AssertionError("no pieces were evaluated")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def never(request: bytes, context: Context) -> bytes:
    raise AssertionError("no request was whole")


@pytest.fixture
async def address(recorder: Recorder) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[RequestReaderInterceptor(recorder, 1, seconds=0.5)])
    ours: dict[str, Any] = {"Generate": grpc.unary_unary_rpc_method_handler(never)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, ours),))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def ended(peer: Http2Peer, stream: int) -> None:
    async with asyncio.timeout(30):
        while stream not in peer.ended:
            await asyncio.sleep(0.01)


async def test_calls_with_one_answer_and_with_many_are_read(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(REQUEST)).status == health_pb2.HealthCheckResponse.SERVING
        assert (await stub.Watch(REQUEST).read()).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("path", [CHECK, WATCH])
async def test_a_request_that_never_arrives_is_refused(address: str, path: str) -> None:
    with Http2Peer(address) as peer:
        (stream,) = peer.open(1, path)
        await ended(peer, stream)


async def test_a_call_waits_only_for_calls_of_its_own_connection(address: str) -> None:
    with Http2Peer(address) as peer, Http2Peer(address) as other:
        (first,) = peer.open(1, CHECK)
        second = peer.call(b"", CHECK)
        await asyncio.gather(*(ended(other, other.call(b"", CHECK)) for _ in range(10)))
        assert not peer.ended
        await ended(peer, second)
        assert first in peer.ended


async def test_a_cancelled_call_makes_room(address: str) -> None:
    with Http2Peer(address) as peer:
        peer.open_and_reset(50, CHECK)
        await ended(peer, peer.call(b"", CHECK))


async def test_bytes_that_are_no_message_are_the_callers_mistake(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call: Bytes = channel.unary_unary(CHECK)
        code, status = await rich_status(call(b"\xff\xff"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "grpc.health.v1.Health/Check" in status.message


async def test_a_call_without_a_message_is_the_callers_mistake(address: str) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield

    async with grpc.aio.insecure_channel(address) as channel:
        call: StreamOfBytes = channel.stream_unary(CHECK)
        code, _ = await rich_status(call(nothing()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_calls_that_the_reader_refuses_are_counted_and_logged(
    address: str, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield

    caplog.set_level("INFO", "server.rpc.logging_interceptor")
    async with grpc.aio.insecure_channel(address) as channel:
        call: StreamOfBytes = channel.stream_unary(GENERATE)
        code, status = await rich_status(call(nothing(), metadata=(("x-request-id", "mine"),)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.message == "the request is not a valid fantasia.v1.GenerateRequest message"
    with Http2Peer(address) as peer:
        (stream,) = peer.open(1, GENERATE)
        await ended(peer, stream)

    assert recorder.events == ["Generate", "Generate INVALID_ARGUMENT", "Generate", "Generate DEADLINE_EXCEEDED"]
    lines = [record.__dict__["fields"] for record in caplog.records if record.name == "server.rpc.logging_interceptor"]
    assert [(line["method"], line["code"]) for line in lines] == [
        ("Generate", "INVALID_ARGUMENT"),
        ("Generate", "DEADLINE_EXCEEDED"),
    ]
    assert lines[0]["request_id"] == "mine"
    assert all(line["peer"].startswith("127.0.0.1:") and line["reason"] for line in lines)
