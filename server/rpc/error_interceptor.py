"""Ends calls that raise an error with a gRPC status."""

import asyncio
import logging
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

from music.errors import FantasiaError
from server.errors import MalformedRequestError
from server.rpc.context import CallEndedError, Context, abort, request_id_of
from server.rpc.interceptor import Call, Interceptor, Method
from server.rpc.status import internal_status, status_of

_log = logging.getLogger(__name__)


class ErrorInterceptor(Interceptor):
    """Translates every exception of a handler, of any kind of rpc, into a status with details.

    Domain errors get the status of `status_of`. Everything else is a fault of the server: it is logged, and the caller
    gets INTERNAL with the request id. A call that has ended before is cancelled.
    """

    async def intercept(self, method: Method, call: Call, request: Any, context: Context) -> Any:
        """See `Interceptor.intercept`."""
        try:
            return await call(request, context)
        except grpc.aio.AbortError:
            raise
        except CallEndedError as error:
            raise asyncio.CancelledError("the call had ended") from error
        except FantasiaError as error:
            await abort(context, status_of(error, method.field_path) or _log_fault(method, error, context))
        except Exception as error:
            # gRPC parses the messages of a request stream while the handler reads them.
            malformed = method.request_streaming and isinstance(error, DecodeError)
            status = status_of(MalformedRequestError(method.request_type)) if malformed else None
            await abort(context, status or _log_fault(method, error, context))


def _log_fault(method: Method, error: Exception, context: Context) -> Status:
    request_id = request_id_of(context)
    _log.error("fault", exc_info=error, extra={"fields": {"method": method.name, "request_id": request_id}})
    return internal_status(request_id)
