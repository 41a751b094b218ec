"""Who may scrape the metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.access.authenticator import Authenticator
from server.access.tls_context import peer_names
from server.errors import PermissionDeniedError, UnauthenticatedError
from server.metrics.exposition import Response, error_response


class ScrapeAuthorizer:
    """Refuses scrapes of callers who may not use metrics, by the same rules as calls."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def __call__(self, authorization: Sequence[str], certificate: Mapping[str, Any] | None) -> Response | None:
        """The error response to a scrape; None if it is allowed. See `server.metrics.endpoint.Authorize`."""
        try:
            self._authenticator.caller(authorization, peer_names(certificate), lambda: "", "metrics")
        except UnauthenticatedError as error:
            return error_response(401, str(error), ("WWW-Authenticate", "Bearer"))
        except PermissionDeniedError as error:
            return error_response(403, str(error))
        return None
