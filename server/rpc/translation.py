"""Turns whatever a handler raises into a status for the caller."""

import logging
from typing import NoReturn

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import to_status

from music.errors import FantasiaError
from server.rpc.interceptor import Context, Handler, UnaryInterceptor
from server.rpc.request_id import request_id_of
from server.rpc.status import internal_status, status_of

_log = logging.getLogger(__name__)


class ErrorTranslation(UnaryInterceptor):
    """The one place where errors meet gRPC."""

    async def around(self, method: str, handler: Handler, request: bytes, context: Context) -> Message:
        """Answer with the handler's response, or with the status that its error has."""
        try:
            return await handler(request, context)
        except grpc.aio.AbortError:
            raise
        except FantasiaError as error:
            await abort(context, status_of(error) or _log_fault(method, error, context))
        except Exception as error:
            await abort(context, _log_fault(method, error, context))


def _log_fault(method: str, error: Exception, context: Context) -> Status:
    request_id = request_id_of(context)
    _log.error("fault", exc_info=error, extra={"fields": {"method": method, "request_id": request_id}})
    return internal_status(request_id)


async def abort(context: Context, status: Status) -> NoReturn:
    """End the call with the status, its details included, beside the trailing metadata that the call has already."""
    told = to_status(status)
    await context.abort(told.code, told.details, (*context.trailing_metadata(), *told.trailing_metadata))
    raise AssertionError("abort always raises")
