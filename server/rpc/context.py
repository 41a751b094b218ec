"""What interceptors do with the context of a call: its request id, its peer, its end with an error."""

import asyncio
import re
import secrets
from contextvars import ContextVar
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import grpc
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import to_status

Context = grpc.aio.ServicerContext[Any, Any]

CallEndedError = grpc.aio.InternalError
"""What gRPC's reading, writing and aborting raise if the client has cancelled, is lost or missed its deadline.

Usually gRPC cancels the task first. If it does not, it logs this error as a fault of the server. So `abort` and
`ErrorInterceptor` raise `asyncio.CancelledError` in its place.
"""
call_facts: ContextVar[dict[str, str]] = ContextVar("call_facts")
"""Further fields of the log line of the present call. The handler adds what it finds out, such as the version."""
REQUEST_ID: Final = "x-request-id"
"""Key of the request id in the metadata of requests and answers."""
_VALID_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def request_id_of(context: Context) -> str:
    """The id of the call, which the first use of this function assigns.

    It is the caller's id from the request's metadata if that is valid (1 to 128 characters of printable ASCII without
    spaces), else a new one. It is sent back in the trailing metadata: with initial metadata, gRPC would regard the call
    as begun and no longer retry it.
    """
    for key, value in context.trailing_metadata():
        if key == REQUEST_ID:
            return str(value)
    given = next((value for key, value in context.invocation_metadata() or () if key == REQUEST_ID), None)
    valid = isinstance(given, str) and _VALID_REQUEST_ID.fullmatch(given)
    request_id = str(given) if valid else secrets.token_hex(8)
    context.set_trailing_metadata(((REQUEST_ID, request_id),))
    return request_id


def address_of(peer: str) -> str:
    """The peer's address in common notation: gRPC writes `ipv4:127.0.0.1:1` or `ipv6:%5B::1%5D:1`."""
    return unquote(peer.removeprefix("ipv4:").removeprefix("ipv6:"))


async def abort(context: Context, status: Status) -> NoReturn:
    """End the call with the status and its details; trailing metadata that is already set stays.

    Raises:
        grpc.aio.AbortError: the status is sent.
        asyncio.CancelledError: the call ended before.
    """
    native = to_status(status)
    try:
        await context.abort(native.code, native.details, (*context.trailing_metadata(), *native.trailing_metadata))
    except CallEndedError as error:
        raise asyncio.CancelledError("the call had ended") from error
    raise AssertionError("abort always raises")
