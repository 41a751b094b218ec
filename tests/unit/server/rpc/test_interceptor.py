"""All interceptors together on a real server, around handlers of all four kinds of rpc."""

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import psutil
import pytest
from google.rpc.error_details_pb2 import BadRequest, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from fantasia.v1 import generation_pb2 as pb
from server.engine.engine import Engine
from server.errors import InvalidRequestError, Violation
from server.rpc.caller import caller_of
from server.rpc.context import CallEndedError, Context
from server.rpc.interceptor import SERVICE, Call, Interceptor, Method, as_call
from server.rpc.logging_interceptor import CallObserver
from server.rpc.quota import CallerQuota
from server.rpc.request_reader_interceptor import RequestReaderInterceptor
from server.rpc.server import interceptors
from server.rpc.serving_interceptor import ServingInterceptor
from server.rpc.stream_limit_interceptor import StreamLimitInterceptor
from tests.integration.statuses import rich_status

MAX_STREAMING_CALLS = 3
MAX_REQUEST_STREAMS = 4
MINE = (("x-request-id", "cafe-1"),)


@dataclass(frozen=True)
class Kind:
    """A kind of rpc, and how its handler sends streamed responses."""

    requests: bool
    responses: bool
    writes: bool = False
    """Whether the handler calls `context.write` instead of yielding."""

    @property
    def name(self) -> str:
        words = {False: "Unary", True: "Stream"}
        return words[self.requests] + words[self.responses] + ("Writer" if self.writes else "")

    @property
    def path(self) -> str:
        return f"/{SERVICE.full_name}/{self.name}"


KINDS = [
    Kind(False, False),
    Kind(False, True),
    Kind(False, True, writes=True),
    Kind(True, False),
    Kind(True, True),
    Kind(True, True, writes=True),
]
ANY_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
STREAMED_RESPONSES = pytest.mark.parametrize("kind", [k for k in KINDS if k.responses], ids=lambda kind: kind.name)
STREAMED_REQUESTS = pytest.mark.parametrize("kind", [k for k in KINDS if k.requests], ids=lambda kind: kind.name)


class Recorder(CallObserver):
    """Counts calls, by method and code."""

    def __init__(self) -> None:
        self.received_calls: Counter[str] = Counter()
        self.finished_calls: Counter[tuple[str, str]] = Counter()

    def received(self, method: str) -> None:
        self.received_calls[method] += 1

    def finished(self, method: str, code: str, seconds: float) -> None:
        self.finished_calls[method, code] += 1
        assert self.finished_calls.total() <= self.received_calls.total()

    def first_note(self, model: str, version: int, seconds: float) -> None:
        raise AssertionError("no notes were written")

    def notes_written(self, model: str, version: int, notes: int) -> None:
        raise AssertionError("the test service writes no notes")

    def pieces_evaluated(self, model: str, version: int, pieces: int) -> None:
        raise AssertionError("no pieces were evaluated")

    @property
    def in_flight(self) -> int:
        return self.received_calls.total() - self.finished_calls.total()


@dataclass
class Script:
    """What the handlers of the test service do: the same for every kind."""

    responses: int = 2
    """Responses to write before the end."""
    error: Callable[[], Exception] | None = None
    """Makes the exception that is raised at the end."""
    hangs: bool = False
    """Whether to wait for ever at the end."""
    entered: int = 0
    """Handlers that have started."""
    running: int = 0
    """Handlers that have started and not ended."""
    requests: list[pb.GenerateRequest] = field(default_factory=list)
    """All requests that handlers got."""
    keeps_requests: bool = True
    quota: CallerQuota = field(default_factory=lambda: CallerQuota(100, 10_000))

    async def run(self, requests: AsyncIterator[pb.GenerateRequest], context: Context) -> AsyncIterator[Any]:
        self.entered += 1
        self.running += 1
        hangs = self.hangs
        try:
            with self.quota.hold(caller_of(context), 1, cast(Engine, None)):
                async for request in requests:
                    if self.keeps_requests:
                        self.requests.append(request)
                for number in range(self.responses):
                    yield pb.GenerateResponse(candidates=number)
                if self.error is not None:
                    raise self.error()
                if hangs:
                    await asyncio.Event().wait()
        finally:
            self.running -= 1

    def handler(self, kind: Kind) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler of this kind, as generated code makes it."""

        async def one(request: pb.GenerateRequest) -> AsyncIterator[pb.GenerateRequest]:
            yield request

        def all_of(request: Any) -> Any:
            return request if kind.requests else one(request)

        async def generate(request: Any, context: Context) -> AsyncIterator[Any]:
            async for response in self.run(all_of(request), context):
                yield response

        async def write(request: Any, context: Context) -> None:
            async for response in self.run(all_of(request), context):
                await context.write(response)

        async def answer(request: Any, context: Context) -> Any:
            return [response async for response in self.run(all_of(request), context)][-1]

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[kind.requests, kind.responses]
        behaviour = answer if not kind.responses else write if kind.writes else generate
        handler: grpc.RpcMethodHandler[Any, Any] = make(
            behaviour, pb.GenerateRequest.FromString, pb.GenerateResponse.SerializeToString
        )
        return handler


class EndedContext:
    """The context of a call that gRPC refuses to end with a status, as if the call had just ended."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def abort(self, *_: object) -> None:
        raise CallEndedError("Failed execute_batch")


