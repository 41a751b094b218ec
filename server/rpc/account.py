"""Counts and logs calls: one line for each, whatever becomes of it."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError, Message

from fantasia.v1 import generation_pb2 as pb
from server.errors import shortened
from server.rpc.interceptor import Context, Handler, UnaryInterceptor
from server.rpc.observer import CallObserver
from server.rpc.request_id import assign_request_id

_log = logging.getLogger(__name__)
# gRPC cancels the task when the deadline passes; its clock and ours may disagree by as much.
_DEADLINE_SLACK_SECONDS: Final = 0.005
_REASON_CHARACTERS: Final = 300
_OPEN_LENGTH: Final = "open"
"""The length of a piece whose end is left to the model."""


class Account(UnaryInterceptor):
    """Stands outside all interceptors that see whole requests. `RequestReader`, further out, records its own refusals.

    Args:
        observer: is told of calls.
        default_model: what a request that names no model means.
    """

    def __init__(self, observer: CallObserver, default_model: str) -> None:
        super().__init__()
        self._observer = observer
        self._default_model = default_model

    async def around(self, method: str, handler: Handler, request: bytes, context: Context) -> Message:
        """Answer with what the handler answers, or raise what it raises."""
        self._observer.received(method)
        start = time.perf_counter()
        request_id = assign_request_id(context)
        peer = context.peer()  # now, since gRPC forgets it as the call ends
        code, reason = grpc.StatusCode.UNKNOWN, ""
        try:
            response = await handler(request, context)
            code = grpc.StatusCode.OK
            return response
        except asyncio.CancelledError:
            code, reason = _why_cancelled(context)
            raise
        except grpc.aio.AbortError:
            code, reason = context.code(), context.details()
            raise
        finally:
            seconds = time.perf_counter() - start
            self._observer.finished(method, code.name, seconds)
            if _log.isEnabledFor(logging.INFO):
                asked = self._asked(method, request)
                log_call(method, code, seconds, peer=peer, request_id=request_id, reason=reason, asked=asked)

    def _asked(self, method: str, data: bytes) -> dict[str, str]:
        """Model and length that a request asks for, as far as it can be read.

        It is read here, since calls are logged too that are refused before they are read.
        """
        try:
            match method:
                case "Generate":
                    request = pb.GenerateRequest.FromString(data)
                    return {"model": self._model(request.model), "length": _length(request)}
                case "GetModel":
                    return {"model": self._model(pb.GetModelRequest.FromString(data).name)}
        except DecodeError:
            pass  # the caller is told so, and the reason says it
        return {}

    def _model(self, name: str) -> str:
        return shortened(name or self._default_model)


def log_call(
    method: str,
    code: grpc.StatusCode,
    seconds: float,
    *,
    peer: str,
    request_id: str,
    reason: str = "",
    asked: Mapping[str, str] | None = None,
) -> None:
    """Write the log line of a call that is over.

    Args:
        method: its name, or its path where it is none of ours.
        code: what it ended with.
        seconds: how long it took.
        peer: who called, as gRPC writes it.
        request_id: what caller and log call it.
        reason: why it failed.
        asked: what it asked for, as further fields.
    """
    fields: dict[str, object] = {
        "method": method,
        "code": code.name,
        "seconds": round(seconds, 6),
        "peer": _address(peer),
        "request_id": request_id,
        **(asked or {}),
    }
    if reason:
        fields["reason"] = reason[:_REASON_CHARACTERS]
    _log.info("call", extra={"fields": fields})


def _length(request: pb.GenerateRequest) -> str:
    """The length asked for, such as `bars:8`."""
    unit = request.WhichOneof("length")
    return _OPEN_LENGTH if unit is None else f"{unit}:{getattr(request, unit)}"


def _address(peer: str) -> str:
    """The peer's address as people write it: gRPC's is `ipv4:127.0.0.1:1` or `ipv6:%5B::1%5D:1`."""
    return unquote(peer.removeprefix("ipv4:").removeprefix("ipv6:"))


def _why_cancelled(context: Context) -> tuple[grpc.StatusCode, str]:
    remaining = context.time_remaining()
    if remaining is not None and remaining <= _DEADLINE_SLACK_SECONDS:
        return grpc.StatusCode.DEADLINE_EXCEEDED, "the caller's deadline passed"
    return grpc.StatusCode.CANCELLED, "the caller cancelled or was lost"
