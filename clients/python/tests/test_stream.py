"""Streams of both clients."""

import asyncio
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure

from clients.python.tests.conftest import piece_message, stream_messages
from fantasia.v1 import generation_pb2 as pb
from fantasia_client import (
    AsyncClient,
    CallCancelledError,
    Client,
    ClientClosedError,
    ConstraintsNotMetError,
    DeadlineExceededError,
    InvalidRequestError,
    Meter,
    MeterChange,
    Note,
    Retry,
    ServerError,
    ServerUnavailableError,
    StreamStart,
    TempoChange,
)
from fantasia_client.messages import parse_generation

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer

HIGH, LOW, LAST = Note(0, 480, 72, 80, 0), Note(0, 1440, 48, 70, 1), Note(1440, 1440, 48, 70, 0)
QUICK = Retry(initial_backoff_seconds=0.01, max_backoff_seconds=0.02)


def endless(server: "ScriptedServer", *, tokens: bool = False) -> Any:
    """A response that sends its first two messages and then waits for the end of the call."""

    def respond(_request: object, context: grpc.ServicerContext) -> Iterator[pb.StreamGenerateResponse]:
        context.add_callback(server.cancelled.set)
        yield from stream_messages(tokens=tokens)[:2]
        server.cancelled.wait(30)

    return respond


def then_fail(server: "ScriptedServer", code: grpc.StatusCode, *details: Any, messages: int = 1) -> Any:
    """A response that sends some messages and then this status."""

    def respond(request: object, context: grpc.ServicerContext) -> Iterator[pb.StreamGenerateResponse]:
        yield from stream_messages()[:messages]
        server.fail(code, "failed", *details)(request, context)

    return respond


async def test_a_stream_gives_its_notes_and_then_the_piece(server: "ScriptedServer", connect: "Connect") -> None:
    client = connect(server.address)
    updates = await client.updates(bars=2)
    assert [update.notes for update in updates] == [(HIGH,), (LOW,), (LAST,)]
    assert [update.sounding for update in updates] == [(LOW,), (), ()]
    assert [update.watermark_ticks for update in updates] == [480, 1440, 2880]
    assert [update.generation for update in updates] == [None, None, parse_generation(piece_message())]
    assert [update.piece and update.piece.seed for update in updates] == [None, None, 2**64 - 1]
    assert [update.start is None for update in updates] == [False, True, True]
    assert updates[0].start == StreamStart(
        ticks_per_quarter=480,
        seed=7,
        meter=Meter(3, 4),
        meter_known=True,
        pickup_ticks=0,
        tempo_bpm=90.0,
        tempo_changes=(TempoChange(960, 60.0),),
        programs=(19, 19),
        length_ticks=2880,
        meter_changes=(MeterChange(1440, Meter(6, 8)),),
    )
    assert server.requests == [pb.StreamGenerateRequest(request=pb.GenerateRequest(bars=2))]


def test_a_stream_knows_what_it_told(server: "ScriptedServer") -> None:
    with Client(server.address) as client, client.stream() as stream:
        assert (stream.start, stream.watermark_ticks, stream.piece, stream.resume_point) == (None, 0, None, None)
        first = next(stream)
        assert (stream.start, stream.watermark_ticks, stream.piece) == (first.start, 480, None)
        *_, last = stream
        assert (stream.start, stream.watermark_ticks) == (first.start, 2880)
        assert stream.piece == last.piece
        assert stream.generation == last.generation
        assert list(stream) == []


def test_a_closed_stream_is_cancelled_and_can_be_continued(server: "ScriptedServer") -> None:
    server.script.append(endless(server, tokens=True))
    with Client(server.address) as client:
        with client.stream(bars=2, seed=7, return_resume_token=True) as stream:
            for update in stream:
                if update.watermark_ticks == 1440:
                    break
        assert server.cancelled.wait(5)
        assert list(stream) == []
        stream.close()
        assert stream.piece is None
        assert stream.resume_point is not None
        assert stream.resume_token == b"token 1"
        client.generate(resume=stream.resume_point)
    assert server.requests[-1] == pb.GenerateRequest(bars=2, resume_token=b"token 1")


async def test_a_closed_asyncio_stream_is_cancelled_and_can_be_continued(server: "ScriptedServer") -> None:
    server.script.append(endless(server, tokens=True))
    async with AsyncClient(server.address) as client:
        async with client.stream(bars=2, return_resume_token=True) as stream:
            async for update in stream:
                if update.watermark_ticks == 1440:
                    break
        assert await asyncio.to_thread(server.cancelled.wait, 5)
        assert [update async for update in stream] == []
        await stream.close()
        assert stream.resume_point is not None
        await client.generate(resume=stream.resume_point, bars=4)
    assert server.requests[-1] == pb.GenerateRequest(bars=4, resume_token=b"token 1")


def test_the_resume_point_of_a_finished_stream_is_that_of_its_piece(server: "ScriptedServer") -> None:
    with Client(server.address) as client:
        stream = client.stream(return_resume_token=True)
        updates = list(stream)
    assert [update.resume_token for update in updates] == [b"token 0", b"token 1", b"token 2"]
    assert stream.piece is not None
    assert stream.resume_point == stream.piece.resume_point
    assert stream.resume_point is not None


