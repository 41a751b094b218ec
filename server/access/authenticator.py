"""Finds out who calls, and whether that caller may."""

from collections.abc import Callable, Sequence
from typing import Final

from music.errors import FantasiaError
from server.access.callers import Caller, CallerStore, Service
from server.access.observer import AccessObserver, Refusal
from server.errors import PermissionDeniedError, UnauthenticatedError, shortened

_SCHEME: Final = "bearer"
_NO_TOKEN: Final = "this server needs a token: send it in the metadata as `authorization: Bearer TOKEN`"  # noqa: S105
_UNKNOWN_TOKEN: Final = "the server does not know this token: it is wrong, or no longer valid"  # noqa: S105


class Authenticator:
    """Names callers: by their token, else by their client certificate, else by their connection.

    Args:
        callers: of the callers file; None: calls need no token.
        observer: is told of refused calls.
    """

    def __init__(self, callers: CallerStore | None, observer: AccessObserver) -> None:
        self._callers = callers
        self._observer = observer

    def caller(
        self, authorization: Sequence[str], certificate_names: Sequence[str], peer: Callable[[], str], service: Service
    ) -> Caller:
        """The caller of a call.

        Args:
            authorization: the values of the metadata `authorization`.
            certificate_names: names in the client certificate that TLS has verified, the most specific first; none
                without a certificate.
            peer: gives the connection, as gRPC writes it.
            service: what is called.

        Raises:
            UnauthenticatedError: a token is needed, and none is there that the server knows.
            PermissionDeniedError: the caller may not use the service.
        """
        if self._callers is None:
            if certificate_names:
                return Caller.of_certificate(certificate_names[0])
            return Caller.of_connection(peer())
        caller = self._configured(self._callers, authorization, certificate_names)
        if service not in caller.services:
            raise self._refused(
                Refusal.NOT_ALLOWED, PermissionDeniedError(caller.name, service, sorted(caller.services))
            )
        return caller

    def _configured(
        self, callers: CallerStore, authorization: Sequence[str], certificate_names: Sequence[str]
    ) -> Caller:
        if authorization:
            scheme, _, token = authorization[0].partition(" ")
            if len(authorization) > 1 or scheme.lower() != _SCHEME or not token.strip():
                raise self._refused(Refusal.NO_TOKEN, UnauthenticatedError(_NO_TOKEN))
            caller = callers.by_token(token.strip())
            if caller is None:
                raise self._refused(Refusal.UNKNOWN_TOKEN, UnauthenticatedError(_UNKNOWN_TOKEN))
            return caller
        for name in certificate_names:
            if (caller := callers.by_certificate(name)) is not None:
                return caller
        text = _NO_TOKEN
        if certificate_names:
            text += f"; no caller has the client certificate {shortened(certificate_names[0])}"
        raise self._refused(Refusal.NO_TOKEN, UnauthenticatedError(text))

    def _refused(self, refusal: Refusal, error: FantasiaError) -> FantasiaError:
        self._observer.refused(refusal)
        return error
