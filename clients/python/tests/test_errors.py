import pickle
from fractions import Fraction
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from grpc import StatusCode

import fantasia_client
from clients.python.tests.conftest import piece_message
from fantasia_client import (
    AccessDeniedError,
    CallCancelledError,
    DeadlineExceededError,
    FantasiaClientError,
    FieldViolation,
    InvalidRequestError,
    MessageTooLargeError,
    Meter,
    ModelNotFoundError,
    Retry,
    Sampling,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    UnsupportedCallError,
    errors,
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
    server.script.append(server.fail(code, "no luck.\n"))
    with pytest.raises(FantasiaClientError) as caught:
        await connect(server.address, retry=Retry(attempts=1))("generate")
    assert type(caught.value) is EXPECTED[code]
    assert caught.value.code is code
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert "\n" not in str(caught.value)


async def test_violations_name_fields(server: "ScriptedServer", connect: "Connect") -> None:
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
async def test_the_wait_that_the_server_asks_for_is_passed_on(
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


async def test_a_server_that_gives_no_wait_is_unavailable(server: "ScriptedServer", connect: "Connect") -> None:
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


async def test_an_answer_over_the_clients_limit_is_too_large(server: "ScriptedServer", connect: "Connect") -> None:
    large = piece_message(bytes(65 << 20))
    server.script.append(lambda *_: large)
    size = large.ByteSize()
    with pytest.raises(MessageTooLargeError, match=rf"^the answer is too large: {size:,} bytes; ") as caught:
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
            "the answer is too large: 12 bytes; {} sends at most 10",
        ),
        ("gRPC message exceeds maximum size 10: 12", "the request is too large: 12 bytes; {} accepts at most 10 bytes"),
        ("CLIENT: Sent message larger than max (12 vs. 10)", "the request is too large: 12 bytes; this client sends"),
    ],
)
async def test_other_implementations_of_grpc_have_limits_too(
    server: "ScriptedServer", connect: "Connect", text: str, words: str
) -> None:
    server.script.append(server.fail(StatusCode.RESOURCE_EXHAUSTED, text))
    with pytest.raises(MessageTooLargeError) as caught:
        await connect(server.address)("generate")
    assert str(caught.value).startswith(words.format(server.address))
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (12, 10)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x08\x05"])
async def test_details_that_make_no_sense_hide_nothing(
    server: "ScriptedServer", connect: "Connect", garbage: bytes
) -> None:
    def answer(_request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", garbage),))
        context.abort(StatusCode.INVALID_ARGUMENT, "bars must be positive")

    server.script.append(answer)
    with pytest.raises(InvalidRequestError, match="bars must be positive") as caught:
        await connect(server.address)("generate")
    assert caught.value.violations == ()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"bars": 8, "steps": 4}, "length"),
        ({"bars": 8, "seconds": 4.0}, "length"),
        ({"bars": 2**31}, "bars"),
        ({"bars": 1.5}, "bars"),
        ({"steps": -(2**31) - 1}, "steps"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"program": 2**40}, "program"),
        ({"sampling": Sampling(top_k=2**33)}, "sampling.top_k"),
        ({"meter": "waltz"}, "meter"),
        ({"meter": "3/0"}, "meter"),
        ({"meter": Meter(2**31, 4)}, "meter.numerator"),
        ({"meter": Meter(3, "4")}, "meter.denominator"),  # type: ignore[arg-type]
        ({"meter": (3, 4)}, "meter"),
        ({"meter": "9" * 5000 + "/4"}, "meter"),
        ({"bars": True}, "bars"),
        ({"bars": "8"}, "bars"),
        ({"bars": 10**5000}, "bars"),
        ({"steps": np.array([1, 2])}, "steps"),
        ({"seed": False}, "seed"),
        ({"program": b"0"}, "program"),
        ({"seconds": "3"}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seconds": 10**400}, "seconds"),
        ({"tempo_bpm": "fast"}, "tempo_bpm"),
        ({"tempo_bpm": 1j}, "tempo_bpm"),
        ({"model": 5}, "model"),
        ({"model": 0}, "model"),
        ({"model": b"chorales"}, "model"),
        ({"model": "\ud800"}, "model"),
        ({"sampling": {"top_k": 5}}, "sampling"),
        ({"sampling": {}}, "sampling"),
        ({"sampling": Sampling(temperature="hot")}, "sampling.temperature"),  # type: ignore[arg-type]
        ({"sampling": np.array([1, 2])}, "sampling"),
        ({"sampling": Sampling(top_k=np.array([1, 2]))}, "sampling.top_k"),  # type: ignore[arg-type]
        ({"sampling": Sampling(top_k=True)}, "sampling.top_k"),
        ({"sampling": Sampling(top_p=[0.5])}, "sampling.top_p"),  # type: ignore[arg-type]
    ],
)
async def test_what_the_message_cannot_hold_is_refused_at_once(
    server: "ScriptedServer", connect: "Connect", options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await connect(server.address)("generate", **options)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert caught.value.code is None
    assert len(str(caught.value)) < 200
    assert str(caught.value).isascii()
    assert server.requests == []


async def test_a_number_too_large_for_its_field_is_told_no_range(server: "ScriptedServer", connect: "Connect") -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await connect(server.address)("generate", bars=99_999_999_999)
    assert str(caught.value) == "bars: 99999999999 does not fit the field, which holds at most 2147483647"


async def test_all_that_does_not_fit_is_told_at_once(server: "ScriptedServer", connect: "Connect") -> None:
    wrong = {"model": 5, "bars": True, "seconds": "3", "tempo_bpm": "fast", "meter": (3, 4), "sampling": {"top_k": 1}}
    with pytest.raises(InvalidRequestError) as caught:
        await connect(server.address)("generate", **wrong)
    assert {violation.field for violation in caught.value.violations} == {*wrong, "length"}


@pytest.mark.parametrize("name", [5, "\ud800"])
async def test_a_name_that_is_no_text_is_refused_at_once(
    server: "ScriptedServer", connect: "Connect", name: object
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await connect(server.address)("get_model", name)
    assert [violation.field for violation in caught.value.violations] == ["name"]
    assert server.requests == []


async def test_numbers_of_any_type_are_numbers(server: "ScriptedServer", connect: "Connect") -> None:
    await connect(server.address)("generate", bars=np.int64(3), tempo_bpm=Fraction(181, 2), seed=np.uint64(2**64 - 1))
    request = server.requests[0]
    assert (request.bars, request.tempo_bpm, request.seed) == (3, 90.5, 2**64 - 1)


async def test_ranges_are_the_servers_to_check(server: "ScriptedServer", connect: "Connect") -> None:
    sampling = Sampling(temperature=float("nan"), top_k=-1, top_p=1e300)
    await connect(server.address)(
        "generate", bars=-(2**31), program=200, tempo_bpm=-1, seed=2**64 - 1, sampling=sampling
    )
    assert server.requests[0].program == 200


def test_the_tree_at_the_top_of_the_file_is_complete() -> None:
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, Exception) and not name.startswith("_")
    }
    for name, cls in classes.items():
        assert name in (errors.__doc__ or "")
        assert issubclass(cls, FantasiaClientError)
        assert getattr(fantasia_client, name) is cls
        assert name in fantasia_client.__all__


def test_errors_survive_a_process_pool() -> None:
    error = InvalidRequestError(
        "bars: no", violations=(FieldViolation("bars", "no"),), code=StatusCode.INVALID_ARGUMENT
    )
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert (str(copy), copy.violations, copy.code) == (str(error), error.violations, error.code)
