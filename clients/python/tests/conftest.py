"""A scripted gRPC server on a real socket, and one interface to both clients."""

import asyncio
import inspect
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1.generation_pb2_grpc import (
    GenerationServiceServicer,
    add_GenerationServiceServicer_to_server,
)
from fantasia_client import AsyncClient, AsyncStream, Client, Piece, StreamUpdate
from fantasia_client.connection import GENERATION_SERVICE
from fantasia_client.messages import parse_piece

Response = Callable[[Any, grpc.ServicerContext], Any]
"""Makes the response of one call from the request and the context."""

MIDI = b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0"


def has_ipv6() -> bool:
    """Whether a server can listen on `::1`."""
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False


def piece_message(midi: bytes = MIDI) -> pb.GenerateResponse:
    """Two bars of 3/4 with two voices."""
    piece = pb.Piece(
        midi=midi,
        notes=[
            pb.Note(onset_ticks=0, duration_ticks=480, pitch=72, velocity=80, voice=0),
            pb.Note(onset_ticks=0, duration_ticks=1440, pitch=48, velocity=70, voice=1),
            pb.Note(onset_ticks=1440, duration_ticks=1440, pitch=48, velocity=70, voice=0),
        ],
        ticks_per_quarter=480,
        length_ticks=2880,
        seed=2**64 - 1,
        token_count=96,
        finish_reason=pb.FINISH_REASON_LENGTH,
        meter=pb.Meter(numerator=3, denominator=4),
        tempo_bpm=90,
        programs=[19, 19],
    )
    return pb.GenerateResponse(
        pieces=[piece],
        model="chorales",
        model_digest="ab" * 32,
        precision="float32",
        candidates=1,
        timing=pb.Timing(queue_seconds=0.25, first_token_seconds=0.5, total_seconds=1.5),
    )


def stream_messages(*, tokens: bool = False) -> list[pb.StreamGenerateResponse]:
    """The piece of `piece_message` in three messages, with resume tokens if asked for."""
    finished = piece_message()
    low, high, last = finished.pieces[0].notes[1], finished.pieces[0].notes[0], finished.pieces[0].notes[2]
    start = pb.StreamStart(
        ticks_per_quarter=480,
        seed=7,
        meter=pb.Meter(numerator=3, denominator=4),
        tempo_bpm=90,
        tempo_changes=[pb.TempoChange(tick=960, tempo_bpm=60)],
        programs=[19, 19],
        length_ticks=2880,
        meter_changes=[pb.MeterChange(tick=1440, meter=pb.Meter(numerator=6, denominator=8))],
    )
    messages = [
        pb.StreamGenerateResponse(start=start, watermark_ticks=480, notes=[high], sounding=[low]),
        pb.StreamGenerateResponse(watermark_ticks=1440, notes=[low]),
        pb.StreamGenerateResponse(watermark_ticks=2880, notes=[last], response=finished),
    ]
    if tokens:
        for number, message in enumerate(messages):
            message.resume_token = b"token %d" % number
        finished.pieces[0].resume_token = b"token 2"
        messages[-1].response.CopyFrom(finished)
    return messages


def evaluation_message() -> pb.Evaluation:
    """One note, of two that were given."""
    return pb.Evaluation(
        nats=12.5,
        nats_per_note_step=0.25,
        token_count=50,
        notes=[pb.NoteEvaluation(note=pb.Note(duration_ticks=480, pitch=60, velocity=80), nats=3.5)],
        changed_notes={"off_grid": 1},
        left_out={"percussion": 2},
    )


def model_message(name: str = "chorales") -> pb.Model:
    return pb.Model(
        name=name,
        digest="cd" * 32,
        description="Four-voice chorales.",
        tokenizer="grid",
        voices=4,
        steps_per_quarter=4,
        max_steps=512,
        meters=[pb.Meter(numerator=4, denominator=4), pb.Meter(numerator=3, denominator=4)],
        default_sampling=pb.Sampling(temperature=0.9, top_k=0, top_p=0.95),
        default_tempo_bpm=100,
        default_program=0,
        parameters=1234567,
        provider="CPUExecutionProvider",
        metrics={"test_nats_per_token": 0.47},
        ranges=[pb.VoiceRange(voice=voice, lowest=60 - 5 * voice, highest=81 - 5 * voice) for voice in range(4)],
        capabilities=pb.Capabilities(continuation=True, rewrite_voices=True, default_candidates=16),
        limits=pb.Limits(max_candidates=64, max_evaluated_pieces=100, max_evaluated_steps=1000),
    )


