"""Keeps account of calls: tells the observer, writes the log."""

import asyncio
import logging
import time
from typing import Final

import grpc
from google.protobuf.message import Message

from server.rpc.interceptor import Context, Handler, UnaryInterceptor
from server.rpc.observer import CallObserver

_log = logging.getLogger(__name__)
# gRPC cancels the task when the deadline passes; its clock and ours may disagree by as much.
_DEADLINE_SLACK_SECONDS: Final = 0.005
# A server that is overloaded turns away more calls than it answers: a line for each would cost a seventh of the time
# that turning one away takes, and be read by nobody.
_SECONDS_A_REFUSAL: Final = 1.0


class Account(UnaryInterceptor):
    """Stands outside all other interceptors, to see what the caller sees."""

    def __init__(self, observer: CallObserver) -> None:
        super().__init__()
        self._observer = observer
        self._refused = 0  # since the last line about it
        self._quiet_until = 0.0

    async def around(self, method: str, handler: Handler, request: bytes, context: Context) -> Message:
        """Answer with what the handler answers, or raise what it raises."""
        self._observer.received(method)
        start = time.perf_counter()
        code = grpc.StatusCode.UNKNOWN
        try:
            response = await handler(request, context)
            code = grpc.StatusCode.OK
            return response
        except asyncio.CancelledError:
            code = _why_cancelled(context)
            raise
        except grpc.aio.AbortError:
            code = context.code()
            raise
        finally:
            seconds = time.perf_counter() - start
            self._observer.finished(method, code.name, seconds)
            self._log(method, code, seconds)

    def _log(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        fields: dict[str, object] = {"method": method, "code": code.name, "seconds": round(seconds, 6)}
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            self._refused += 1
            now = time.monotonic()
            if now < self._quiet_until:
                return
            self._quiet_until = now + _SECONDS_A_REFUSAL
            fields["calls"], self._refused = self._refused, 0
        _log.info("call", extra={"fields": fields})


def _why_cancelled(context: Context) -> grpc.StatusCode:
    remaining = context.time_remaining()
    if remaining is not None and remaining <= _DEADLINE_SLACK_SECONDS:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return grpc.StatusCode.CANCELLED
