"""What is counted and logged of calls."""

import asyncio
import logging
from typing import Any, cast

import grpc
import pytest

from fantasia.v1 import generation_pb2 as pb
from server.logs import LogfmtFormatter
from server.rpc.account import Account
from server.rpc.interceptor import Context, Handler
from server.rpc.observer import CallObserver

OK = pb.GenerateResponse()


class Tally(CallObserver):
    def __init__(self) -> None:
        self.codes: list[str] = []
        self.received_count = 0

    def received(self, method: str) -> None:
        self.received_count += 1

    def wrote(self, model: str, notes: int) -> None:
        raise AssertionError("nothing was written")

    def finished(self, method: str, code: str, seconds: float) -> None:
        self.codes.append(code)


class Call:
    """A servicer context of a call, as far as it is looked at."""

    def __init__(
        self, *metadata: tuple[str, str | bytes], peer: str = "ipv4:192.0.2.7:4711", left: float | None = None
    ):
        self._metadata = metadata
        self._peer = peer
        self._left = left
        self.sent: tuple[tuple[str, str], ...] = ()

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.sent = metadata

    def peer(self) -> str:
        return self._peer

    def time_remaining(self) -> float | None:
        return self._left

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self) -> str:
        return "the queue is full"


async def answer(request: bytes, context: Context) -> pb.GenerateResponse:
    return OK


async def refuse(request: bytes, context: Context) -> pb.GenerateResponse:
    raise grpc.aio.AbortError


async def be_cancelled(request: bytes, context: Context) -> pb.GenerateResponse:
    raise asyncio.CancelledError


async def logged(
    caplog: pytest.LogCaptureFixture,
    handler: Handler = answer,
    call: Call | None = None,
    request: pb.GenerateRequest | bytes = b"",
    method: str = "Generate",
) -> dict[str, Any]:
    """The fields of the one line that a call leaves."""
    caplog.clear()
    data = request if isinstance(request, bytes) else request.SerializeToString()
    account = Account(Tally(), "chorales")
    with caplog.at_level(logging.INFO):
        try:
            await account.around(method, handler, data, cast(Context, call or Call()))
        except (grpc.aio.AbortError, asyncio.CancelledError):
            assert handler is not answer
    (record,) = caplog.records
    fields: dict[str, Any] = record.__dict__["fields"]
    return fields


async def test_an_answered_call_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    fields = await logged(caplog, request=pb.GenerateRequest(bars=8), call=Call(("x-request-id", "cafe-1")))

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


@pytest.mark.parametrize(("left", "code"), [(None, "CANCELLED"), (9.0, "CANCELLED"), (0.0, "DEADLINE_EXCEEDED")])
async def test_a_call_that_was_given_up_says_why(
    caplog: pytest.LogCaptureFixture, left: float | None, code: str
) -> None:
    fields = await logged(caplog, be_cancelled, Call(left=left))

    assert fields["code"] == code
    assert fields["reason"]


async def test_every_call_is_counted_and_logged_however_many_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally()
    account = Account(tally, "chorales")
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            with pytest.raises(grpc.aio.AbortError):
                await account.around("Generate", refuse, b"", cast(Context, Call()))
        await account.around("Generate", answer, b"", cast(Context, Call()))

    assert tally.received_count == 21
    assert tally.codes == ["RESOURCE_EXHAUSTED"] * 20 + ["OK"]
    assert [record.__dict__["fields"]["code"] for record in caplog.records] == tally.codes


@pytest.mark.parametrize(
    ("method", "request_", "model", "length"),
    [
        ("Generate", pb.GenerateRequest(), "chorales", "open"),
        ("Generate", pb.GenerateRequest(steps=2**31 - 1), "chorales", "steps:2147483647"),
        ("Generate", pb.GenerateRequest(bars=-3), "chorales", "bars:-3"),
        ("Generate", pb.GenerateRequest(seconds=float("nan")), "chorales", "seconds:nan"),
        ("Generate", b"\xff\xff", None, None),
        ("GetModel", pb.GetModelRequest(name="folk"), "folk", None),
        ("GetModel", b"\xff\xff", None, None),
        ("ListModels", b"", None, None),
    ],
)
async def test_model_and_length_are_what_was_asked_for(
    caplog: pytest.LogCaptureFixture, method: str, request_: Any, model: str | None, length: str | None
) -> None:
    fields = await logged(caplog, request=request_, method=method)

    assert (fields.get("model"), fields.get("length")) == (model, length)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:1", "127.0.0.1:1"),
        ("ipv6:%5B::1%5D:50", "[::1]:50"),
        ("unix:/run/fantasia", "unix:/run/fantasia"),
    ],
)
async def test_the_peer_is_written_as_people_write_it(
    caplog: pytest.LogCaptureFixture, peer: str, address: str
) -> None:
    assert (await logged(caplog, call=Call(peer=peer)))["peer"] == address


@pytest.mark.parametrize("given", ["a", "0123-4567_89:ab/cd+ef==@x.y", "x" * 128])
async def test_a_sane_request_id_is_taken_and_sent_back(caplog: pytest.LogCaptureFixture, given: str) -> None:
    call = Call(("user-agent", "x"), ("x-request-id", given), ("x-request-id", "second"))

    assert (await logged(caplog, call=call))["request_id"] == given
    assert call.sent == (("x-request-id", given),)


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "a\nlevel=error", 'a"b', "é", b"bytes", "a\n"])
async def test_another_request_id_is_replaced(caplog: pytest.LogCaptureFixture, given: str | bytes) -> None:
    ids = set()
    for _ in range(2):
        call = Call(("x-request-id", given))
        request_id = (await logged(caplog, call=call))["request_id"]
        assert len(request_id) == 16
        assert int(request_id, 16) >= 0
        assert call.sent == (("x-request-id", request_id),)
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
