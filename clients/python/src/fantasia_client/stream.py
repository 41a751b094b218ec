"""Streams of notes: what `Client.stream` and `AsyncClient.stream` return."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc
import grpc.aio

from fantasia.v1 import generation_pb2 as pb
from fantasia_client.errors import CallCancelledError, FantasiaClientError, ServerError
from fantasia_client.messages import parse_update
from fantasia_client.request_messages import resume_point
from fantasia_client.types import Generation, Piece, ResumePoint, StreamStart, StreamUpdate

if TYPE_CHECKING:  # not subscriptable at run time
    SyncCall = grpc._CallIterator[pb.StreamGenerateResponse]
    AsyncCall = grpc.aio.UnaryStreamCall[pb.StreamGenerateRequest, pb.StreamGenerateResponse]


class _StreamProgress:
    """What a stream has told so far."""

    def __init__(self, request: pb.GenerateRequest) -> None:
        self._request = request
        self._token = b""
        self._closed = False
        self.start: StreamStart | None = None
        """What is known before the first note; None before the first update."""
        self.watermark_ticks = 0
        """Everything before this tick is final."""
        self.generation: Generation | None = None
        """What `generate_many` would have returned; None before the last update."""

    @property
    def piece(self) -> Piece | None:
        """The finished piece; None before the last update."""
        return self.generation.pieces[0] if self.generation else None

    @property
    def resume_token(self) -> bytes:
        """Resume token of the last update that had one; empty unless the request asked for it."""
        return self._token

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where the piece can be continued: the place of the last update, also after the stream was closed or failed.

        None unless the request had `return_resume_token=True`.
        """
        return resume_point(self._request, self._token)

    def _accept(self, message: pb.StreamGenerateResponse) -> StreamUpdate:
        """The update of a message.

        Raises:
            ServerError: a field has an impossible value.
        """
        update = parse_update(message, self._request)
        self.start = self.start or update.start
        self.watermark_ticks = update.watermark_ticks
        self.generation = update.generation
        self._token = update.resume_token or (update.piece.resume_token if update.piece else b"") or self._token
        return update

    def _check_complete(self) -> None:
        if self.generation is None:
            raise ServerError("the server sent an invalid response: the stream ended without the finished piece")


class Stream(_StreamProgress):
    """An iterator of `StreamUpdate`. It is a context manager, which closes it.

    An error of the call is raised by the iteration, as by `Client.generate`. A closed stream ends.
    """

    def __init__(
        self,
        call: "SyncCall",
        request: pb.GenerateRequest,
        translate: Callable[[grpc.RpcError], FantasiaClientError],
    ) -> None:
        super().__init__(request)
        self._call = call
        self._translate = translate

    def close(self) -> None:
        """Cancel the call. The server frees its resources. A second `close`, or one after the end, does nothing."""
        self._closed = True
        self._call.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamUpdate:
        if self._closed:
            raise StopIteration
        try:
            message = next(self._call)
        except StopIteration:
            self._check_complete()
            raise
        except grpc.RpcError as error:
            if self._closed:  # by another thread
                raise StopIteration from None
            raise self._translate(error) from error
        try:
            return self._accept(message)
        except ServerError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStream(_StreamProgress):
    """An asynchronous iterator of `StreamUpdate`. It is an asynchronous context manager, which closes it.

    An error of the call is raised by the iteration, as by `AsyncClient.generate`. A closed stream ends. A cancelled
    task cancels the call.
    """

    def __init__(
        self,
        call: "AsyncCall",
        request: pb.GenerateRequest,
        translate: Callable[[grpc.RpcError], Awaitable[FantasiaClientError]],
    ) -> None:
        super().__init__(request)
        self._call = call
        self._translate = translate

    async def close(self) -> None:
        """Cancel the call. The server frees its resources. A second `close`, or one after the end, does nothing."""
        self._closed = True
        self._call.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamUpdate:
        if self._closed:
            raise StopAsyncIteration
        try:
            message = await self._call.read()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            if self._closed:  # by another task
                raise StopAsyncIteration from None
            raise CallCancelledError("the call was cancelled: the client was closed") from None
        except grpc.RpcError as error:
            if self._closed:
                raise StopAsyncIteration from None
            raise await self._translate(error) from error
        if not isinstance(message, pb.StreamGenerateResponse):  # the end
            self._check_complete()
            raise StopAsyncIteration
        try:
            return self._accept(message)
        except ServerError:
            await self.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
