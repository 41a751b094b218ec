"""The asyncio client."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1.generation_pb2_grpc import GenerationServiceStub
from fantasia_client.base_client import BaseClient, Deadline
from fantasia_client.connection import GENERATION_SERVICE, ChannelOptions
from fantasia_client.errors import FantasiaClientError
from fantasia_client.messages import (
    parse_evaluations,
    parse_generation,
    parse_health,
    parse_model,
    parse_models,
    parse_piece,
    parse_unavailable_models,
)
from fantasia_client.model_info import ModelInfo, UnavailableModel
from fantasia_client.request_messages import (
    build_evaluate_request,
    build_generate_request,
    build_get_model_request,
    build_stream_request,
)
from fantasia_client.request_types import GenerateOptions, GivenPiece, Music, show_options
from fantasia_client.stream import AsyncStream
from fantasia_client.types import Evaluation, Generation, Health, Piece

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class AsyncClient(BaseClient):
    """A connection to a Fantasia server, for asyncio. It is an asynchronous context manager, which closes it.

    The arguments, methods and errors are those of `Client`. Create the client in a running event loop and use it in
    that loop only, since a gRPC channel belongs to one loop. A cancelled task cancels its call, and the server frees
    the resources of that call.

    Raises:
        ValueError: as in `Client`.
        RuntimeError: no event loop is running.
    """

    def _open_channel(self, target: str, credentials: grpc.ChannelCredentials | None, options: ChannelOptions) -> None:
        asyncio.get_running_loop()
        self._channel = (
            grpc.aio.insecure_channel(target, options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options)
        )
        self._stub = GenerationServiceStub(self._channel)
        self._health_stub = health_pb2_grpc.HealthStub(self._channel)

    @show_options
    async def generate(self, **options: Unpack[GenerateOptions]) -> Piece:
        """Generate one piece. The arguments and errors are those of `Client.generate`.

        Args:
            **options: arguments of `GenerateOptions`.
        """
        request = build_generate_request(options)
        response = await self._call(
            self._stub.Generate, request, options.get("timeout_seconds"), options.get("wait_for_ready")
        )
        return parse_piece(response, request)

    @show_options
    async def generate_many(self, pieces: int | None, **options: Unpack[GenerateOptions]) -> Generation:
        """Generate several pieces with one request. The arguments and errors are those of `Client.generate_many`.

        Args:
            pieces: number of pieces.
            **options: arguments of `GenerateOptions`.
        """
        request = build_generate_request(options, method="generate_many", pieces=pieces)
        response = await self._call(
            self._stub.Generate, request, options.get("timeout_seconds"), options.get("wait_for_ready")
        )
        return parse_generation(response, request)

    @show_options
    def stream(self, **options: Unpack[GenerateOptions]) -> AsyncStream:
        """Generate one piece and receive its notes as soon as they are certain. As `Client.stream`.

            async with client.stream(bars=8) as stream:
                async for update in stream:
                    play(update.notes)

        Args:
            **options: arguments of `GenerateOptions`.
        """
        request = build_stream_request(options)
        deadline = self._start_call(options.get("timeout_seconds"))
        call = self._stub.StreamGenerate(
            request,
            timeout=deadline.seconds,
            wait_for_ready=self._should_wait(options.get("wait_for_ready")),
            metadata=self._metadata(),
        )
        return AsyncStream(call, request.request, partial(self._translate, deadline=deadline))

    async def evaluate(
        self,
        pieces: Sequence[Music | GivenPiece],
        *,
        model: str | None = None,
        model_version: int | None = None,
        timeout_seconds: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> tuple[Evaluation, ...]:
        """Measure how likely pieces are under a model. As `Client.evaluate`."""
        request = build_evaluate_request(pieces, model, model_version)
        return parse_evaluations(await self._call(self._stub.Evaluate, request, timeout_seconds, wait_for_ready))

    async def list_models(
        self, *, timeout_seconds: float | None = None, wait_for_ready: bool | None = None
    ) -> tuple[ModelInfo, ...]:
        """The loaded models, the default model first. As `Client.list_models`."""
        request = pb.ListModelsRequest()
        return parse_models(await self._call(self._stub.ListModels, request, timeout_seconds, wait_for_ready))

    async def list_unavailable_models(
        self, *, timeout_seconds: float | None = None, wait_for_ready: bool | None = None
    ) -> tuple[UnavailableModel, ...]:
        """The versions of models that take no calls. As `Client.list_unavailable_models`."""
        request = pb.ListModelsRequest()
        response = await self._call(self._stub.ListModels, request, timeout_seconds, wait_for_ready)
        return parse_unavailable_models(response)

    async def get_model(
        self,
        name: str | None = None,
        version: int | None = None,
        *,
        timeout_seconds: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> ModelInfo:
        """A version of a model; None for the default model, and for its default version. As `Client.get_model`."""
        request = build_get_model_request(name, version)
        response = await self._call(self._stub.GetModel, request, timeout_seconds, wait_for_ready)
        return parse_model(response.model)

    async def health(self, *, timeout_seconds: float | None = None, wait_for_ready: bool | None = None) -> Health:
        """Whether the server is ready for requests. As `Client.health`."""
        request = health_pb2.HealthCheckRequest(service=GENERATION_SERVICE)
        return parse_health(await self._call(self._health_stub.Check, request, timeout_seconds, wait_for_ready))

    async def close(self) -> None:
        """Close the connection and cancel running calls. A second `close` does nothing."""
        self._closed = True
        await self._channel.close()

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]",  # not subscriptable at run time
        request: RequestT,
        timeout_seconds: float | None,
        wait_for_ready: bool | None,
    ) -> ResponseT:
        deadline = self._start_call(timeout_seconds)
        try:
            return await method(
                request,
                timeout=deadline.seconds,
                wait_for_ready=self._should_wait(wait_for_ready),
                metadata=self._metadata(),
            )
        except grpc.RpcError as error:
            raise await self._translate(error, deadline) from error

    async def _translate(self, error: grpc.RpcError, deadline: Deadline) -> FantasiaClientError:
        """The client's error for a failed call."""
        details = error.details() or ""
        if (seconds := self._probe_seconds(error, deadline)) > 0:
            with suppress(TimeoutError):  # all threads of the loop's executor may be busy
                async with asyncio.timeout(seconds):
                    details = await asyncio.to_thread(self._probe.run, details, seconds)
        return self._error(error, deadline, details)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
