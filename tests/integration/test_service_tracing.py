"""Traces of calls over a real socket, in memory and at a real OTLP collector."""

import asyncio
import logging
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient, GrpcInstrumentorClient
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from fantasia_client import AsyncClient, Client
from server.app import App, LoadModels
from server.settings import Settings
from server.tracing import OpenTelemetryTracer
from tests.integration.arithmetic_runner import ArithmeticRunner
from tests.integration.replicas import ENVIRONMENT, ROOT, serving
from tests.integration.scraping import scrape_until

Stub: TypeAlias = "pb_grpc.GenerationServiceAsyncStub"  # known to type checkers only
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
CALL = "/fantasia.v1.GenerationService/Generate"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def app(
    settings: Settings, load: LoadModels, runner: ArithmeticRunner, exporter: InMemorySpanExporter
) -> AsyncIterator[App]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with App(settings, load, tracer=OpenTelemetryTracer(provider)) as app:
        yield app
        runner.go.set()


async def spans_of(app: App, exporter: InMemorySpanExporter, calls: int = 1) -> dict[str, ReadableSpan]:
    """The spans by name, once as many calls have finished."""
    await scrape_until(app, "fantasia_requests_finished_total", calls)
    await scrape_until(app, "fantasia_sequences_in_flight", 0)
    async with asyncio.timeout(10):
        while sum(span.kind is SpanKind.SERVER for span in exporter.get_finished_spans()) < calls:
            await asyncio.sleep(0.01)
    return {span.name: span for span in exporter.get_finished_spans()}


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


async def test_a_call_continues_the_trace_and_has_the_parts_of_its_request_as_children(
    stub: Stub, app: App, exporter: InMemorySpanExporter
) -> None:
    metadata = (("traceparent", PARENT), ("x-request-id", "cafe-1"))
    await stub.Generate(pb.GenerateRequest(bars=2, seed=1), metadata=metadata)
    spans = await spans_of(app, exporter)

    call, queue, decode = spans[CALL], spans["queue"], spans["decode"]
    assert set(spans) == {CALL, "queue", "decode"}
    assert {trace_of(span) for span in spans.values()} == {TRACE}
    assert call.parent is not None
    assert f"{call.parent.span_id:016x}" == SPAN
    assert call.attributes is not None
    assert call.attributes["fantasia.request_id"] == "cafe-1"
    assert call.attributes["rpc.grpc.status_code"] == 0
    for part in (queue, decode):
        assert part.parent == call.context
        assert part.attributes is not None
        assert part.attributes["fantasia.model"] == "quartet"
        times = [call.start_time, part.start_time, part.end_time, call.end_time]
        assert times == sorted(time for time in times if time is not None)
    assert queue.end_time == decode.start_time
    assert decode.attributes is not None
    assert decode.attributes["fantasia.outcome"] == "length"
    assert decode.attributes["fantasia.tokens"] == 128
    (first,) = decode.events
    assert first.name == "first token"
    times = [decode.start_time, first.timestamp, decode.end_time]
    assert times == sorted(time for time in times if time is not None)


async def test_a_stream_has_the_same_spans_and_a_long_primer_one_more(
    stub: Stub, app: App, exporter: InMemorySpanExporter
) -> None:
    notes = [pb.Note(onset_ticks=480 * i, duration_ticks=480, pitch=60 + i % 5, velocity=70) for i in range(64)]
    given = pb.GivenPiece(notes=pb.NoteList(notes=notes))
    request = pb.StreamGenerateRequest(request=pb.GenerateRequest(bars=2, given=given))
    messages = [message async for message in stub.StreamGenerate(request, metadata=(("traceparent", PARENT),))]
    spans = await spans_of(app, exporter)

    assert messages[-1].response.pieces
    assert set(spans) == {"/fantasia.v1.GenerationService/StreamGenerate", "queue", "prefill", "decode"}
    assert spans["queue"].end_time is not None
    assert spans["prefill"].start_time is not None
    assert spans["queue"].end_time <= spans["prefill"].start_time
    assert spans["prefill"].end_time == spans["decode"].start_time


@pytest.mark.parametrize(
    "parent",
    [
        "", "00", "not a traceparent", PARENT[:-3], f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01", "x" * 4000,
    ],
)  # fmt: skip
async def test_a_malformed_parent_is_ignored(stub: Stub, app: App, exporter: InMemorySpanExporter, parent: str) -> None:
    await stub.ListModels(pb.ListModelsRequest(), metadata=(("traceparent", parent),))
    (call,) = (await spans_of(app, exporter)).values()
    assert call.parent is None
    assert trace_of(call) not in (TRACE, "0" * 32)


