"""Finds out who calls before anything of a call is read, and refuses callers who may not."""

import time
from typing import Any, Final

import grpc

from server.access.access import Access
from server.access.callers import Caller, Service
from server.access.observer import Refusal
from server.access.rates import RateLimit
from server.errors import PermissionDeniedError, RateLimitError, UnauthenticatedError
from server.rpc.caller import named_caller, set_caller
from server.rpc.context import Context
from server.rpc.credentials import certificate_names
from server.rpc.interceptor import Call, Interceptor, Method
from server.rpc.logging_interceptor import CallObserver, refuse

_AUTHORIZATION: Final = "authorization"
_HEALTH: Final = "/grpc.health.v1.Health/"


def needs_interceptor(access: Access) -> bool:
    """Whether anything has to be known about callers. Without this interceptor, a call costs nothing more."""
    return access.names_callers or access.calls_per_minute > 0


class AccessInterceptor(Interceptor):
    """Names the caller of each call, and refuses callers who are unknown, may not use the service or call too much.

    This is the outermost interceptor: a peer cannot make the server read a request before its token is checked. So it
    counts and logs the calls that it refuses.

    Args:
        access: who may call.
        observer: counts refused calls.
    """

    def __init__(self, access: Access, observer: CallObserver) -> None:
        super().__init__()
        self._access = access
        self._observer = observer
        self._rates = RateLimit()

    def applies_to(self, method: Method) -> bool:
        """See `Interceptor.applies_to`."""
        service = service_of(method)
        access = {"health": self._access.health, "reflection": self._access.reflection}.get(service, "checked")
        return access == "checked"

    async def intercept(self, method: Method, call: Call, request: Any, context: Context) -> Any:
        """See `Interceptor.intercept`."""
        start = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        try:
            await self._admit(method, context, start)
            response = await call(request, context)
            code = context.code() or grpc.StatusCode.OK
            return response
        except grpc.aio.AbortError as error:  # which gRPC keeps: see `RequestReaderInterceptor`
            code = context.code()
            request = error.__context__ = None
            raise error.with_traceback(None) from None
        finally:
            caller = named_caller()
            if caller is not None and caller.is_configured and method.is_ours:
                self._access.observer.caller_call(caller.name, code.name)

    async def _admit(self, method: Method, context: Context, start: float) -> None:
        """Name the caller, or refuse the call."""
        try:
            caller = self._caller(method, context)
            set_caller(caller)
            if method.is_ours:
                self._count(caller)
        except (UnauthenticatedError, PermissionDeniedError, RateLimitError) as error:
            await refuse(method, context, error, self._observer, peer=context.peer(), start=start)

    def _caller(self, method: Method, context: Context) -> Caller:
        metadata = context.invocation_metadata() or ()
        names = certificate_names(context.auth_context()) if self._access.has_client_certificates else ()
        return self._access.authenticator.caller(
            [str(value) for key, value in metadata if key == _AUTHORIZATION], names, context.peer, service_of(method)
        )

    def _count(self, caller: Caller) -> None:
        """Count a call for the caller's limit.

        Raises:
            RateLimitError: the caller has made too many calls in the last minute.
        """
        limit = caller.calls_per_minute or self._access.calls_per_minute
        if not limit:
            return
        now = time.monotonic()
        if (seconds := self._rates.seconds_to_wait(caller.key, limit, 1, now)) > 0:
            self._access.observer.refused(Refusal.CALLS)
            raise RateLimitError(str(caller), "calls", limit, seconds)
        self._rates.use(caller.key, limit, 1, now)


def service_of(method: Method) -> Service:
    """The service of a method, as the callers file names it."""
    if method.is_ours:
        return "generation"
    return "health" if method.path.startswith(_HEALTH) else "reflection"
