"""The log lines of calls over a real socket."""

import asyncio
import logging
from typing import Any, TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import RequestInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.app import App
from server.logs import JsonFormatter, LogfmtFormatter
from tests.integration.arithmetic_runner import ArithmeticRunner
from tests.integration.scraping import scrape_until
from tests.integration.statuses import rich_status

Stub: TypeAlias = "pb_grpc.GenerationServiceAsyncStub"  # known to type checkers only
MINE = (("x-request-id", "cafe-1"),)


@pytest.fixture(autouse=True)
def log_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def lines(app: App, caplog: pytest.LogCaptureFixture, count: int) -> list[dict[str, Any]]:
    """The fields of the log lines of calls, once `count` calls have finished."""
    await scrape_until(app, "fantasia_requests_finished_total", count)
    return [record.__dict__["fields"] for record in caplog.records if record.msg == "call"]


async def test_an_answer_is_one_line_and_has_the_request_id(
    stub: Stub, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    call = stub.Generate(pb.GenerateRequest(bars=2), metadata=MINE)
    await call
    trailing = dict(await call.trailing_metadata())
    (fields,) = await lines(app, caplog, 1)

    assert trailing["x-request-id"] == "cafe-1"
    assert fields["peer"].startswith("127.0.0.1:")
    assert {key: fields[key] for key in ("method", "code", "request_id", "model", "length")} == {
        "method": "Generate",
        "code": "OK",
        "request_id": "cafe-1",
        "model": "quartet",
        "length": "bars:2",
    }


async def test_a_call_without_an_id_gets_one(stub: Stub, app: App, caplog: pytest.LogCaptureFixture) -> None:
    call = stub.ListModels(pb.ListModelsRequest())
    await call
    trailing = dict(await call.trailing_metadata())
    (fields,) = await lines(app, caplog, 1)

    assert fields["request_id"] == trailing["x-request-id"]
    assert len(fields["request_id"]) == 16


async def test_every_refused_call_is_one_line_with_its_reason(
    stub: Stub, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    requests = [
        pb.GenerateRequest(bars=-1, program=200),
        pb.GenerateRequest(model="nemo\nlevel=error", steps=7),
    ]
    for request in requests:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Generate(request, metadata=MINE)
        metadata = dict(caught.value.trailing_metadata())
        assert metadata["x-request-id"] == "cafe-1"
        assert "grpc-status-details-bin" in metadata
    invalid, unknown = await lines(app, caplog, 2)

    assert (invalid["code"], invalid["length"], invalid["model"]) == ("INVALID_ARGUMENT", "bars:-1", "quartet")
    assert invalid["reason"] == "program must be 0 to 127, not 200; bars must be 1 to 32, not -1"
    assert (unknown["code"], unknown["length"], unknown["model"]) == ("NOT_FOUND", "steps:7", "nemo\nlevel=error")
    assert "nemo" in unknown["reason"]
    for fields in (invalid, unknown):
        assert fields["request_id"] == "cafe-1"
        assert fields["peer"].startswith("127.0.0.1:")
        assert fields["seconds"] > 0


async def test_a_call_past_its_deadline_is_one_line_with_its_peer(
    stub: Stub, app: App, runner: ArithmeticRunner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.run_seconds = 0.02  # longer than the deadline for the whole piece
    calls = [stub.Generate(pb.GenerateRequest(bars=32), timeout=1.0) for _ in range(3)]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    runner.run_seconds = 0.0

    assert [end.code() for end in ends if isinstance(end, grpc.RpcError)] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 3
    for fields in await lines(app, caplog, 3):
        # The client hangs up at its deadline, which may be before ours.
        assert fields["code"] in ("DEADLINE_EXCEEDED", "CANCELLED")
        assert fields["peer"].startswith("127.0.0.1:")


async def test_a_fault_is_logged_with_the_request_id_of_the_caller(
    stub: Stub, app: App, runner: ArithmeticRunner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.fail = True
    code, status = await rich_status(stub.Generate(pb.GenerateRequest(bars=1), metadata=MINE))
    runner.fail = False
    info = RequestInfo()
    (fields,) = await lines(app, caplog, 1)
    (fault,) = [record for record in caplog.records if record.msg == "fault"]

    assert code is grpc.StatusCode.INTERNAL
    assert status.details[0].Unpack(info)
    assert info.request_id == fields["request_id"] == fault.__dict__["fields"]["request_id"] == "cafe-1"
    assert "cafe-1" in fields["reason"]
    assert "secret" not in fields["reason"]


async def test_neither_music_nor_tokens_nor_headers_are_logged(
    stub: Stub, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    requests = [
        pb.GenerateRequest(bars=1, given=pb.GivenPiece(midi=b"MThd" + b"hidden" * 40)),
        pb.GenerateRequest(bars=1, resume_token=b"hidden" * 40),
        pb.GenerateRequest(bars=1, return_resume_token=True, seed=1),
    ]
    metadata = (*MINE, ("authorization", "Bearer hidden"), ("x-hidden", "hidden"), ("x-hidden-bin", b"hidden"))
    answers = [
        await asyncio.gather(stub.Generate(each, metadata=metadata), return_exceptions=True) for each in requests
    ]
    (piece,) = answers[-1][0].pieces  # type: ignore[union-attr]
    assert len(await lines(app, caplog, len(requests))) == len(requests)

    for formatter in (LogfmtFormatter(), JsonFormatter()):
        text = "\n".join(map(formatter.format, caplog.records))
        assert "cafe-1" in text
        for hidden in ("hidden", "aGlkZGVu", str(piece.resume_token)[2:20], str(piece.midi)[2:20]):
            assert hidden not in text


async def test_health_checks_are_not_logged(
    channel: grpc.aio.Channel, stub: Stub, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    await stub.ListModels(pb.ListModelsRequest())

    assert [fields["method"] for fields in await lines(app, caplog, 1)] == ["ListModels"]
