"""`StreamGenerate` over a real socket, with the real engine."""

import asyncio
import logging
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import BadRequest

import server.rpc.spec_builder
from bench.fuzz.statuses import path_problem
from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.app import App
from tests.integration.arithmetic_runner import ArithmeticRunner
from tests.integration.scraping import scrape, scrape_until
from tests.integration.statuses import rich_status

Stub: TypeAlias = "pb_grpc.GenerationServiceAsyncStub"  # known to type checkers only


def streamed(**fields: object) -> pb.StreamGenerateRequest:
    return pb.StreamGenerateRequest(request=pb.GenerateRequest(**fields))  # type: ignore[arg-type]


async def test_the_first_message_comes_with_the_first_tokens(stub: Stub, runner: ArithmeticRunner) -> None:
    runner.run_seconds = 0.05
    messages = aiter(stub.StreamGenerate(streamed(bars=4, seed=7)))
    first = await anext(messages)

    assert first.start.ticks_per_quarter == 480
    assert (first.start.seed, first.start.length_ticks, first.start.tempo_bpm) == (7, 4 * 1920, 96.0)
    assert first.start.meter == pb.Meter(numerator=4, denominator=4)
    assert list(first.start.programs) == [19] * 4
    assert first.watermark_ticks < 1920, "the piece is not nearly complete"
    assert not first.HasField("response")
    assert first.sounding
    rest = [message async for message in messages]
    assert len(rest) > 2
    assert rest[-1].response.pieces[0].length_ticks == 4 * 1920


@pytest.mark.parametrize("fields", [{"bars": 4}, {"bars": 2, "candidates": 3}])
async def test_the_first_note_of_a_stream_is_measured_once(
    stub: Stub, app: App, runner: ArithmeticRunner, fields: dict[str, Any]
) -> None:
    runner.run_seconds = 0.02
    async for _ in stub.StreamGenerate(streamed(**fields)):
        pass
    found = await scrape_until(app, "fantasia_requests_finished_total", 1)

    first_note = found.sum("fantasia_first_note_duration_seconds_sum", model="quartet")
    assert found.sum("fantasia_first_note_duration_seconds_count", model="quartet") == 1
    assert 0.02 <= first_note < found.sum("fantasia_request_duration_seconds_sum", method="StreamGenerate")


@pytest.mark.parametrize(
    ("bars", "fields", "certain_ticks"),
    [
        (4, {}, 4 * 1920),
        (18, {"candidates": 1}, 18 * 1920),
        (4, {"candidates": 3}, 4 * 1920),
        (4, {"omit_given": True}, 0),
        (4, {"rewrite": [pb.Region(bars=pb.BarRange(first=3, last=3))], "candidates": 1}, 2 * 1920),
        (4, {"rewrite": [pb.Region(bars=pb.BarRange(first=3, last=3))], "candidates": 2}, 2 * 1920),
        (4, {"rewrite": [pb.Region(bars=pb.BarRange(first=1, last=3))], "candidates": 1}, 0),
    ],
)
async def test_given_notes_come_before_they_are_prefilled(
    stub: Stub, runner: ArithmeticRunner, bars: int, fields: dict[str, Any], certain_ticks: int
) -> None:
    melody = [pb.Note(onset_ticks=480 * i, duration_ticks=480, pitch=60 + i % 5, velocity=70) for i in range(4 * bars)]
    length: dict[str, Any] = {} if "rewrite" in fields else {"bars": 2}
    given = pb.GivenPiece(notes=pb.NoteList(notes=melody))
    request = pb.StreamGenerateRequest(
        request=pb.GenerateRequest(given=given, seed=3, **length, **fields), resume_tokens=True
    )
    runner.go.clear()
    messages = aiter(stub.StreamGenerate(request))
    first = await anext(messages)

    assert first.start.seed == 3
    assert first.watermark_ticks == certain_ticks
    assert list(first.notes) == [note for note in melody if note.onset_ticks < certain_ticks]
    assert not first.resume_token
    runner.go.set()
    rest = [message async for message in messages]
    response = await stub.Generate(request.request)
    response.timing.CopyFrom(rest[-1].response.timing)
    assert rest[-1].response == response
    assert not any(message.HasField("start") for message in rest)
    notes = [note for message in (first, *rest) for note in message.notes]
    ends = [note.onset_ticks + note.duration_ticks for note in notes]
    assert ends == sorted(ends)
    assert sorted(notes, key=lambda note: (note.onset_ticks, note.voice)) == list(response.pieces[0].notes)


