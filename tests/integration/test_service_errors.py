"""The errors that callers get, over a real socket."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, RequestInfo, ResourceInfo, RetryInfo

import server.rpc.responses
from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from fantasia_client import AsyncClient, MessageTooLargeError
from music.score import Score
from server.app import App
from tests.integration.arithmetic_runner import ArithmeticRunner
from tests.integration.scraping import scrape_until
from tests.integration.statuses import rich_status

Stub: TypeAlias = "pb_grpc.GenerationServiceAsyncStub"  # known to type checkers only
Bytes: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"


async def test_every_invalid_field_is_named(stub: Stub) -> None:
    request = pb.GenerateRequest(bars=-1, program=200, sampling=pb.Sampling(temperature=float("nan"), top_p=0))
    code, status = await rich_status(stub.Generate(request))
    bad_request = BadRequest()

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.details[0].Unpack(bad_request)
    assert {(violation.field, violation.description) for violation in bad_request.field_violations} == {
        ("bars", "must be 1 to 32, not -1"),
        ("program", "must be 0 to 127, not 200"),
        ("sampling.temperature", "must be 0.01 to 10, not nan"),
        ("sampling.top_p", "must be above 0 and at most 1, not 0.0"),
    }


async def test_constraints_that_leave_no_token_while_a_piece_is_written_are_named(app: App, stub: Stub) -> None:
    """Each bar has one pitch a voice, and from one to the other all voices move in octaves."""
    chords = [pb.Chord(pitch_classes=pb.PitchClasses(values=[pitch_class])) for pitch_class in (0, 2)]
    ranges = [pb.VoiceRange(voice=voice, lowest=low, highest=low + 2) for voice, low in enumerate((72, 60, 48, 36))]
    constraints = pb.Constraints(
        chords=pb.ChordProgression(chords=chords), ranges=ranges, no_rests=True, no_parallels=True
    )
    request = pb.GenerateRequest(bars=2, constraints=constraints, seed=1)
    many = pb.GenerateRequest(bars=2, constraints=constraints, seed=1, candidates=3)
    messages: list[pb.StreamGenerateResponse] = []

    async def stream() -> None:
        async for message in stub.StreamGenerate(pb.StreamGenerateRequest(request=request)):
            messages.append(message)

    text = "bar 2 leaves voice 0 no token that satisfies all constraints"
    for call, subject in (
        (stub.Generate(request), "constraints.no_parallels"),
        (stub.Generate(many), "constraints.no_parallels"),
        (stream(), "request.constraints.no_parallels"),
    ):
        code, status = await rich_status(call)
        failure = PreconditionFailure()
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert status.message == f"constraints.no_parallels: {text}"
        assert status.details[0].Unpack(failure)
        assert [(each.type, each.subject, each.description) for each in failure.violations] == [
            ("CONSTRAINTS", subject, text)
        ]
    assert messages[-1].watermark_ticks <= 1920
    assert {note.pitch % 12 for message in messages for note in message.sounding} == {0}
    found = await scrape_until(app, "fantasia_sequences_finished_total", 3, outcome="constraints")
    assert found.sum("fantasia_slots_used") == 0


async def test_an_unknown_model_is_not_found(stub: Stub) -> None:
    calls: dict[str, Awaitable[object]] = {
        "model": stub.Generate(pb.GenerateRequest(model="nemo")),
        "name": stub.GetModel(pb.GetModelRequest(name="nemo")),
    }
    for field, call in calls.items():
        code, status = await rich_status(call)
        resource, bad_request = ResourceInfo(), BadRequest()

        assert code is grpc.StatusCode.NOT_FOUND
        assert status.details[0].Unpack(resource)
        assert resource.resource_name == "nemo"
        assert status.details[1].Unpack(bad_request)
        assert bad_request.field_violations[0].field == field
        assert "quartet" in bad_request.field_violations[0].description


async def test_an_unknown_model_does_not_hide_what_else_is_wrong(stub: Stub) -> None:
    request = pb.GenerateRequest(
        model="nemo",
        seconds=-1.0,
        program=128,
        tempo_bpm=9.0,
        meter=pb.Meter(numerator=4, denominator=3),
        sampling=pb.Sampling(temperature=0.0, top_k=-1, top_p=2.0),
    )
    code, status = await rich_status(stub.Generate(request))
    resource, bad_request = ResourceInfo(), BadRequest()

    assert code is grpc.StatusCode.NOT_FOUND
    assert status.details[0].Unpack(resource)
    assert status.details[1].Unpack(bad_request)
    assert [violation.field for violation in bad_request.field_violations] == [
        "model",
        "sampling.temperature",
        "sampling.top_k",
        "sampling.top_p",
        "tempo_bpm",
        "program",
        "meter",
        "seconds",
    ]


async def test_a_name_of_any_length_gets_an_answer(stub: Stub) -> None:
    code, _ = await rich_status(stub.Generate(pb.GenerateRequest(model="ä\n" * 100_000)))

    assert code is grpc.StatusCode.NOT_FOUND


async def test_a_full_queue_gives_a_retry_delay(stub: Stub, app: App, runner: ArithmeticRunner) -> None:
    runner.go.clear()
    room = runner.slots + 2
    inside = [asyncio.ensure_future(stub.Generate(pb.GenerateRequest(bars=1))) for _ in range(room)]
    await scrape_until(app, "fantasia_sequences_in_flight", room)
    code, status = await rich_status(stub.Generate(pb.GenerateRequest(bars=1)))
    retry = RetryInfo()
    runner.go.set()

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() > 0
    assert len(await asyncio.gather(*inside)) == room
    assert (await stub.Generate(pb.GenerateRequest(bars=1))).pieces[0].length_ticks == 1920


async def test_a_failing_model_is_internal_without_details(
    stub: Stub, runner: ArithmeticRunner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.fail = True
    code, status = await rich_status(stub.Generate(pb.GenerateRequest(bars=1)))
    runner.fail = False
    info = RequestInfo()

    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(status)
    assert status.details[0].Unpack(info)
    (record,) = [record for record in caplog.records if record.msg == "fault"]
    assert record.__dict__["fields"] == {"method": "Generate", "request_id": info.request_id}
    assert "secret" in caplog.text
    assert (await stub.Generate(pb.GenerateRequest(bars=1))).pieces[0].length_ticks == 1920


async def test_a_bug_is_internal_and_logged(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(score: Score) -> bytes:
        raise ZeroDivisionError("the secret of the bug")

    monkeypatch.setattr(server.rpc.responses, "write_midi", broken)
    with caplog.at_level(logging.ERROR):
        code, status = await rich_status(stub.Generate(pb.GenerateRequest(bars=1)))

    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(status)
    assert "Traceback" not in str(status)
    assert "ZeroDivisionError: the secret of the bug" in caplog.text


async def test_a_message_that_is_too_long_is_refused(stub: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Generate(pb.GenerateRequest(model="x" * (2 << 20)))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_client_gets_the_limit(app: App) -> None:
    async with AsyncClient(app.address) as client:
        with pytest.raises(MessageTooLargeError, match=r"request is too large: 2,097,157 bytes; .* 1,048,576 bytes"):
            await client.generate(model="x" * (2 << 20))


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("Generate", b"\xff\xff\xff"),
        ("Generate", b"\x0a\x02\xc3\x28"),  # a model's name that is not UTF-8
        ("GetModel", b"\x0a\x05no"),  # a name that ends too soon
        ("ListModels", b"\x07"),
    ],
)
async def test_bytes_that_are_no_message_are_the_callers_mistake(
    app: App, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, method: str, data: bytes
) -> None:
    with caplog.at_level(logging.INFO):
        call: Bytes = channel.unary_unary(f"/fantasia.v1.GenerationService/{method}")
        code, status = await rich_status(call(data))
        found = await scrape_until(app, "fantasia_requests_finished_total", 1, method=method, code="INVALID_ARGUMENT")

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.message == f"the request is not a valid fantasia.v1.{method}Request message"
    assert found.sum("fantasia_requests_received_total", method=method) == 1
    assert [record.levelname for record in caplog.records if record.levelno > logging.INFO] == []
    assert "Traceback" not in caplog.text


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/fantasia.v1.GenerationService/Improvise", bytes, bytes)(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
