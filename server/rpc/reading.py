"""Takes requests in: a few of each connection at a time, and none for ever."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from music.errors import FantasiaError
from server.errors import MalformedRequestError, RequestTimeoutError
from server.rpc.account import log_call
from server.rpc.interceptor import METHODS, SERVICE, Context, Interceptor, MethodHandler
from server.rpc.observer import CallObserver
from server.rpc.request_id import assign_request_id
from server.rpc.status import status_of
from server.rpc.translation import abort

_REQUEST_SECONDS: Final = 10.0
"""How long a request may take to arrive, once it is its turn."""


class _Connection:
    """Whose turn it is to be read, among the calls of one connection."""

    def __init__(self, limit: int) -> None:
        self.calls = 0
        self.turn = asyncio.Semaphore(limit)


class RequestReader(Interceptor):
    """Stands outside all others: they see requests that are there, as bytes.

    Left to gRPC, every call that opens is read at once, and a peer may have as many messages half sent as streams open:
    one connection took 400 MB with 400. A call that is not being read keeps no more than its stream's window.

    Calls that it refuses are counted and logged as all others are.

    Args:
        observer: is told of calls of our own service that are refused here.
        limit: most calls of one connection that are read at once.
        seconds: how long a request may take to arrive, once it is its turn.
    """

    def __init__(self, observer: CallObserver, limit: int, seconds: float = _REQUEST_SECONDS) -> None:
        super().__init__()
        self._observer = observer
        self._limit = limit
        self._seconds = seconds
        self._connections: dict[str, _Connection] = {}

    def wrap(self, path: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> MethodHandler:
        """See `Interceptor.wrap`."""
        if handler.request_streaming:
            return handler
        parse = handler.request_deserializer or bytes
        inner: Callable[[Any, Context], Awaitable[Any]]
        inner = handler.unary_stream if handler.response_streaming else handler.unary_unary  # type: ignore[assignment]

        # What gRPC gives to iterate over is left alone: begun, it would keep the request until a collection finds it.
        async def read(_: AsyncIterator[bytes], context: Context) -> Any:
            began, peer = time.perf_counter(), context.peer()
            try:
                request = parse(await self._read(peer, context))
            except (DecodeError, EOFError):
                await self._refuse(path, context, peer, began, MalformedRequestError(_expected(path)))
            except TimeoutError:
                await self._refuse(path, context, peer, began, RequestTimeoutError(self._seconds))
            try:
                return await inner(request, context)
            except grpc.aio.AbortError as error:
                # gRPC keeps the error, and with it all that its frames hold, until a full collection, which is rare:
                # a thousand refused requests of 1 MiB would take 2 GB.
                request = error.__context__ = None
                raise error.with_traceback(None) from None

        wrap = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return wrap(read, None, handler.response_serializer)

    async def _read(self, peer: str, context: Context) -> bytes:
        connection = self._connections.setdefault(peer, _Connection(self._limit))
        connection.calls += 1
        try:
            async with connection.turn, asyncio.timeout(self._seconds):
                data: bytes | object = await context.read()
            if not isinstance(data, bytes):  # `grpc.aio.EOF`
                raise EOFError
            return data
        finally:
            connection.calls -= 1
            if not connection.calls:
                del self._connections[peer]

    async def _refuse(self, path: str, context: Context, peer: str, began: float, error: FantasiaError) -> None:
        status = status_of(error)
        assert status is not None
        request_id = assign_request_id(context)
        method = METHODS.get(path)
        if method is not None:
            self._observer.received(method)
        try:
            await abort(context, status)
        finally:
            seconds, code = time.perf_counter() - began, context.code()
            if method is not None:
                self._observer.finished(method, code.name, seconds)
            log_call(method or path, code, seconds, peer=peer, request_id=request_id, reason=str(error))


def _expected(path: str) -> str:
    """Name of the message that a method takes, as far as we know it."""
    method = METHODS.get(path)
    return path.removeprefix("/") if method is None else SERVICE.methods_by_name[method].input_type.full_name