class EndedCalls(Interceptor):
    """Gives every call an `EndedContext`."""

    async def intercept(self, method: Method, call: Call, request: Any, context: Context) -> Any:
        return await call(request, cast(Context, EndedContext(context)))


class Server:
    """A server with all interceptors of `RpcServer`, within further ones."""

    def __init__(self, script: Script, *outer: Interceptor) -> None:
        self.script = script
        self.recorder = Recorder()
        self.serving = ServingInterceptor()
        chain = interceptors(
            self.recorder,
            lambda: "chorales",
            self.serving,
            max_reads=2,
            max_streaming_calls=MAX_STREAMING_CALLS,
            max_request_streams=MAX_REQUEST_STREAMS,
        )
        (self.streams,) = [each for each in chain if isinstance(each, StreamLimitInterceptor)]
        (self.reader,) = [each for each in chain if isinstance(each, RequestReaderInterceptor)]
        self.server = grpc.aio.server(interceptors=(*outer, *chain))
        handlers = {kind.name: script.handler(kind) for kind in KINDS}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    @property
    def held(self) -> int:
        """Everything that calls in flight hold; 0 when none is left."""
        return (
            self.recorder.in_flight
            + self.script.running
            + self.script.quota.pieces
            + self.serving._running
            + len(self.streams._running)
            + self.streams._request_streams
            + len(self.reader._connections)
        )

    async def until_idle(self) -> None:
        async with asyncio.timeout(10):
            while self.held:
                await asyncio.sleep(0.005)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def server(script: Script) -> AsyncIterator[Server]:
    server = Server(script)
    await server.server.start()
    server.serving.start_serving()
    yield server
    await server.server.stop(None)


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture(autouse=True)
def log_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def call_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.__dict__["fields"] for record in caplog.records if record.msg == "call"]


REQUEST = pb.GenerateRequest(bars=8)


def start(
    channel: grpc.aio.Channel, kind: Kind, requests: Sequence[pb.GenerateRequest | bytes] = (REQUEST,), **options: Any
) -> Any:
    """Start a call, with one request unless the kind takes several; bytes are sent as they are."""

    async def stream() -> AsyncIterator[Any]:
        for request in requests:
            yield request

    multi: Any = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[kind.requests, kind.responses]

    def serialize(message: Any) -> bytes:
        return message if isinstance(message, bytes) else bytes(message.SerializeToString())

    call = multi(kind.path, serialize, pb.GenerateResponse.FromString)
    return call(stream() if kind.requests else requests[0], **options)


async def responses_of(call: Any, kind: Kind) -> list[pb.GenerateResponse]:
    if kind.responses:
        return [response async for response in call]
    return [await call]


async def failure_of(call: Any, kind: Kind) -> tuple[grpc.StatusCode, Status, list[pb.GenerateResponse]]:
    """How a call fails, and the responses that came before."""
    responses = []

    async def read() -> None:
        if kind.responses:
            async for response in call:
                responses.append(response)
        else:
            await call

    code, status = await rich_status(cast(Awaitable[object], read()))
    return code, status, responses