class ScriptedServer(GenerationServiceServicer):
    """Answers each call with the next entry of `script`; after the last one, with a valid response."""

    def __init__(self) -> None:
        self.script: deque[Response] = deque()
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.cancelled = threading.Event()
        """Set when a call ends before its `hang` does."""
        self.release = threading.Event()
        """Set to end every `hang`."""
        self.health = health.HealthServicer()
        self._server: grpc.Server | None = None
        self.address = ""

    def start(self, address: str = "localhost:0", tls: grpc.ServerCredentials | None = None) -> None:
        # Not shared with the server of another test: for `localhost`, gRPC listens on one port of two addresses.
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        add_GenerationServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        add_port = self._server.add_insecure_port
        port = add_port(address) if tls is None else self._server.add_secure_port(address, tls)
        self.address = f"{address.rpartition(':')[0]}:{port}"
        self._server.start()

    def stop(self) -> None:
        self.release.set()
        if self._server:
            self._server.stop(grace=None).wait()

    def set_health(self, state: int) -> None:
        self.health.set(GENERATION_SERVICE, state)

    def fail(self, code: grpc.StatusCode, text: str = "failed", *details: Message) -> Response:
        """A response with this status; details add a google.rpc.Status."""

        def respond(_request: Any, context: grpc.ServicerContext) -> Any:
            if not details:
                context.abort(code, text)
            status = Status(code=code.value[0], message=text)
            for detail in details:
                status.details.add().Pack(detail)
            context.abort_with_status(rpc_status.to_status(status))

        return respond

    def hang(self, _request: Any, context: grpc.ServicerContext) -> Any:
        """A response that waits until the call is cancelled or the test ends."""
        context.add_callback(self._on_call_end)
        self.release.wait(30)
        return piece_message()

    def _on_call_end(self) -> None:
        self.cancelled.set()
        self.release.set()

    def Generate(self, request: pb.GenerateRequest, context: Any) -> Any:  # noqa: N802 (the contract's name)
        return self._answer(request, context, lambda *_: piece_message())

    def StreamGenerate(self, request: pb.StreamGenerateRequest, context: Any) -> Any:  # noqa: N802
        return self._answer(request, context, lambda *_: iter(stream_messages(tokens=request.resume_tokens)))

    def Evaluate(self, request: pb.EvaluateRequest, context: Any) -> Any:  # noqa: N802
        evaluations = [evaluation_message() for _ in request.pieces]
        return self._answer(request, context, lambda *_: pb.EvaluateResponse(evaluations=evaluations))

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> Any:  # noqa: N802
        models = [model_message(), model_message("origin")]
        return self._answer(request, context, lambda *_: pb.ListModelsResponse(models=models))

    def GetModel(self, request: pb.GetModelRequest, context: Any) -> Any:  # noqa: N802
        found = model_message(request.name or "chorales")
        return self._answer(request, context, lambda *_: pb.GetModelResponse(model=found))

    def _answer(self, request: Any, context: grpc.ServicerContext, default: Response) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        return (self.script.popleft() if self.script else default)(request, context)


class AnyClient:
    """Either client, called in the same way. The synchronous client runs in a thread."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        function = getattr(self.client, method)
        if inspect.iscoroutinefunction(function):
            return await function(*args, **options)
        return await asyncio.to_thread(function, *args, **options)

    async def updates(self, **options: Any) -> list[StreamUpdate]:
        """All updates of a stream."""
        stream = self.client.stream(**options)
        if isinstance(stream, AsyncStream):
            return [update async for update in stream]
        return await asyncio.to_thread(list, stream)


Connect = Callable[..., AnyClient]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A running server."""
    scripted = ScriptedServer()
    scripted.start()
    scripted.set_health(health_pb2.HealthCheckResponse.SERVING)
    yield scripted
    scripted.stop()


@pytest.fixture
def idle_server() -> Iterator[ScriptedServer]:
    """A server that the test starts."""
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Literal["sync", "async"]:
    """Kind of client."""
    return request.param  # type: ignore[no-any-return]


@pytest_asyncio.fixture
async def connect(kind: str) -> AsyncIterator[Connect]:
    """Make clients of this kind. They are closed when the test ends."""
    clients: list[AnyClient] = []

    def make(*args: Any, **options: Any) -> AnyClient:
        clients.append(AnyClient((Client if kind == "sync" else AsyncClient)(*args, **options)))
        return clients[-1]

    yield make
    for client in clients:
        await client("close")


@pytest.fixture
def midi_path(tmp_path: Path) -> Path:
    return tmp_path / "a.mid"


@pytest.fixture
def piece() -> Piece:
    """The piece of `piece_message`."""
    return parse_piece(piece_message())


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mid"
    path.write_bytes(MIDI)
    return path
