import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from bench.fuzz.caller import Caller, Outcome, Tally, fault_of
from bench.fuzz.cases import METHODS, SERVICE, Case
from bench.fuzz.facts import ModelFacts
from bench.fuzz.record import Fault
from fantasia.v1 import generation_pb2 as pb

Handler = Callable[[Any, Any], Awaitable[Any]]


@asynccontextmanager
async def scripted(duet: ModelFacts, **handlers: Any) -> AsyncIterator[Caller]:
    """A caller of a server whose methods do what a test says. Handlers get and give bytes."""

    async def list_models(request: bytes, context: Any) -> bytes:
        return pb.ListModelsResponse(models=[duet.message]).SerializeToString()

    methods: dict[str, Any] = {
        name: (grpc.unary_stream_rpc_method_handler if METHODS[name].streams else grpc.unary_unary_rpc_method_handler)(
            handler
        )
        for name, handler in {"ListModels": list_models, **handlers}.items()
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield await Caller.connect(channel)
    finally:
        await server.stop(None)


def outcome(duet: ModelFacts, case: Case, **handlers: Any) -> Outcome:
    async def call() -> Outcome:
        async with scripted(duet, **handlers) as caller:
            return await caller.call(case)

    return asyncio.run(call())


def refusing(code: grpc.StatusCode) -> Handler:
    async def handler(request: bytes, context: Any) -> bytes:
        await context.abort(code, "because")
        return b""

    return handler


async def sleeping(request: bytes, context: Any) -> bytes:
    await asyncio.sleep(30)
    return b""


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE])
def test_an_undocumented_code_is_a_problem(code: grpc.StatusCode, duet: ModelFacts) -> None:
    found = outcome(duet, Case("Generate", b""), Generate=refusing(code))

    assert found.code == code.name
    assert found.problems == [f"{code.name} is not a documented answer: because"]


def test_a_server_that_raises_is_a_problem(duet: ModelFacts) -> None:
    async def broken(request: bytes, context: Any) -> bytes:
        raise ZeroDivisionError

    assert outcome(duet, Case("Generate", b""), Generate=broken).code == "UNKNOWN"


def test_a_hang_is_a_problem(duet: ModelFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.fuzz.caller.HANG_SECONDS", 0.1)
    found = outcome(duet, Case("Generate", b""), Generate=sleeping)

    assert found.code == "HANG"
    assert found.problems == ["there is no answer after 0 s"]


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (Case("Generate", b"", cancel_seconds=0.0), "CANCELLED"),
        (Case("Generate", b"", cancel_seconds=0.05), "CANCELLED"),
        (Case("Generate", b"", deadline_seconds=0.05), "DEADLINE_EXCEEDED"),
        (Case("Generate", b"", deadline_seconds=0.0), "DEADLINE_EXCEEDED"),
    ],
)
def test_a_call_that_its_caller_ends_is_no_problem(case: Case, code: str, duet: ModelFacts) -> None:
    found = outcome(duet, case, Generate=sleeping)

    assert (found.code, found.problems) == (code, [])


def test_a_stream_is_cancelled_after_some_messages(duet: ModelFacts) -> None:
    async def endless(request: bytes, context: Any) -> AsyncIterator[bytes]:
        message = pb.StreamGenerateResponse(start=pb.StreamStart())
        while True:
            yield message.SerializeToString()
            message.ClearField("start")

    found = outcome(duet, Case("StreamGenerate", b"", cancel_messages=3), StreamGenerate=endless)

    assert (found.code, found.problems) == ("CANCELLED", [])


def test_an_answer_to_a_wrong_request_is_a_problem(duet: ModelFacts) -> None:
    async def answering(request: bytes, context: Any) -> bytes:
        return pb.GenerateResponse().SerializeToString()

    wrong = Case("Generate", pb.GenerateRequest(steps=-1).SerializeToString(), ("steps",))
    assert outcome(duet, wrong, Generate=answering).problems == ["it was answered although one of ('steps',) is wrong"]
    unreadable = Case("Generate", b"\xff")
    assert outcome(duet, unreadable, Generate=answering).problems == ["bytes that are no message were answered"]
    assert outcome(duet, Case("Generate", b""), Generate=answering).problems == ["there are no pieces"]


def test_a_check_that_fails_is_a_problem_of_its_own(duet: ModelFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[str]:
        raise KeyError("model")

    async def answering(request: bytes, context: Any) -> bytes:
        return b""

    monkeypatch.setattr("bench.fuzz.caller.answer_problems", broken)
    found = outcome(duet, Case("Generate", b""), Generate=answering)

    assert found.code == "NO_CHECK"
    assert "KeyError" in found.problems[0]


def test_tallies_add_up() -> None:
    def tally(seconds: float, faults: int) -> Tally:
        found = Tally(checked=1, compared=2, ended=3, max_seconds=seconds, fault_count=faults)
        found.counts["Generate", "OK"] = 4
        found.faults = [_fault(index) for index in range(faults)]
        return found

    total = tally(1.0, 1)
    total.add(tally(3.0, 9))

    assert (total.checked, total.compared, total.ended, total.max_seconds) == (2, 4, 6, 3.0)
    assert (total.calls, total.fault_count, len(total.faults)) == (8, 10, 2)
    assert [(each.method, each.code, each.calls) for each in total.call_counts] == [("Generate", "OK", 8)]


def _fault(index: int) -> Fault:
    return fault_of(Case("Generate", b"\x08\x01"), index, Outcome("OK", ["a problem"]))
