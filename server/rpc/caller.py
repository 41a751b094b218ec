"""The caller of a call, for everything that handles the call."""

from contextvars import ContextVar

from server.access.callers import Caller
from server.rpc.context import Context

_caller: ContextVar[Caller] = ContextVar("caller")
"""The caller of the call whose task this is: gRPC runs each call in a task of its own."""


def set_caller(caller: Caller) -> None:
    """Say who calls, in the task of the call."""
    _caller.set(caller)


def caller_of(context: Context) -> Caller:
    """The caller; its connection if no caller was set."""
    found = _caller.get(None)
    return Caller.of_connection(context.peer()) if found is None else found


def named_caller() -> Caller | None:
    """The caller if it has a name, from a token or a client certificate."""
    found = _caller.get(None)
    return None if found is None or found.is_connection else found