@ANY_KIND
async def test_a_call_is_answered_counted_and_logged(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    requests = [REQUEST, pb.GenerateRequest(steps=3)] if kind.requests else [REQUEST]
    call = start(channel, kind, requests, metadata=MINE)
    responses = await responses_of(call, kind)
    await server.until_idle()

    assert [response.candidates for response in responses] == ([0, 1] if kind.responses else [1])
    assert server.script.requests == requests
    assert dict(await call.trailing_metadata())["x-request-id"] == "cafe-1"
    assert server.recorder.received_calls == {kind.name: 1}
    assert server.recorder.finished_calls == {(kind.name, "OK"): 1}
    (fields,) = call_lines(caplog)
    assert fields.pop("seconds") > 0
    assert fields.pop("peer").startswith("127.0.0.1:")
    asked = {} if kind.requests else {"model": "chorales", "length": "bars:8"}
    assert fields == {"method": kind.name, "code": "OK", "request_id": "cafe-1", **asked}


@ANY_KIND
async def test_a_domain_error_arrives_with_its_details(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    server.script.error = lambda: InvalidRequestError([Violation.of_value("bars", "1 to 4", 8)])
    code, status, responses = await failure_of(start(channel, kind), kind)
    await server.until_idle()

    bad_request = BadRequest()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.details[0].Unpack(bad_request)
    assert bad_request.field_violations[0].field == "bars"
    assert len(responses) == (2 if kind.responses else 0), "a stream fails after the responses that it has written"
    assert server.recorder.finished_calls == {(kind.name, "INVALID_ARGUMENT"): 1}
    (fields,) = call_lines(caplog)
    assert (fields["code"], fields["reason"]) == ("INVALID_ARGUMENT", "bars must be 1 to 4, not 8")


@ANY_KIND
async def test_a_bug_is_internal_and_logged_under_the_request_id(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    server.script.error = lambda: ZeroDivisionError("the secret of the bug")
    code, status, _ = await failure_of(start(channel, kind, metadata=MINE), kind)
    await server.until_idle()

    info = RequestInfo()
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(status)
    assert status.details[0].Unpack(info)
    assert info.request_id == "cafe-1"
    (fault,) = [record for record in caplog.records if record.msg == "fault"]
    assert fault.__dict__["fields"] == {"method": kind.name, "request_id": "cafe-1"}
    assert "the secret of the bug" in caplog.text
    assert server.recorder.finished_calls == {(kind.name, "INTERNAL"): 1}


@ANY_KIND
async def test_calls_before_serving_are_refused_with_a_retry_hint(
    script: Script, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    server = Server(script)
    await server.server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        code, status, _ = await failure_of(start(channel, kind), kind)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert status.details[0].Unpack(RetryInfo())
        assert script.entered == 0
        server.serving.start_serving()
        await responses_of(start(channel, kind), kind)
        await server.until_idle()
    await server.server.stop(None)
    assert [fields["code"] for fields in call_lines(caplog)] == ["UNAVAILABLE", "OK"]


@ANY_KIND
async def test_the_serving_interceptor_waits_for_running_calls(
    server: Server, channel: grpc.aio.Channel, kind: Kind
) -> None:
    server.script.hangs = True
    call = start(channel, kind)
    running = asyncio.ensure_future(responses_of(call, kind))
    async with asyncio.timeout(10):
        while not server.script.entered:
            await asyncio.sleep(0.005)

    assert not await server.serving.wait_until_idle(0.05)
    call.cancel()
    assert await server.serving.wait_until_idle(10)
    with pytest.raises(asyncio.CancelledError):
        await running


@ANY_KIND
async def test_a_client_that_cancels_midway_frees_everything(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    server.script.hangs = True
    for number in range(1, 4):
        call = start(channel, kind)
        if kind.responses:
            assert (await call.read()).candidates == 0
        async with asyncio.timeout(10):
            while server.script.entered < number:
                await asyncio.sleep(0.005)
        assert server.held
        call.cancel()
        await server.until_idle()

    assert server.recorder.finished_calls == {(kind.name, "CANCELLED"): 3}
    assert [fields["code"] for fields in call_lines(caplog)] == ["CANCELLED"] * 3
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@STREAMED_RESPONSES
async def test_a_client_that_cancels_while_responses_are_written_frees_everything(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    server.script.responses = 10**9
    for number in range(20):
        call = start(channel, kind)
        for _ in range(number):
            await call.read()
        call.cancel()
    await server.until_idle()

    assert {code for _, code in server.recorder.finished_calls} <= {"CANCELLED", "RESOURCE_EXHAUSTED"}
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@ANY_KIND
async def test_a_passed_deadline_is_logged_as_one(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    server.script.hangs = True
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await responses_of(start(channel, kind, timeout=0.2), kind)
    await server.until_idle()

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    (fields,) = call_lines(caplog)
    # The client's deadline may pass a little before the server's.
    assert fields["code"] in ("DEADLINE_EXCEEDED", "CANCELLED")


@ANY_KIND
async def test_bytes_that_are_no_message_are_the_callers_mistake(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    code, status, _ = await failure_of(start(channel, kind, [b"\xff\xff"]), kind)
    await server.until_idle()

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.message.startswith("the request is not a valid ")
    assert server.recorder.finished_calls == {(kind.name, "INVALID_ARGUMENT"): 1}
    assert len(call_lines(caplog)) == 1
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@STREAMED_REQUESTS
async def test_a_malformed_request_in_the_middle_of_a_stream_is_the_callers_mistake(
    server: Server, channel: grpc.aio.Channel, kind: Kind
) -> None:
    code, _, _ = await failure_of(start(channel, kind, [REQUEST, b"\xff\xff"]), kind)
    await server.until_idle()

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert server.script.requests == [REQUEST]


@ANY_KIND
async def test_a_code_that_the_handler_sets_is_counted_and_logged(
    script: Script, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    run = script.run

    async def set_code(requests: Any, context: Context) -> AsyncIterator[Any]:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("half of it")
        async for response in run(requests, context):
            yield response

    script.run = set_code  # type: ignore[method-assign]
    server = Server(script)
    await server.server.start()
    server.serving.start_serving()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="half of it"):
            await responses_of(start(channel, kind), kind)
        await server.until_idle()
    await server.server.stop(None)
    assert server.recorder.finished_calls == {(kind.name, "DATA_LOSS"): 1}
    assert call_lines(caplog)[0]["reason"] == "half of it"


@ANY_KIND
async def test_streaming_calls_of_a_connection_are_limited_and_others_are_not(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    server.script.hangs = True
    calls = [start(channel, kind) for _ in range(MAX_STREAMING_CALLS)]
    running = [asyncio.ensure_future(responses_of(call, kind)) for call in calls]
    async with asyncio.timeout(10):
        while server.script.entered < MAX_STREAMING_CALLS:
            await asyncio.sleep(0.005)
    server.script.hangs = False
    if kind.requests:  # those that stream responses only are limited like all pieces, by the quota
        code, status, _ = await failure_of(start(channel, kind), kind)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert status.details[0].Unpack(RetryInfo())
        async with asyncio.timeout(10):
            while not server.recorder.finished_calls:  # the answer may arrive before the call is over here
                await asyncio.sleep(0.005)
        assert server.recorder.finished_calls == {(kind.name, "RESOURCE_EXHAUSTED"): 1}
        assert len(call_lines(caplog)) == 1
    else:
        await responses_of(start(channel, kind), kind)
    for call in calls:
        call.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await server.until_idle()
    await responses_of(start(channel, kind), kind)


async def test_calls_with_streamed_requests_are_limited_over_all_connections(server: Server) -> None:
    server.script.hangs = True
    kind = KINDS[-1]
    own = (("grpc.use_local_subchannel_pool", 1),)
    async with AsyncExitStack() as stack:
        address = f"127.0.0.1:{server.port}"
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(address, own)) for _ in range(5)]
        calls = [start(channel, kind) for channel in channels[:-1]]
        for call in calls:
            await call.read()
        code, status, _ = await failure_of(start(channels[-1], kind), kind)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert status.message.startswith("the server has 4 calls with streamed requests")
        watch = start(channels[-1], KINDS[1])  # one request, so that it is not limited
        assert (await watch.read()).candidates == 0
        for call in [watch, *calls]:
            call.cancel()
        await server.until_idle()


@ANY_KIND
async def test_a_call_that_ended_while_it_was_written_is_cancelled_and_no_fault(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    server.script.error = lambda: CallEndedError("Failed execute_batch")
    await check_quiet_end(server, channel, caplog, kind)


@ANY_KIND
async def test_a_call_that_ended_before_its_error_is_sent_is_cancelled_and_no_fault(
    script: Script, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    script.error = lambda: InvalidRequestError([Violation("bars", "must be at least 1")])
    server = Server(script, EndedCalls())
    await server.server.start()
    server.serving.start_serving()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            await check_quiet_end(server, channel, caplog, kind)
    finally:
        await server.server.stop(None)


async def check_quiet_end(
    server: Server, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    """Check that a call is logged as cancelled, and that neither we nor gRPC log an error."""
    caplog.set_level(logging.DEBUG, "grpc._cython.cygrpc")
    call = start(channel, kind)
    async with asyncio.timeout(10):
        while not any("RPC cancelled" in record.msg or record.levelno >= logging.ERROR for record in caplog.records):
            await asyncio.sleep(0.005)
    call.cancel()
    await server.until_idle()

    assert server.recorder.finished_calls == {(kind.name, "CANCELLED"): 1}
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_storm_of_all_kinds_adds_up_and_leaves_nothing(server: Server, channel: grpc.aio.Channel) -> None:
    async def one(number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        call = start(channel, kind, [b"\xff"] if number % 7 == 0 else [REQUEST])
        if number % 5 == 0:
            await asyncio.sleep(0.001 * (number % 4))
            call.cancel()
        await asyncio.gather(responses_of(call, kind), return_exceptions=True)

    await asyncio.gather(*(one(number) for number in range(300)))
    await server.until_idle()

    assert server.recorder.received_calls.total() == server.recorder.finished_calls.total() > 200
    assert {code for _, code in server.recorder.finished_calls} <= {
        "OK",
        "CANCELLED",
        "INVALID_ARGUMENT",
        "RESOURCE_EXHAUSTED",
    }


@pytest.mark.slow
@ANY_KIND
async def test_refused_requests_do_not_stay_in_memory(server: Server, channel: grpc.aio.Channel, kind: Kind) -> None:
    server.script.error = lambda: InvalidRequestError([Violation.of_value("model", "short", "long")])
    server.script.keeps_requests = False
    request = pb.GenerateRequest(model="x" * 1_000_000)

    async def refused(count: int) -> None:
        for _ in range(count):
            with suppress(grpc.aio.AioRpcError):
                await responses_of(start(channel, kind, [request]), kind)
        await server.until_idle()

    await refused(5)
    before = psutil.Process().memory_info().rss
    gc.disable()  # as good as none in a server, where full collections are rare
    try:
        await refused(100)
    finally:
        gc.enable()
    assert psutil.Process().memory_info().rss - before < 40 << 20


def test_a_synchronous_handler_is_rejected() -> None:
    with pytest.raises(TypeError, match="coroutine function or an asynchronous generator"):
        as_call(grpc.unary_unary_rpc_method_handler(lambda request, context: request))


def test_a_method_has_a_short_name_if_it_is_ours() -> None:
    ours = Method("/fantasia.v1.GenerationService/Generate", False, False)
    other = Method("/grpc.health.v1.Health/Watch", False, True)

    assert (ours.is_ours, ours.name, ours.request_type) == (True, "Generate", "fantasia.v1.GenerateRequest")
    assert (other.is_ours, other.name) == (False, "/grpc.health.v1.Health/Watch")
    assert other.request_type == "grpc.health.v1.Health/Watch"


def test_paths_of_fields_begin_at_the_request_of_the_method() -> None:
    streamed = Method(f"/{SERVICE.full_name}/StreamGenerate", False, True)
    assert streamed.field_path("rewrite[2].bars.last") == "request.rewrite[2].bars.last"
    assert streamed.field_path("resume_token") == "request.resume_token"
    assert streamed.field_path("resume_tokens") == "resume_tokens"
    for path in (f"/{SERVICE.full_name}/Generate", f"/{SERVICE.full_name}/Evaluate", "/grpc.health.v1.Health/Watch"):
        assert Method(path, False, False).field_path("pieces[1].midi") == "pieces[1].midi"