def test_a_stream_that_another_thread_closes_ends(server: "ScriptedServer") -> None:
    server.script.append(endless(server))
    with Client(server.address) as client:
        stream = client.stream()
        next(stream)
        next(stream)
        closing = threading.Timer(0.05, stream.close)
        closing.start()
        assert list(stream) == []
        closing.join()


async def test_a_stream_that_another_task_closes_ends(server: "ScriptedServer") -> None:
    server.script.append(endless(server))
    async with AsyncClient(server.address) as client:
        stream = client.stream()
        await anext(stream)
        await anext(stream)
        reading = asyncio.create_task(anext(stream, None))
        await asyncio.sleep(0.05)
        await stream.close()
        assert await reading is None


async def test_a_cancelled_task_cancels_its_stream(server: "ScriptedServer") -> None:
    server.script.append(endless(server))
    seen = []

    async def read(client: AsyncClient) -> None:
        async for update in client.stream():
            seen.append(update)

    async with AsyncClient(server.address) as client:
        task = asyncio.create_task(read(client))
        while len(seen) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.cancelled.wait, 5)


async def test_closing_the_client_cancels_its_streams(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(endless(server))
    client = connect(server.address)
    reading = asyncio.create_task(client.updates())
    while not server.requests:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    await client("close")
    with pytest.raises(CallCancelledError):
        await reading
    with pytest.raises(ClientClosedError):
        await client.updates()


async def test_a_dropped_stream_is_cancelled(server: "ScriptedServer") -> None:
    server.script.append(endless(server))
    with Client(server.address) as client:
        next(client.stream())
        assert await asyncio.to_thread(server.cancelled.wait, 5)


# Errors


@pytest.mark.parametrize("messages", [0, 2])
async def test_a_refusal_is_translated(server: "ScriptedServer", connect: "Connect", messages: int) -> None:
    violation = BadRequest.FieldViolation(field="request.bars", description="must be 1 to 64, not 0")
    detail = BadRequest(field_violations=[violation])
    server.script.append(then_fail(server, grpc.StatusCode.INVALID_ARGUMENT, detail, messages=messages))
    with pytest.raises(InvalidRequestError, match=r"^bars: must be 1 to 64") as caught:
        await connect(server.address).updates(bars=0)
    assert [item.field for item in caught.value.violations] == ["bars"]


async def test_constraints_of_a_stream_are_named_as_arguments(server: "ScriptedServer", connect: "Connect") -> None:
    unmet = PreconditionFailure.Violation(subject="request.constraints.chords", description="left no token in bar 3")
    detail = PreconditionFailure(violations=[unmet])
    server.script.append(then_fail(server, grpc.StatusCode.FAILED_PRECONDITION, detail))
    with pytest.raises(ConstraintsNotMetError, match=r"^constraints\.chords: left no token") as caught:
        await connect(server.address).updates(bars=8)
    assert [item.field for item in caught.value.violations] == ["constraints.chords"]


async def test_the_deadline_covers_the_whole_stream(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(endless(server))
    with pytest.raises(DeadlineExceededError, match=r"within 0\.3 s"):
        await connect(server.address).updates(timeout_seconds=0.3)


async def test_a_stream_is_retried_before_its_first_message(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(then_fail(server, grpc.StatusCode.UNAVAILABLE, messages=0))
    updates = await connect(server.address, retry=QUICK).updates()
    assert len(updates) == 3
    assert len(server.requests) == 2


async def test_a_stream_is_not_retried_after_its_first_message(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(then_fail(server, grpc.StatusCode.UNAVAILABLE, messages=1))
    with pytest.raises(ServerUnavailableError):
        await connect(server.address, retry=QUICK).updates()
    assert len(server.requests) == 1


async def test_a_stream_from_an_unreachable_server_gives_the_cause(connect: "Connect") -> None:
    with pytest.raises(ServerUnavailableError, match=r"localhost:1 cannot be reached: .*refused"):
        await connect("localhost:1", retry=QUICK).updates()


async def test_a_stream_without_its_piece_is_a_server_error(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(lambda *_: iter(stream_messages()[:2]))
    with pytest.raises(ServerError, match="ended without the finished piece"):
        await connect(server.address).updates()


async def test_an_invalid_message_ends_the_stream(server: "ScriptedServer", connect: "Connect") -> None:
    wrong = pb.StreamGenerateResponse(start=pb.StreamStart(tempo_bpm=90))
    server.script.append(lambda *_: iter([wrong, *stream_messages()]))
    with pytest.raises(ServerError, match=r"start\.ticks_per_quarter is 0"):
        await connect(server.address).updates()


def test_a_wrong_argument_is_found_before_the_call(server: "ScriptedServer") -> None:
    with Client(server.address) as client, pytest.raises(InvalidRequestError, match="rewrite"):
        client.stream(rewrite=5)  # type: ignore[arg-type]
    assert server.requests == []
