"""The id of a call: in the log, in errors, and sent back to the caller."""

import re
import secrets
from typing import Final

from server.rpc.interceptor import Context

REQUEST_ID: Final = "x-request-id"
"""Key of the metadata, of requests and of answers."""
_SANE: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def assign_request_id(context: Context) -> str:
    """Take the caller's id from the request's metadata, or make one, and send it back.

    An id is printable ASCII without spaces, 128 characters at most; any other is replaced. It goes back in the trailing
    metadata: after initial metadata, gRPC would take the call for begun and no longer retry it.
    """
    given = next((value for key, value in context.invocation_metadata() or () if key == REQUEST_ID), None)
    sane = isinstance(given, str) and _SANE.fullmatch(given)
    request_id = str(given) if sane else secrets.token_hex(8)
    context.set_trailing_metadata(((REQUEST_ID, request_id),))
    return request_id


def request_id_of(context: Context) -> str:
    """The id that `assign_request_id` gave the call."""
    return next(str(value) for key, value in context.trailing_metadata() if key == REQUEST_ID)