async def test_a_call_that_the_caller_does_not_sample_has_no_spans_and_its_trace_id_is_logged(
    stub: Stub, app: App, exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await stub.Generate(pb.GenerateRequest(bars=1), metadata=(("traceparent", PARENT[:-1] + "0"),))
    await scrape_until(app, "fantasia_requests_finished_total", 1)
    assert not exporter.get_finished_spans()
    (call,) = [record.__dict__["fields"] for record in caplog.records if record.msg == "call"]
    assert call["trace_id"] == TRACE


async def test_the_trace_id_is_in_the_log_line_of_the_call_and_of_its_fault(
    stub: Stub, app: App, runner: ArithmeticRunner, exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runner.fail = True
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Generate(pb.GenerateRequest(bars=1), metadata=(("traceparent", PARENT),))
    runner.fail = False
    spans = await spans_of(app, exporter)

    logged = [record.__dict__["fields"]["trace_id"] for record in caplog.records if record.msg in ("call", "fault")]
    assert logged == [TRACE, TRACE]
    assert spans[CALL].status.status_code is StatusCode.ERROR
    last = spans.get("decode", spans["queue"])
    assert last.status.status_code is StatusCode.ERROR
    assert last.attributes is not None
    assert last.attributes["fantasia.outcome"] == "failed"


async def test_a_cancelled_call_ends_its_spans(
    stub: Stub, app: App, runner: ArithmeticRunner, exporter: InMemorySpanExporter
) -> None:
    runner.go.clear()
    call = stub.Generate(pb.GenerateRequest(bars=8))
    await scrape_until(app, "fantasia_slots_used", 1)
    call.cancel()
    runner.go.set()
    spans = await spans_of(app, exporter)

    assert spans[CALL].status.status_code is StatusCode.ERROR
    assert dict(spans[CALL].attributes or {})["rpc.grpc.status_code"] == 1
    assert dict(spans["decode"].attributes or {})["fantasia.outcome"] == "cancelled"


async def test_neither_music_nor_headers_are_in_spans_and_health_checks_have_none(
    stub: Stub, channel: grpc.aio.Channel, app: App, exporter: InMemorySpanExporter
) -> None:
    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    metadata = (("authorization", "Bearer hidden"), ("x-hidden", "hidden"), ("baggage", "key=hidden"))
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Generate(
            pb.GenerateRequest(bars=1, given=pb.GivenPiece(midi=b"hidden"), resume_token=b"hidden"), metadata=metadata
        )
    spans = await spans_of(app, exporter)
    assert set(spans) == {CALL}
    assert "hidden" not in spans[CALL].to_json()


@pytest.fixture
def instrumented_client() -> Iterator[None]:
    """The client's instrumentation, on while the test runs."""
    classes: list[Any] = [GrpcInstrumentorClient, GrpcAioInstrumentorClient]
    instrumentors = [each() for each in classes]
    for instrumentor in instrumentors:
        instrumentor.instrument()
    yield
    for instrumentor in instrumentors:
        instrumentor.uninstrument()


@pytest.mark.usefixtures("instrumented_client")
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_instrumented_client_passes_its_trace_on(
    app: App, exporter: InMemorySpanExporter, asynchronous: bool
) -> None:
    def generate() -> None:
        with Client(app.address) as client:
            client.generate(bars=1)

    with TracerProvider(shutdown_on_exit=False).get_tracer("caller").start_as_current_span("composing") as span:
        if asynchronous:
            async with AsyncClient(app.address) as client:
                await client.generate(bars=1)
        else:
            await asyncio.to_thread(generate)
    spans = await spans_of(app, exporter)
    assert spans[CALL].parent is not None
    assert trace_of(spans[CALL]) == f"{span.get_span_context().trace_id:032x}"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector: keeps what it gets."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: dict[str, str] = {}
        self.got = threading.Event()

    def Export(self, request: Message, context: grpc.ServicerContext) -> Message:  # noqa: N802
        self.requests.append(request)
        self.metadata |= {key: str(value) for key, value in context.invocation_metadata()}
        self.got.set()
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    kept = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield kept, f"http://127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.mark.slow
def test_a_process_sends_its_spans_to_the_collector_of_the_variables(
    models: Path, collector: tuple[Collector, str]
) -> None:
    kept, endpoint = collector
    environment = {
        **ENVIRONMENT,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=music",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
    }
    command = [sys.executable, "-m", "tests.integration.arithmetic_server", "--models", str(models), "--tracing"]
    with subprocess.Popen(  # noqa: S603
        [*command, "--port", "0", "--metrics-port", "0"], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        replica = serving(process)
        with grpc.insecure_channel(replica.address) as channel:
            stub = pb_grpc.GenerationServiceStub(channel)
            stub.Generate(pb.GenerateRequest(bars=1), metadata=(("traceparent", PARENT),))
        process.terminate()
        log = replica.log()
    assert process.wait(10) == 0, log
    assert re.search(rf"msg=call .*trace_id={TRACE}", log)
    spans = [
        (span.name, span.trace_id.hex())
        for request in kept.requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert sorted(spans) == [(CALL, TRACE), ("decode", TRACE), ("queue", TRACE)]
    attributes = {item.key: item.value.string_value for item in kept.requests[0].resource_spans[0].resource.attributes}
    assert attributes["service.name"] == "fantasia"
    assert attributes["service.version"]
    assert attributes["deployment.environment"] == "test"
    assert kept.metadata["x-tenant"] == "music"


@pytest.mark.slow
def test_a_collector_that_does_not_answer_delays_neither_calls_nor_the_end(models: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.arithmetic_server", "--models", str(models), "--tracing"]
    environment = {**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with subprocess.Popen(  # noqa: S603
        [*command, "--port", "0", "--metrics-port", "0"], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        replica = serving(process)
        with grpc.insecure_channel(replica.address) as channel:
            stub = pb_grpc.GenerationServiceStub(channel)
            for _ in range(3):
                stub.Generate(pb.GenerateRequest(bars=1), timeout=30)
        process.terminate()
        log = replica.log()
    assert process.wait(20) == 0, log
