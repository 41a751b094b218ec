"""The asyncio client."""

import asyncio
import time
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1.generation_pb2_grpc import GenerationServiceStub
from fantasia_client.address import DEFAULT_SERVER
from fantasia_client.connection import (
    DEFAULT_TIMEOUT_SECONDS,
    TLS,
    Keepalive,
    Retry,
    channel_credentials,
    channel_options,
)
from fantasia_client.diagnosis import LOOK_SECONDS, Diagnosis
from fantasia_client.health import Health, health_from
from fantasia_client.meter import Meter
from fantasia_client.model import ModelInfo
from fantasia_client.piece import Piece
from fantasia_client.requests import generate_request, get_model_request
from fantasia_client.responses import model_from, models_from, piece_from
from fantasia_client.sampling import Sampling
from fantasia_client.settings import CallSettings
from fantasia_client.status import error_from_rpc, needs_look

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class AsyncClient:
    """A connection to a Fantasia server, for asyncio; a context manager closes it.

    Make it inside a running event loop, and use it in that loop alone: a gRPC channel belongs to one. A
    cancelled task cancels its call, and the server frees what it took.

    Every call takes `timeout_seconds` (None: the client's default, `math.inf`: no limit), which covers all
    attempts, and `wait_for_ready` (None: the client's default). A call that fails raises a
    `FantasiaClientError`; `fantasia_client.errors` draws their tree.

    Args:
        server: `HOST`, `HOST:PORT` (port 50051 where none is given), or a gRPC name such as `dns:///HOST:PORT`,
            `ipv4:ADDRESS:PORT,ADDRESS:PORT` or `unix:PATH`.
        timeout_seconds: default deadline of a call, at least 0.01.
        wait_for_ready: wait, within the deadline, for a server that cannot be reached yet.
        retry: when a failed call is tried again.
        keepalive: how a lost connection is noticed.
        tls: encrypt the connection. Without this and `credentials` it is not encrypted.
        credentials: encrypt it, for what `tls` does not cover.

    Raises:
        ValueError: the address is wrong, the timeout is no number or below 0.01, or both `tls` and `credentials` are
            given.
        RuntimeError: no event loop is running.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        wait_for_ready: bool = False,
        retry: Retry | None = None,
        keepalive: Keepalive | None = None,
        tls: TLS | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        asyncio.get_running_loop()
        self._settings = CallSettings(server, timeout_seconds, wait_for_ready)
        secure = channel_credentials(tls, credentials)
        options = channel_options(retry or Retry(), keepalive or Keepalive())
        self._channel = (
            grpc.aio.insecure_channel(self._settings.server, options)
            if secure is None
            else grpc.aio.secure_channel(self._settings.server, secure, options)
        )
        self._diagnosis = Diagnosis(self._settings.server, secure)
        self._stub = GenerationServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def generate(
        self,
        *,
        bars: int | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        seed: int | None = None,
        model: str | None = None,
        sampling: Sampling | None = None,
        tempo_bpm: float | None = None,
        program: int | None = None,
        meter: Meter | str | None = None,
        timeout_seconds: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Piece:
        """Ask for one piece. The server or the model decides what is None.

        Args:
            bars: length in bars of the meter; at most one of `bars`, `steps` and `seconds`.
            steps: length in steps of the model's grid.
            seconds: length in seconds at the tempo, rounded up to a whole step.
            seed: seed of the random stream, 0 to 2^64 - 1; the same request and seed give the same bytes.
            model: name of the model; None for the server's default one.
            sampling: how tokens are drawn.
            tempo_bpm: quarter notes a minute, 10 to 400.
            program: General MIDI program of every voice, 0 to 127; 0 is the grand piano.
            meter: time signature, as a `Meter` or like `"3/4"`; one of the model's.
            timeout_seconds: deadline of this call.
            wait_for_ready: whether this call waits for the connection.

        Raises:
            InvalidRequestError: a field is refused; `violations` says which, and what would be right.
            ModelNotFoundError: the server has no such model.
            ServerBusyError: the server's queue is full; try again after `retry_after_seconds`.
            ServerUnavailableError: the server cannot be reached, and retries are spent.
            DeadlineExceededError: no piece came in time.
            FantasiaClientError: anything else that went wrong.
        """
        request = generate_request(
            bars=bars,
            steps=steps,
            seconds=seconds,
            seed=seed,
            model=model,
            sampling=sampling,
            tempo_bpm=tempo_bpm,
            program=program,
            meter=meter,
        )
        return piece_from(await self._call(self._stub.Generate, request, timeout_seconds, wait_for_ready))

    async def list_models(
        self, *, timeout_seconds: float | None = None, wait_for_ready: bool | None = None
    ) -> tuple[ModelInfo, ...]:
        """The models that the server has loaded, the default one first.

        Raises:
            FantasiaClientError: the call failed.
        """
        request = pb.ListModelsRequest()
        return models_from(await self._call(self._stub.ListModels, request, timeout_seconds, wait_for_ready))

    async def get_model(
        self,
        name: str | None = None,
        *,
        timeout_seconds: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> ModelInfo:
        """One model; None for the server's default one.

        Raises:
            InvalidRequestError: the name is no text.
            ModelNotFoundError: the server has no such model.
            FantasiaClientError: anything else that went wrong.
        """
        request = get_model_request(name)
        response = await self._call(self._stub.GetModel, request, timeout_seconds, wait_for_ready)
        return model_from(response.model)

    async def health(self, *, timeout_seconds: float | None = None, wait_for_ready: bool | None = None) -> Health:
        """Whether the server takes work. Asked once: this call is not retried.

        Raises:
            FantasiaClientError: the server gave no answer.
        """
        request = health_pb2.HealthCheckRequest()
        return health_from(await self._call(self._health.Check, request, timeout_seconds, wait_for_ready))

    async def close(self) -> None:
        """Close the connection; calls that are running are cancelled. To close again does nothing."""
        self._settings.closed = True
        await self._channel.close()

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]",  # not subscriptable at run time
        request: RequestT,
        timeout_seconds: float | None,
        wait_for_ready: bool | None,
    ) -> ResponseT:
        deadline = self._settings.deadline(timeout_seconds)
        ready = self._settings.readiness(wait_for_ready)
        started = time.monotonic()
        try:
            return await method(request, timeout=deadline, wait_for_ready=ready)
        except grpc.RpcError as error:
            found, left = "", self._settings.left(deadline, started)
            if left > 0 and needs_look(error, self._diagnosis):
                seconds = min(left, LOOK_SECONDS)
                with suppress(TimeoutError):  # where the threads of the loop have other things to do
                    async with asyncio.timeout(seconds):
                        found = await asyncio.to_thread(self._diagnosis.look, error.details() or "", seconds)
            raise error_from_rpc(error, self._settings.server, deadline, self._diagnosis, found) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
