"""How calls are counted and logged."""

import asyncio
import logging
from typing import Any, cast

import grpc
import pytest

from fantasia.v1 import generation_pb2 as pb
from server.logs import LogfmtFormatter
from server.rpc.context import Context
from server.rpc.interceptor import Call, Method
from server.rpc.logging_interceptor import CallObserver, LoggingInterceptor

OK = pb.GenerateResponse()


class CodeRecorder(CallObserver):
    def __init__(self) -> None:
        self.codes: list[str] = []
        self.received_count = 0

    def received(self, method: str) -> None:
        self.received_count += 1

    def finished(self, method: str, code: str, seconds: float) -> None:
        self.codes.append(code)

    def first_note(self, model: str, version: int, seconds: float) -> None:
        raise AssertionError("no notes were written")

    def notes_written(self, model: str, version: int, notes: int) -> None:
        raise AssertionError("no notes were written")

    def pieces_evaluated(self, model: str, version: int, pieces: int) -> None:
        raise AssertionError("no pieces were evaluated")


class FakeContext:
    """The parts of a servicer context that logging uses."""

    def __init__(
        self, *metadata: tuple[str, str | bytes], peer: str = "ipv4:192.0.2.7:4711", left: float | None = None
    ):
        self._metadata = metadata
        self._peer = peer
        self._left = left
        self._code = grpc.StatusCode.OK
        self.sent: tuple[tuple[str, str], ...] = ()

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.sent

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.sent = metadata

    def peer(self) -> str:
        return self._peer

    def time_remaining(self) -> float | None:
        return self._left

    def refuse(self) -> None:
        self._code = grpc.StatusCode.RESOURCE_EXHAUSTED
        raise grpc.aio.AbortError

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "" if self._code is grpc.StatusCode.OK else "the queue is full"


async def answer(request: object, context: Context) -> pb.GenerateResponse:
    return OK


async def refuse(request: object, context: Context) -> None:
    cast(FakeContext, context).refuse()


async def be_cancelled(request: object, context: Context) -> None:
    raise asyncio.CancelledError


def method(name: str = "Generate") -> Method:
    return Method(f"/fantasia.v1.GenerationService/{name}", request_streaming=False, response_streaming=False)


async def logged(
    caplog: pytest.LogCaptureFixture,
    call: Call = answer,
    context: FakeContext | None = None,
    request: object = None,
    name: str = "Generate",
) -> dict[str, Any]:
    """The fields of the one log line of a call."""
    caplog.clear()
    interceptor = LoggingInterceptor(CodeRecorder(), lambda: "chorales")
    with caplog.at_level(logging.INFO):
        try:
            await interceptor.intercept(method(name), call, request, cast(Context, context or FakeContext()))
        except (grpc.aio.AbortError, asyncio.CancelledError):
            assert call is not answer
    (record,) = caplog.records
    fields: dict[str, Any] = record.__dict__["fields"]
    return fields


async def test_an_answered_call_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    fields = await logged(caplog, request=pb.GenerateRequest(bars=8), context=FakeContext(("x-request-id", "cafe-1")))

    assert fields.pop("seconds") >= 0
    assert fields == {
        "method": "Generate",
        "code": "OK",
        "peer": "192.0.2.7:4711",
        "request_id": "cafe-1",
        "model": "chorales",
        "length": "bars:8",
    }


async def test_a_refused_call_is_one_line_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    fields = await logged(caplog, refuse, request=pb.GenerateRequest(model="folk", seconds=2.5))

    assert fields["code"] == "RESOURCE_EXHAUSTED"
    assert fields["reason"] == "the queue is full"
    assert (fields["model"], fields["length"], fields["peer"]) == ("folk", "seconds:2.5", "192.0.2.7:4711")


async def test_a_length_that_the_model_decides_is_logged_with_its_bounds(caplog: pytest.LogCaptureFixture) -> None:
    asked = [
        pb.GenerateRequest(open=pb.OpenLength(min_bars=4, max_bars=16)),
        pb.GenerateRequest(open=pb.OpenLength(min_bars=4)),
        pb.GenerateRequest(),
    ]
    lengths = [(await logged(caplog, request=request))["length"] for request in asked]

    assert lengths == ["open:4-16 bars", "open:4-0 bars", "unset"]


