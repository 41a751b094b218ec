"""Limits streaming calls that nothing else limits: health watches and reflection."""

import logging
import time
from collections import Counter
from typing import Any, Final

import grpc

from server.errors import TooManyStreamsError
from server.rpc.context import Context, address_of
from server.rpc.interceptor import Call, Interceptor, Method

_log = logging.getLogger(__name__)
_SECONDS_PER_LINE: Final = 1.0


class StreamLimitInterceptor(Interceptor):
    """Refuses calls with streamed requests or responses when there are too many of them.

    Streamed pieces are not counted here. They end by themselves, and `CallerQuota` limits them like all pieces; the
    engine's slots and queue, and the streams that a connection may open, limit them too.

    Such a call may last for ever, and holds a task and its memory. A load balancer watches the health of one or two
    services. A call with streamed requests can also hold a half-sent request of the maximum size, so the whole server
    has a limit for them.

    Args:
        per_connection: maximum number of streaming calls of one connection at once.
        request_streams: maximum number of calls with streamed requests of all connections at once.
    """

    def __init__(self, per_connection: int, request_streams: int) -> None:
        super().__init__()
        self._per_connection = per_connection
        self._max_request_streams = request_streams
        self._request_streams = 0
        self._running: Counter[str] = Counter()  # by peer
        self._refused = 0  # since the last log line
        self._next_line_at = 0.0

    def applies_to(self, method: Method) -> bool:
        """See `Interceptor.applies_to`."""
        return method.request_streaming or (method.response_streaming and not method.is_ours)

    async def intercept(self, method: Method, call: Call, request: Any, context: Context) -> Any:
        """See `Interceptor.intercept`.

        Raises:
            TooManyStreamsError: there are too many streaming calls.
        """
        peer = context.peer()
        if self._running.get(peer, 0) >= self._per_connection:
            self._log_refusal(method, peer)
            raise TooManyStreamsError("this connection", "streaming calls", self._per_connection)
        if method.request_streaming and self._request_streams >= self._max_request_streams:
            self._log_refusal(method, peer)
            raise TooManyStreamsError("the server", "calls with streamed requests", self._max_request_streams)
        self._running[peer] += 1
        self._request_streams += method.request_streaming
        try:
            return await call(request, context)
        finally:
            self._request_streams -= method.request_streaming
            self._running[peer] -= 1
            if not self._running[peer]:
                del self._running[peer]

    def _log_refusal(self, method: Method, peer: str) -> None:
        """Log refused calls of other services at most once a second; `LoggingInterceptor` logs our own."""
        if method.is_ours:
            return
        self._refused += 1
        now = time.monotonic()
        if now < self._next_line_at:
            return
        self._next_line_at = now + _SECONDS_PER_LINE
        calls, self._refused = self._refused, 0
        code = grpc.StatusCode.RESOURCE_EXHAUSTED.name
        fields = {"method": method.name, "code": code, "peer": address_of(peer), "calls": calls}
        _log.warning("call", extra={"fields": fields})
