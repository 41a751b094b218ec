"""Reads the requests of calls: a few of each connection at a time, each within a time limit."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from server.errors import MalformedRequestError, RequestTimeoutError
from server.rpc.context import Context
from server.rpc.interceptor import Call, Interceptor, Method, MethodHandler, as_call, make_handler
from server.rpc.logging_interceptor import CallObserver, refuse

_REQUEST_SECONDS: Final = 10.0


class _Connection:
    """The calls of one connection whose request has not arrived."""

    def __init__(self, limit: int) -> None:
        self.calls = 0
        self.reading = asyncio.Semaphore(limit)


class RequestReaderInterceptor(Interceptor):
    """Reads and parses the request of every call that has exactly one, before any other interceptor runs.

    gRPC itself would read every call at once, so a peer could have as many half-sent messages as open streams: 400
    streams of one connection took 400 MB. A call that waits to be read holds no more than its stream's window. gRPC
    would also parse requests itself, and answer malformed ones with the name of a Python class, uncounted.

    Requests that do not arrive, or are malformed, are refused here, counted and logged. The requests of a stream are
    read when the handler asks for them; `StreamLimitInterceptor` bounds the number of such calls.

    Args:
        observer: counts the refused calls of our own service.
        limit: maximum number of calls of one connection that are read at once.
        seconds: how long a request may take to arrive, from the moment when it is read.
    """

    def __init__(self, observer: CallObserver, limit: int, seconds: float = _REQUEST_SECONDS) -> None:
        super().__init__()
        self._observer = observer
        self._limit = limit
        self._seconds = seconds
        self._connections: dict[str, _Connection] = {}

    def wrap(self, method: Method, handler: MethodHandler) -> MethodHandler:
        """A handler that takes a stream from gRPC, so that this class decides when to read it."""
        call = as_call(handler)
        parse = handler.request_deserializer or bytes

        async def wrapped(stream: AsyncIterator[Any], context: Context) -> Any:
            # An iteration over `stream` would keep the request until a garbage collection, so `_read` does without.
            request: Any = stream
            try:
                if not method.request_streaming:
                    request = await self._request(method, parse, context)
                return await self.intercept(method, call, request, context)
            except grpc.aio.AbortError as error:
                # gRPC keeps the error, and with it everything that its frames hold, until a full garbage collection,
                # which is rare: a thousand refused requests of 1 MiB would take 2 GB.
                request = error.__context__ = None
                raise error.with_traceback(None) from None

        return make_handler(
            wrapped,
            request_streaming=True,
            response_streaming=method.response_streaming,
            request_deserializer=handler.request_deserializer if method.request_streaming else None,
            response_serializer=handler.response_serializer,
        )

    async def intercept(self, method: Method, call: Call, request: Any, context: Context) -> Any:
        """See `Interceptor.intercept`."""
        return await call(request, context)

    async def _request(self, method: Method, parse: Callable[[bytes], Any], context: Context) -> Any:
        """The call's request, parsed."""
        start, peer = time.perf_counter(), context.peer()
        try:
            return parse(await self._read(peer, context))
        except (DecodeError, EOFError):
            await refuse(
                method, context, MalformedRequestError(method.request_type), self._observer, peer=peer, start=start
            )
        except TimeoutError:
            await refuse(method, context, RequestTimeoutError(self._seconds), self._observer, peer=peer, start=start)

    async def _read(self, peer: str, context: Context) -> bytes:
        """The bytes of the call's request.

        Raises:
            EOFError: the call has no request.
            TimeoutError: the request did not arrive in time.
        """
        connection = self._connections.setdefault(peer, _Connection(self._limit))
        connection.calls += 1
        try:
            async with connection.reading, asyncio.timeout(self._seconds):
                data: bytes | object = await context.read()
            if not isinstance(data, bytes):  # `grpc.aio.EOF`
                raise EOFError
            return data
        finally:
            connection.calls -= 1
            if not connection.calls:
                del self._connections[peer]
