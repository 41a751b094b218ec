"""Errors from the status of a failed call."""

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, ResourceInfo, RetryInfo
from grpc import StatusCode

from clients.python.tests.conftest import piece_message
from fantasia_client import (
    AccessDeniedError,
    CallCancelledError,
    ConstraintsNotMetError,
    DeadlineExceededError,
    FantasiaClientError,
    FieldViolation,
    InvalidRequestError,
    MessageTooLargeError,
    ModelNotFoundError,
    Retry,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    UnsupportedCallError,
)

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer


EXPECTED = {
    StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    StatusCode.OUT_OF_RANGE: InvalidRequestError,
    StatusCode.NOT_FOUND: ModelNotFoundError,
    StatusCode.UNAUTHENTICATED: AccessDeniedError,
    StatusCode.PERMISSION_DENIED: AccessDeniedError,
    StatusCode.RESOURCE_EXHAUSTED: ServerError,  # without details: not our server's word
    StatusCode.UNAVAILABLE: ServerUnavailableError,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    StatusCode.CANCELLED: CallCancelledError,
    StatusCode.UNIMPLEMENTED: UnsupportedCallError,
    StatusCode.INTERNAL: ServerError,
    StatusCode.UNKNOWN: ServerError,
    StatusCode.DATA_LOSS: ServerError,
    StatusCode.ABORTED: ServerError,
    StatusCode.ALREADY_EXISTS: ServerError,
    StatusCode.FAILED_PRECONDITION: ServerError,
}


FAILURES = [code for code in StatusCode if code is not StatusCode.OK]


@pytest.mark.parametrize("code", FAILURES)
async def test_every_status_code_has_its_error(server: "ScriptedServer", connect: "Connect", code: StatusCode) -> None:
    server.script.append(server.fail(code, "failed.\n"))
    with pytest.raises(FantasiaClientError) as caught:
        await connect(server.address, retry=Retry(attempts=1))("generate")
    assert type(caught.value) is EXPECTED[code]
    assert caught.value.code is code
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert "\n" not in str(caught.value)


async def test_violations_list_the_fields(server: "ScriptedServer", connect: "Connect") -> None:
    bad = BadRequest(
        field_violations=[
            BadRequest.FieldViolation(field="bars", description="must be 1 to 64, not -1"),
            BadRequest.FieldViolation(field="sampling.top_p", description="sampling.top_p must be above 0"),
        ]
    )
    server.script.append(server.fail(StatusCode.INVALID_ARGUMENT, "2 fields are wrong", bad))
    with pytest.raises(InvalidRequestError) as caught:
        await connect(server.address)("generate", bars=-1)
    assert caught.value.violations == (
        FieldViolation("bars", "must be 1 to 64, not -1"),
        FieldViolation("sampling.top_p", "sampling.top_p must be above 0"),
    )
    assert str(caught.value) == "bars: must be 1 to 64, not -1; sampling.top_p must be above 0"


async def test_a_missing_model_is_named(server: "ScriptedServer", connect: "Connect") -> None:
    resource = ResourceInfo(resource_type="fantasia.v1.Model", resource_name="opera")
    wrong = [("model", "must be empty or chorales, not 'opera'"), ("program", "must be 0 to 127, not 200")]
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field=f, description=text) for f, text in wrong])
    answer = server.fail(StatusCode.NOT_FOUND, "no model 'opera'; program must be 0 to 127, not 200", bad, resource)
    server.script.extend([answer, answer])
    client = connect(server.address)
    for call in (client("generate", model="opera"), client("get_model", "opera")):
        with pytest.raises(ModelNotFoundError, match="no model 'opera'") as caught:
            await call
        assert caught.value.model == "opera"
        assert caught.value.violations == tuple(FieldViolation(field, text) for field, text in wrong)
        assert "program must be 0 to 127, not 200" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (StatusCode.RESOURCE_EXHAUSTED, ServerBusyError),
        (StatusCode.UNAVAILABLE, ServerUnavailableError),
    ],
)
@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))], 1.5),
        ([ErrorInfo(reason="QUEUE_FULL")], None),
    ],
)
async def test_retry_after_seconds_comes_from_the_server(
    server: "ScriptedServer",
    connect: "Connect",
    code: StatusCode,
    error: type[ServerBusyError | ServerUnavailableError],
    details: list[Message],
    expected: float | None,
) -> None:
    server.script.append(server.fail(code, "later", *details))
    with pytest.raises(error) as caught:
        await connect(server.address, retry=Retry(attempts=1))("generate")
    assert caught.value.retry_after_seconds == expected


