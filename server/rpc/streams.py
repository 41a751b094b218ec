"""Bounds the calls that never end by themselves: health watches and reflection."""

import inspect
import logging
import time
from collections import Counter
from typing import Any, Final

import grpc

from server.errors import TooManyStreamsError
from server.rpc.interceptor import Context, Interceptor, MethodHandler
from server.rpc.status import status_of
from server.rpc.translation import abort

_log = logging.getLogger(__name__)
_SECONDS_A_LINE: Final = 1.0


class StreamLimiter(Interceptor):
    """Refuses calls with streamed answers beyond so many of one connection.

    A load balancer watches the health of one or two services; each watch keeps a task, and its memory, for ever.

    Args:
        limit: most such calls of one connection at once.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._open: Counter[str] = Counter()
        self._refused = 0  # since the last line about it
        self._quiet_until = 0.0

    def wrap(self, path: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> MethodHandler:
        """See `Interceptor.wrap`."""
        if not handler.response_streaming:
            return handler
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def limited(request: Any, context: Context) -> None:
            await self._run(path, inner, request, context)

        wrap = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return wrap(limited, handler.request_deserializer, handler.response_serializer)

    async def _run(self, path: str, inner: Any, request: Any, context: Context) -> None:
        peer = context.peer()
        if self._open[peer] >= self._limit:
            self._tell(path, peer)
            status = status_of(TooManyStreamsError(self._limit))
            assert status is not None
            await abort(context, status)
        self._open[peer] += 1
        try:
            if inspect.isasyncgenfunction(inner):
                async for response in inner(request, context):
                    await context.write(response)
            else:
                await inner(request, context)
        finally:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]

    def _tell(self, path: str, peer: str) -> None:
        self._refused += 1
        now = time.monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + _SECONDS_A_LINE
        calls, self._refused = self._refused, 0
        code = grpc.StatusCode.RESOURCE_EXHAUSTED.name
        _log.warning("call", extra={"fields": {"method": path, "code": code, "peer": peer, "calls": calls}})
