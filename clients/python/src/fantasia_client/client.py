"""The synchronous client."""

from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc
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
from fantasia_client.stream import Stream
from fantasia_client.types import Evaluation, Generation, Health, Piece

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class Client(BaseClient):
    """A connection to a Fantasia server. Threads may share it. It is a context manager, which closes it.

    Every call takes `timeout_seconds` (None: the client's default; `math.inf`: no limit), which covers all
    attempts, and `wait_for_ready` (None: the client's default). A call that fails raises a
    `FantasiaClientError`; the module `fantasia_client.errors` lists them.

    Args:
        server: `HOST`, `HOST:PORT` (default port 50051), or a gRPC name such as `dns:///HOST:PORT`,
            `ipv4:ADDRESS:PORT,ADDRESS:PORT` or `unix:PATH`.
        timeout_seconds: default deadline of a call, at least 0.01.
        wait_for_ready: if the server cannot be reached, wait for it until the deadline.
        retry: which failed calls are retried, and when.
        keepalive: when a lost connection is detected.
        tls: encrypt the connection. Without `tls` and `credentials`, it is not encrypted.
        credentials: encrypt the connection with gRPC credentials, for cases that `tls` does not cover.
        token: names the caller, if the server needs that: text, `Token.from_file(path)` or `Token.from_environment()`.
            Without TLS, only send it to this machine: else there is an `InsecureTokenWarning`.

    Raises:
        ValueError: the address or the token is invalid, the timeout is not a number or below 0.01, or both `tls` and
            `credentials` are given.
    """

    def _open_channel(self, target: str, credentials: grpc.ChannelCredentials | None, options: ChannelOptions) -> None:
        self._channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._stub = GenerationServiceStub(self._channel)
        self._health_stub = health_pb2_grpc.HealthStub(self._channel)

    @show_options
    def generate(self, **options: Unpack[GenerateOptions]) -> Piece:
        """Generate one piece: new, or partly given and partly written. The best candidate is returned.

            client.generate(bars=8)
            client.generate(given="song.mid", bars=8)
            client.generate(given="song.mid", rewrite=[Region(bars=(5, 6))])

        Args:
            **options: arguments of `GenerateOptions`.

        Raises:
            InvalidRequestError: a field is invalid; `violations` lists each field and its valid values.
            ModelNotFoundError: the server has no such model.
            ConstraintsNotMetError: no candidate could obey the constraints.
            AccessDeniedError: the token is missing, or is not valid for this call.
            ServerBusyError: the server's queue is full, or you have used too much; retry after `retry_after_seconds`.
            ServerUnavailableError: the server cannot be reached, and all retries failed.
            DeadlineExceededError: the deadline passed, or is too early for the length.
            FantasiaClientError: the call failed for another reason.
            OSError: the given MIDI file cannot be read.
            TypeError: there is no such argument.
        """
        request = build_generate_request(options)
        response = self._call(
            self._stub.Generate, request, options.get("timeout_seconds"), options.get("wait_for_ready")
        )
        return parse_piece(response, request)

    @show_options
    def generate_many(self, pieces: int | None, **options: Unpack[GenerateOptions]) -> Generation:
        """Generate several pieces with one request: the best candidates, the best first.

        Args:
            pieces: number of pieces, 1 to `candidates`; None for 1. Without `rewrite`, `candidates` is by default
                this number.
            **options: arguments of `GenerateOptions`.

        Raises:
            FantasiaClientError: as in `generate`.
            OSError: as in `generate`.
            TypeError: there is no such argument.
        """
        request = build_generate_request(options, method="generate_many", pieces=pieces)
        response = self._call(
            self._stub.Generate, request, options.get("timeout_seconds"), options.get("wait_for_ready")
        )
        return parse_generation(response, request)

    @show_options
    def stream(self, **options: Unpack[GenerateOptions]) -> Stream:
        """Generate one piece and receive its notes as soon as they are certain.

            with client.stream(bars=8) as stream:
                for update in stream:
                    play(update.notes)
            stream.piece.save("a.mid")

        With `return_resume_token=True`, a stream that was closed half way can be continued:
        `client.generate(resume=stream.resume_point)`. The deadline covers the whole stream. gRPC retries a failed call
        until the first update.

        Args:
            **options: arguments of `GenerateOptions`.

        Returns:
            An iterator. It raises the errors of the call, which are those of `generate`.

        Raises:
            InvalidRequestError: a value has the wrong type or does not fit its field.
            ClientClosedError: the client has been closed.
            OSError: as in `generate`.
            TypeError: there is no such argument.
        """
        request = build_stream_request(options)
        deadline = self._start_call(options.get("timeout_seconds"))
        call = self._stub.StreamGenerate(
            request,
            timeout=deadline.seconds,
            wait_for_ready=self._should_wait(options.get("wait_for_ready")),
            metadata=self._metadata(),
        )
        return Stream(call, request.request, partial(self._translate, deadline=deadline))

    def evaluate(
        self,
        pieces: Sequence[Music | GivenPiece],
        *,
        model: str | None = None,
        model_version: int | None = None,
        timeout_seconds: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> tuple[Evaluation, ...]:
        """Measure how likely pieces are under a model.

        Args:
            pieces: at most 100 pieces (`Limits.max_evaluated_pieces`): MIDI bytes, paths of MIDI files, generated
                pieces, sequences of notes, or `GivenPiece`s.
            model: name of the model; None for the server's default model.
            model_version: version of the model; None for its default version.
            timeout_seconds: deadline of this call.
            wait_for_ready: whether this call waits for a server that cannot be reached.

        Returns:
            An evaluation for each piece, in their order.

        Raises:
            InvalidRequestError: a piece is invalid; `violations` lists each field and its valid values.
            FantasiaClientError: the call failed for another reason.
            OSError: a MIDI file cannot be read.
        """
        request = build_evaluate_request(pieces, model, model_version)
        return parse_evaluations(self._call(self._stub.Evaluate, request, timeout_seconds, wait_for_ready))

    def list_models(
        self, *, timeout_seconds: float | None = None, wait_for_ready: bool | None = None
    ) -> tuple[ModelInfo, ...]:
        """The loaded models: the default model first, and of each model the default version.

        Raises:
            FantasiaClientError: the call failed.
        """
        request = pb.ListModelsRequest()
        return parse_models(self._call(self._stub.ListModels, request, timeout_seconds, wait_for_ready))

    def list_unavailable_models(
        self, *, timeout_seconds: float | None = None, wait_for_ready: bool | None = None
    ) -> tuple[UnavailableModel, ...]:
        """The versions of models that the server has found, and that take no calls.

        Raises:
            FantasiaClientError: the call failed.
        """
        request = pb.ListModelsRequest()
        response = self._call(self._stub.ListModels, request, timeout_seconds, wait_for_ready)
        return parse_unavailable_models(response)

    def get_model(
        self,
        name: str | None = None,
        version: int | None = None,
        *,
        timeout_seconds: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> ModelInfo:
        """A version of a model; None for the default model, and for its default version.

        Raises:
            InvalidRequestError: the name is not a string, or the version not a whole number.
            ModelNotFoundError: the server has no such model or version.
            FantasiaClientError: the call failed for another reason.
        """
        request = build_get_model_request(name, version)
        response = self._call(self._stub.GetModel, request, timeout_seconds, wait_for_ready)
        return parse_model(response.model)

    def health(self, *, timeout_seconds: float | None = None, wait_for_ready: bool | None = None) -> Health:
        """Whether the server is ready for requests. This call is not retried.

        Raises:
            FantasiaClientError: the call failed.
        """
        request = health_pb2.HealthCheckRequest(service=GENERATION_SERVICE)
        return parse_health(self._call(self._health_stub.Check, request, timeout_seconds, wait_for_ready))

    def close(self) -> None:
        """Close the connection and cancel running calls. A second `close` does nothing."""
        self._closed = True
        self._channel.close()

    def _call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[RequestT, ResponseT]",  # not subscriptable at run time
        request: RequestT,
        timeout_seconds: float | None,
        wait_for_ready: bool | None,
    ) -> ResponseT:
        deadline = self._start_call(timeout_seconds)
        try:
            return method(
                request,
                timeout=deadline.seconds,
                wait_for_ready=self._should_wait(wait_for_ready),
                metadata=self._metadata(),
            )
        except grpc.RpcError as error:
            raise self._translate(error, deadline) from error

    def _translate(self, error: grpc.RpcError, deadline: Deadline) -> FantasiaClientError:
        """The client's error for a failed call."""
        details = error.details() or ""
        if (seconds := self._probe_seconds(error, deadline)) > 0:
            details = self._probe.run(details, seconds)
        return self._error(error, deadline, details)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