async def test_retry_after_seconds_is_none_without_details(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(server.fail(StatusCode.UNAVAILABLE, "later"))
    with pytest.raises(ServerUnavailableError) as caught:
        await connect(server.address, retry=Retry(attempts=1))("generate")
    assert caught.value.retry_after_seconds is None


async def test_a_request_over_the_servers_limit_is_too_large(server: "ScriptedServer", connect: "Connect") -> None:
    with pytest.raises(MessageTooLargeError, match=r"^the request is too large: 5,242,885 bytes; ") as caught:
        await connect(server.address)("generate", model="x" * (5 << 20))
    assert str(caught.value).endswith(f"; {server.address} accepts at most 4,194,304 bytes")
    assert (caught.value.size_bytes, caught.value.limit_bytes) == ((5 << 20) + 5, 4 << 20)
    assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED


async def test_a_response_over_the_clients_limit_is_too_large(server: "ScriptedServer", connect: "Connect") -> None:
    large = piece_message(bytes(65 << 20))
    server.script.append(lambda *_: large)
    size = large.ByteSize()
    with pytest.raises(MessageTooLargeError, match=rf"^the response is too large: {size:,} bytes; ") as caught:
        await connect(server.address)("generate")
    assert str(caught.value).endswith("; this client accepts at most 67,108,864 bytes")
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (size, 64 << 20)


async def test_headers_over_the_limit_are_too_large(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(server.fail(StatusCode.INVALID_ARGUMENT, "y" * 20_000))
    with pytest.raises(MessageTooLargeError, match=r"headers .* too large: 20,000 bytes; .* 16,384 bytes") as caught:
        await connect(server.address)("generate")
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (20_000, 16_384)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "grpc: received message larger than max (12 vs. 10)",
            "the request is too large: 12 bytes; {} accepts at most 10",
        ),
        (
            "trying to send message larger than max (12 vs. 10)",
            "the response is too large: 12 bytes; {} sends at most 10",
        ),
        ("gRPC message exceeds maximum size 10: 12", "the request is too large: 12 bytes; {} accepts at most 10 bytes"),
        ("CLIENT: Sent message larger than max (12 vs. 10)", "the request is too large: 12 bytes; this client sends"),
    ],
)
async def test_size_limits_of_other_grpc_implementations(
    server: "ScriptedServer", connect: "Connect", text: str, words: str
) -> None:
    server.script.append(server.fail(StatusCode.RESOURCE_EXHAUSTED, text))
    with pytest.raises(MessageTooLargeError) as caught:
        await connect(server.address)("generate")
    assert str(caught.value).startswith(words.format(server.address))
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (12, 10)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x08\x05"])
async def test_invalid_status_details_are_ignored(server: "ScriptedServer", connect: "Connect", garbage: bytes) -> None:
    def respond(_request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", garbage),))
        context.abort(StatusCode.INVALID_ARGUMENT, "bars must be positive")

    server.script.append(respond)
    with pytest.raises(InvalidRequestError, match="bars must be positive") as caught:
        await connect(server.address)("generate")
    assert caught.value.violations == ()


async def test_constraints_that_leave_no_token_are_named(server: "ScriptedServer", connect: "Connect") -> None:
    violation = PreconditionFailure.Violation(
        type="CONSTRAINTS", subject="constraints.scale", description="left no token in bar 3"
    )
    detail = PreconditionFailure(violations=[violation])
    server.script.append(server.fail(StatusCode.FAILED_PRECONDITION, "failed", detail))
    with pytest.raises(ConstraintsNotMetError, match=r"^constraints\.scale: left no token in bar 3$") as caught:
        await connect(server.address)("generate")
    assert caught.value.violations == (FieldViolation("constraints.scale", "left no token in bar 3"),)
    assert caught.value.code is StatusCode.FAILED_PRECONDITION


async def test_a_deadline_that_cannot_be_met_is_refused(server: "ScriptedServer", connect: "Connect") -> None:
    violation = BadRequest.FieldViolation(field="bars", description="must be at most 12 within the deadline")
    detail = BadRequest(field_violations=[violation])
    server.script.append(server.fail(StatusCode.DEADLINE_EXCEEDED, "too long", detail))
    with pytest.raises(DeadlineExceededError, match="refused the request: bars: must be at most 12") as caught:
        await connect(server.address)("generate", bars=999)
    assert [item.field for item in caught.value.violations] == ["bars"]
