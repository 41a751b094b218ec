"""A real gRPC server over a socket, which answers by script, and both clients behind one face."""

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
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
from fantasia_client import AsyncClient, Client

Answer = Callable[[Any, grpc.ServicerContext], Any]
"""What one call gets: a function of the request and the context."""

MIDI = b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0"


def piece_message(midi: bytes = MIDI) -> pb.GenerateResponse:
    """Two bars of 3/4 with two voices."""
    return pb.GenerateResponse(
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
        model="chorales",
        model_digest="ab" * 32,
        meter=pb.Meter(numerator=3, denominator=4),
        tempo_bpm=90,
        program=19,
        timing=pb.Timing(queue_seconds=0.25, first_token_seconds=0.5, total_seconds=1.5),
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
    )


class ScriptedServer(GenerationServiceServicer):
    """Gives each call the next answer of `script`, and a sound one when the script is at its end."""

    def __init__(self) -> None:
        self.script: deque[Answer] = deque()
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
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
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
        self.health.set("", state)

    def fail(self, code: grpc.StatusCode, text: str = "no luck", *details: Message) -> Answer:
        """An answer with this status, and with a google.rpc.Status where there are details."""

        def answer(_request: Any, context: grpc.ServicerContext) -> Any:
            if not details:
                context.abort(code, text)
            status = Status(code=code.value[0], message=text)
            for detail in details:
                status.details.add().Pack(detail)
            context.abort_with_status(rpc_status.to_status(status))

        return answer

    def hang(self, _request: Any, context: grpc.ServicerContext) -> Any:
        """An answer that does not come before the call is cancelled or the test ends."""
        context.add_callback(self._hung_up)
        self.release.wait(30)
        return piece_message()

    def _hung_up(self) -> None:
        self.cancelled.set()
        self.release.set()

    def Generate(self, request: pb.GenerateRequest, context: Any) -> Any:  # noqa: N802 (the contract's name)
        return self._answer(request, context, lambda *_: piece_message())

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> Any:  # noqa: N802
        models = [model_message(), model_message("origin")]
        return self._answer(request, context, lambda *_: pb.ListModelsResponse(models=models))

    def GetModel(self, request: pb.GetModelRequest, context: Any) -> Any:  # noqa: N802
        found = model_message(request.name or "chorales")
        return self._answer(request, context, lambda *_: pb.GetModelResponse(model=found))

    def _answer(self, request: Any, context: grpc.ServicerContext, otherwise: Answer) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        return (self.script.popleft() if self.script else otherwise)(request, context)


class Face:
    """Either client, called alike: the sync one works in a thread."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        function = getattr(self.client, method)
        if inspect.iscoroutinefunction(function):
            return await function(*args, **options)
        return await asyncio.to_thread(function, *args, **options)


Connect = Callable[..., Face]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that is up."""
    scripted = ScriptedServer()
    scripted.start()
    scripted.set_health(health_pb2.HealthCheckResponse.SERVING)
    yield scripted
    scripted.stop()


@pytest.fixture
def idle_server() -> Iterator[ScriptedServer]:
    """A server that is not up before the test starts it."""
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Literal["sync", "async"]:
    """Which client."""
    return request.param  # type: ignore[no-any-return]


@pytest_asyncio.fixture
async def connect(kind: str) -> AsyncIterator[Connect]:
    """Make clients, of either kind, that are closed when the test ends."""
    faces: list[Face] = []

    def make(*args: Any, **options: Any) -> Face:
        faces.append(Face((Client if kind == "sync" else AsyncClient)(*args, **options)))
        return faces[-1]

    yield make
    for face in faces:
        await face("close")


@pytest.fixture
def midi_path(tmp_path: Path) -> Path:
    return tmp_path / "a.mid"