@pytest.mark.slow
async def test_a_slow_reader_holds_back_only_itself_in_bounded_memory(
    app: App, runner: ArithmeticRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large resume tokens fill the windows of HTTP/2 with the messages of a few of the 128 chunks.

    A client of gRPC enlarges its windows without `bdp_probe=0`, and holds all messages itself.
    """
    noise = np.random.default_rng(1).integers(0, 256, 12_000).astype(np.uint8)
    state = runner.state
    monkeypatch.setattr(runner, "state", lambda slot: {**state(slot), "noise": noise})
    runner.run_seconds = 0.002
    request = pb.StreamGenerateRequest(request=pb.GenerateRequest(steps=256, seed=7), resume_tokens=True)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
    async with (
        grpc.aio.insecure_channel(app.address, options) as channel,
        grpc.aio.insecure_channel(app.address, options) as other_channel,
    ):
        stub, other = pb_grpc.GenerationServiceStub(channel), pb_grpc.GenerationServiceStub(other_channel)
        call = stub.StreamGenerate(request)
        first = await call.read()
        for caller in (stub, other):
            assert (await caller.Generate(pb.GenerateRequest(bars=1, seed=1))).pieces
            quick = [message async for message in caller.StreamGenerate(streamed(bars=1, seed=1))]
            assert quick[-1].HasField("response")
        found = await scrape_until(app, "fantasia_sequences_finished_total", 5, outcome="length")
        assert found.sum("fantasia_slots_used") == 0, "the engine does not wait for the reader"
        messages: list[Any] = [first]
        while isinstance(message := await call.read(), pb.StreamGenerateResponse):
            messages.append(message)
        runner.run_seconds = 0.0
        response = await stub.Generate(request.request)

    assert len(messages[0].resume_token) > len(noise)
    assert 2 < len(messages) < 32
    response.timing.CopyFrom(messages[-1].response.timing)
    assert messages[-1].response == response
    notes = [note for message in messages for note in message.notes]
    assert sorted(notes, key=lambda note: (note.onset_ticks, note.voice)) == list(response.pieces[0].notes)


async def test_a_stream_of_unknown_length_has_no_length(stub: Stub) -> None:
    messages = [message async for message in stub.StreamGenerate(streamed(seed=3))]

    assert messages[0].start.length_ticks == 0
    assert messages[-1].response.pieces[0].finish_reason == pb.FINISH_REASON_END


async def test_a_cancelled_stream_frees_its_slot(stub: Stub, app: App, runner: ArithmeticRunner) -> None:
    runner.run_seconds = 0.02
    for _ in range(3):
        call = stub.StreamGenerate(streamed(steps=512))
        await call.read()
        call.cancel()
    found = await scrape_until(app, "fantasia_sequences_finished_total", 3, model="quartet", outcome="cancelled")
    assert found.sum("fantasia_slots_used") == 0
    await scrape_until(app, "fantasia_requests_finished_total", 3, method="StreamGenerate", code="CANCELLED")
    assert app.quota.pieces == 0


async def test_a_connection_may_have_many_streams(stub: Stub, runner: ArithmeticRunner) -> None:
    """More than it may have health watches; what bounds them is the quota, the queue and the slots."""

    async def last(seed: int) -> bytes:
        messages = [message async for message in stub.StreamGenerate(streamed(bars=2, seed=seed))]
        return messages[-1].response.pieces[0].midi

    pieces = [await asyncio.gather(*(last(seed) for seed in range(start, start + 4))) for start in (0, 4, 8)]
    alone = [(await stub.Generate(pb.GenerateRequest(bars=2, seed=seed))).pieces[0].midi for seed in range(12)]
    assert [midi for each in pieces for midi in each] == alone


async def test_errors_of_a_stream_are_those_of_generate(
    stub: Stub, runner: ArithmeticRunner, caplog: pytest.LogCaptureFixture
) -> None:
    for request, expected in (
        (streamed(bars=-1), grpc.StatusCode.INVALID_ARGUMENT),
        (streamed(model="nemo"), grpc.StatusCode.NOT_FOUND),
    ):
        code, status = await rich_status(stub.StreamGenerate(request).read())
        unary_code, unary_status = await rich_status(stub.Generate(request.request))
        assert (code, status.message) == (unary_code, unary_status.message)
        assert code is expected
        found, unary = BadRequest(), BadRequest()
        assert status.details[-1].Unpack(found)
        assert unary_status.details[-1].Unpack(unary)
        assert [path_problem(request, wrong.field) for wrong in found.field_violations] == [""]
        for wrong in unary.field_violations:
            wrong.field = f"request.{wrong.field}"
        assert found == unary
    runner.fail = True
    code, status = await rich_status(stub.StreamGenerate(streamed(bars=1)).read())
    runner.fail = False
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(status)


async def test_a_model_without_resume_tokens_refuses_the_fields_that_ask_for_them(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.rpc.spec_builder, "can_resume", lambda bundle: False)
    asking = streamed(bars=1, return_resume_token=True)
    for request, fields in (
        (pb.StreamGenerateRequest(request=pb.GenerateRequest(bars=1), resume_tokens=True), ["resume_tokens"]),
        (asking, ["request.return_resume_token"]),
        (
            pb.StreamGenerateRequest(request=asking.request, resume_tokens=True),
            ["request.return_resume_token", "resume_tokens"],
        ),
    ):
        code, status = await rich_status(stub.StreamGenerate(request).read())
        found = BadRequest()
        assert status.details[-1].Unpack(found)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert [wrong.field for wrong in found.field_violations] == fields
        assert [path_problem(request, field) for field in fields] == [""] * len(fields)
    assert "return_resume_token is not supported by this model: its state has 64 bytes" in status.message


async def test_a_stream_is_logged_and_counted(app: App, stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        messages = [message async for message in stub.StreamGenerate(streamed(bars=2, seed=1))]
        found = await scrape_until(app, "fantasia_requests_finished_total", 1, method="StreamGenerate", code="OK")

    assert found.sum("fantasia_notes_total") == len(messages[-1].response.pieces[0].notes)
    (record,) = [record for record in caplog.records if record.msg == "call"]
    fields = record.__dict__["fields"]
    assert (fields["method"], fields["model"], fields["length"]) == ("StreamGenerate", "quartet", "bars:2")


async def test_a_deadline_ends_a_stream(stub: Stub, app: App, runner: ArithmeticRunner) -> None:
    runner.run_seconds = 0.1
    call = stub.StreamGenerate(streamed(bars=32), timeout=0.5)  # longer than the deadline, whatever the seed
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await scrape_until(app, "fantasia_sequences_finished_total", 1, model="quartet", outcome="cancelled")


async def test_a_length_that_cannot_be_met_is_refused_at_once(stub: Stub, app: App, runner: ArithmeticRunner) -> None:
    runner.run_seconds = 0.05
    await stub.Generate(pb.GenerateRequest(bars=1))  # the engine learns how long a step takes
    for call in (
        stub.Generate(pb.GenerateRequest(steps=512), timeout=0.5),
        stub.StreamGenerate(streamed(steps=512), timeout=0.5).read(),
    ):
        code, status = await rich_status(call)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert status.message.startswith("steps takes about ")
        assert "steps would fit" in status.message
    assert (await scrape(app)).sum("fantasia_sequences_submitted_total") == 1


async def test_a_running_stream_finishes_while_the_server_drains(
    app: App, stub: Stub, runner: ArithmeticRunner
) -> None:
    runner.run_seconds = 0.02
    messages = aiter(stub.StreamGenerate(streamed(bars=2, seed=1)))
    await anext(messages)
    drained = asyncio.ensure_future(app._drain())
    rest = [message async for message in messages]
    await drained
    assert rest[-1].response.pieces[0].length_ticks == 2 * 1920
