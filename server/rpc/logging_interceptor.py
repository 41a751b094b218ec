"""Counts and logs calls of our service."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, Protocol

import grpc

from fantasia.v1 import generation_pb2 as pb
from music.errors import FantasiaError
from server.errors import shortened
from server.rpc.caller import named_caller
from server.rpc.context import Context, abort, address_of, call_facts, request_id_of
from server.rpc.interceptor import Call, Method, ServiceInterceptor
from server.rpc.status import status_of

_log = logging.getLogger(__name__)
# gRPC cancels the task when the deadline passes; its clock and ours may differ by this much.
_DEADLINE_SLACK_SECONDS: Final = 0.005
_REASON_CHARACTERS: Final = 300
_NO_LENGTH: Final = "unset"
"""Logged for a request without a length: the model decides where the piece ends."""


class CallObserver(Protocol):
    """Observes calls of our service.

    All methods run on the event loop and must be quick. For each call, `received` is called first and `finished` last,
    each exactly once.
    """

    def received(self, method: str) -> None:
        """A call of a method such as `Generate` arrived."""

    def finished(self, method: str, code: str, seconds: float) -> None:
        """The call ended with a gRPC code, such as `OK` or `DEADLINE_EXCEEDED`."""

    def first_note(self, model: str, version: int, seconds: float) -> None:
        """A stream has its first message with a note, `seconds` after the call arrived. The note may be a given one."""

    def notes_written(self, model: str, version: int, notes: int) -> None:
        """Pieces with this many notes were written."""

    def pieces_evaluated(self, model: str, version: int, pieces: int) -> None:
        """This many pieces were evaluated."""


class LoggingInterceptor(ServiceInterceptor):
    """Counts every call and writes one log line when it ends.

    Calls without a whole request, or of a caller who may not call, do not get here: `refuse` counts and logs those.

    Args:
        observer: counts calls.
        default_model: gives the model that is logged for requests that name none.
    """

    def __init__(self, observer: CallObserver, default_model: Callable[[], str]) -> None:
        super().__init__()
        self._observer = observer
        self._default_model = default_model

    async def intercept(self, method: Method, call: Call, request: Any, context: Context) -> Any:
        """See `Interceptor.intercept`."""
        self._observer.received(method.name)
        start = time.perf_counter()
        request_id = request_id_of(context)
        peer = context.peer()  # now, since gRPC forgets it when the call ends
        code, reason = grpc.StatusCode.UNKNOWN, ""
        facts: dict[str, str] = {}
        call_facts.set(facts)
        try:
            response = await call(request, context)
            code, reason = context.code() or grpc.StatusCode.OK, context.details()
            return response
        except asyncio.CancelledError:
            code, reason = _why_cancelled(context)
            raise
        except grpc.aio.AbortError:
            code, reason = context.code(), context.details()
            raise
        finally:
            seconds = time.perf_counter() - start
            self._observer.finished(method.name, code.name, seconds)
            if _log.isEnabledFor(logging.INFO):
                requested = {**self._requested(request), **facts}
                log_call(method, code, seconds, peer=peer, request_id=request_id, reason=reason, requested=requested)

    def _requested(self, request: Any) -> dict[str, str]:
        """Model, and length or number of pieces, of the request; nothing for a stream of requests."""
        if isinstance(request, pb.StreamGenerateRequest):
            request = request.request
        if isinstance(request, pb.GenerateRequest):
            return {"model": self._model(request.model), "length": _length(request)}
        if isinstance(request, pb.EvaluateRequest):
            return {"model": self._model(request.model), "pieces": str(len(request.pieces))}
        if isinstance(request, pb.GetModelRequest):
            return {"model": self._model(request.name)}
        return {}

    def _model(self, name: str) -> str:
        return shortened(name or self._default_model())


def log_call(
    method: Method,
    code: grpc.StatusCode,
    seconds: float,
    *,
    peer: str,
    request_id: str,
    reason: str = "",
    requested: Mapping[str, str] | None = None,
) -> None:
    """Write the log line of a call that has ended.

    Args:
        method: what was called.
        code: how the call ended.
        seconds: duration of the call.
        peer: the caller, as gRPC writes it.
        request_id: the id that caller and log share.
        reason: why the call failed.
        requested: what the request asked for, as further fields.
    """
    fields: dict[str, object] = {
        "method": method.name,
        "code": code.name,
        "seconds": round(seconds, 6),
        "peer": address_of(peer),
    }
    if (caller := named_caller()) is not None:
        fields["caller"] = caller.name
    fields |= {"request_id": request_id, **(requested or {})}
    if reason:
        fields["reason"] = reason[:_REASON_CHARACTERS]
    _log.info("call", extra={"fields": fields})


async def refuse(
    method: Method, context: Context, error: FantasiaError, observer: CallObserver, *, peer: str, start: float
) -> NoReturn:
    """End a call that no `LoggingInterceptor` sees with the status of an error. Count it if it is ours, and log it.

    Args:
        method: what was called.
        context: of the call.
        error: why it is refused; its status is not INTERNAL.
        observer: counts calls.
        peer: the caller, as gRPC writes it.
        start: when the call arrived, in seconds of `time.perf_counter`.

    Raises:
        grpc.aio.AbortError: the status is sent.
        asyncio.CancelledError: the call ended before.
    """
    status = status_of(error)
    assert status is not None
    request_id = request_id_of(context)
    if method.is_ours:
        observer.received(method.name)
    try:
        await abort(context, status)
    finally:
        seconds, code = time.perf_counter() - start, context.code()
        if method.is_ours:
            observer.finished(method.name, code.name, seconds)
        log_call(method, code, seconds, peer=peer, request_id=request_id, reason=str(error))


def _length(request: pb.GenerateRequest) -> str:
    """The requested length, such as `bars:8` or `open:4-16 bars`; a bound of 0 is none."""
    unit = request.WhichOneof("length")
    if unit is None:
        return _NO_LENGTH
    if unit == "open":
        return f"open:{request.open.min_bars}-{request.open.max_bars} bars"
    return f"{unit}:{getattr(request, unit)}"


def _why_cancelled(context: Context) -> tuple[grpc.StatusCode, str]:
    remaining = context.time_remaining()
    if remaining is not None and remaining <= _DEADLINE_SLACK_SECONDS:
        return grpc.StatusCode.DEADLINE_EXCEEDED, "the caller's deadline passed"
    return grpc.StatusCode.CANCELLED, "the caller cancelled or was lost"