@pytest.mark.parametrize(("left", "code"), [(None, "CANCELLED"), (9.0, "CANCELLED"), (0.0, "DEADLINE_EXCEEDED")])
async def test_a_cancelled_call_is_logged_with_its_reason(
    caplog: pytest.LogCaptureFixture, left: float | None, code: str
) -> None:
    fields = await logged(caplog, be_cancelled, FakeContext(left=left))

    assert fields["code"] == code
    assert fields["reason"]


async def test_every_call_is_counted_and_logged_however_many_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    recorder = CodeRecorder()
    interceptor = LoggingInterceptor(recorder, lambda: "chorales")
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            with pytest.raises(grpc.aio.AbortError):
                await interceptor.intercept(method(), refuse, None, cast(Context, FakeContext()))
        await interceptor.intercept(method(), answer, None, cast(Context, FakeContext()))

    assert recorder.received_count == 21
    assert recorder.codes == ["RESOURCE_EXHAUSTED"] * 20 + ["OK"]
    assert [record.__dict__["fields"]["code"] for record in caplog.records] == recorder.codes


@pytest.mark.parametrize(
    ("name", "request_", "model", "length"),
    [
        ("Generate", pb.GenerateRequest(), "chorales", "unset"),
        ("Generate", pb.GenerateRequest(steps=2**31 - 1), "chorales", "steps:2147483647"),
        ("Generate", pb.GenerateRequest(bars=-3), "chorales", "bars:-3"),
        ("Generate", pb.GenerateRequest(seconds=float("nan")), "chorales", "seconds:nan"),
        ("GetModel", pb.GetModelRequest(name="folk"), "folk", None),
        ("GetModel", pb.GetModelRequest(), "chorales", None),
        ("ListModels", pb.ListModelsRequest(), None, None),
    ],
)
async def test_model_and_length_are_the_requested_ones(
    caplog: pytest.LogCaptureFixture, name: str, request_: Any, model: str | None, length: str | None
) -> None:
    fields = await logged(caplog, request=request_, name=name)

    assert (fields.get("model"), fields.get("length")) == (model, length)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:1", "127.0.0.1:1"),
        ("ipv6:%5B::1%5D:50", "[::1]:50"),
        ("unix:/run/fantasia", "unix:/run/fantasia"),
    ],
)
async def test_the_peer_is_written_in_common_notation(
    caplog: pytest.LogCaptureFixture, peer: str, address: str
) -> None:
    assert (await logged(caplog, context=FakeContext(peer=peer)))["peer"] == address


@pytest.mark.parametrize("given", ["a", "0123-4567_89:ab/cd+ef==@x.y", "x" * 128])
async def test_a_valid_request_id_is_used_and_sent_back(caplog: pytest.LogCaptureFixture, given: str) -> None:
    context = FakeContext(("user-agent", "x"), ("x-request-id", given), ("x-request-id", "second"))

    assert (await logged(caplog, context=context))["request_id"] == given
    assert context.sent == (("x-request-id", given),)


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "a\nlevel=error", 'a"b', "é", b"bytes", "a\n"])
async def test_an_invalid_request_id_is_replaced(caplog: pytest.LogCaptureFixture, given: str | bytes) -> None:
    ids = set()
    for _ in range(2):
        context = FakeContext(("x-request-id", given))
        request_id = (await logged(caplog, context=context))["request_id"]
        assert len(request_id) == 16
        assert int(request_id, 16) >= 0
        assert context.sent == (("x-request-id", request_id),)
        ids.add(request_id)
    assert len(ids) == 2


@pytest.mark.parametrize(
    "model", ["x\ntime=2026-01-01T00:00:00.000Z level=error msg=fault", 'x" level="error', "\u2028x\x85", "y" * 10_000]
)
async def test_a_callers_text_cannot_forge_a_line(caplog: pytest.LogCaptureFixture, model: str) -> None:
    await logged(caplog, request=pb.GenerateRequest(model=model))
    line = LogfmtFormatter().format(caplog.records[0])

    assert line.isprintable()
    assert line.isascii()
    assert line.count(" level=") == 1 or '\\"' in line or "\\n" in line
    assert line.startswith("time=")
    assert len(line) < 600
