"""What the log says of calls."""

import logging
from types import SimpleNamespace
from typing import cast

import grpc
import pytest

import server.rpc.account
from fantasia.v1 import generation_pb2 as pb
from server.rpc.account import Account
from server.rpc.interceptor import Context
from server.rpc.observer import CallObserver


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


async def test_calls_that_are_turned_away_are_all_counted_and_logged_once_a_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(server.rpc.account, "time", SimpleNamespace(perf_counter=lambda: 0.0, monotonic=lambda: now))
    tally = Tally()
    account = Account(tally)

    async def turn_away(request: bytes, context: Context) -> pb.GenerateResponse:
        raise grpc.aio.AbortError

    async def answer(request: bytes, context: Context) -> pb.GenerateResponse:
        return pb.GenerateResponse()

    context = cast(Context, SimpleNamespace(code=lambda: grpc.StatusCode.RESOURCE_EXHAUSTED))

    async def turned_away(times: int) -> None:
        for _ in range(times):
            with pytest.raises(grpc.aio.AbortError):
                await account.around("Generate", turn_away, b"", context)

    with caplog.at_level(logging.INFO):
        await turned_away(1)
        now += 0.5
        await turned_away(7)
        await account.around("Generate", answer, b"", context)
        now += 0.6
        await turned_away(2)

    assert tally.received_count == len(tally.codes)
    assert tally.codes == ["RESOURCE_EXHAUSTED"] * 8 + ["OK"] + ["RESOURCE_EXHAUSTED"] * 2
    lines = [record.__dict__["fields"] for record in caplog.records]
    assert [(fields["code"], fields.get("calls")) for fields in lines] == [
        ("RESOURCE_EXHAUSTED", 1),
        ("OK", None),
        ("RESOURCE_EXHAUSTED", 8),
    ]
