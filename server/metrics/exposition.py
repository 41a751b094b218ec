"""Answers HTTP requests for metrics: paths, methods and formats."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import h11
from prometheus_client import CollectorRegistry, make_wsgi_app

PATH: Final = "/metrics"
_METHODS: Final = "GET, HEAD"
_PLAIN: Final = ("Content-Type", "text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def error_response(status: int, text: str, *headers: tuple[str, str]) -> Response:
    """A response with one line that says what is wrong."""
    return Response(status, (_PLAIN, *headers), f"{text}\n".encode())


@dataclass(frozen=True, slots=True)
class Scrape:
    """The parts of a scrape that its response depends on."""

    accept: str = ""
    """The header `Accept`: Prometheus' text format or OpenMetrics."""
    accept_encoding: str = ""
    """The header `Accept-Encoding`: gzip or not."""
    query: str = ""
    """The URL's query; `name[]=x` requests only the metric x."""


class Exposition:
    """Renders a registry with prometheus_client."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._app = make_wsgi_app(registry)

    def parse(self, request: h11.Request) -> Scrape | Response:
        """The scrape that is requested, or the error response if the request is not for metrics."""
        if request.http_version not in (b"1.0", b"1.1"):  # such as the first bytes of a gRPC client
            return error_response(505, "this port supports HTTP/1 only")
        try:
            target = urlsplit(request.target.decode("ascii", "replace"))
        except ValueError:  # such as http://[
            return error_response(400, "the request's target is not a URL")
        if target.path != PATH:
            return error_response(404, f"not found; metrics are at {PATH}")
        if request.method not in (b"GET", b"HEAD"):
            return error_response(405, "method not allowed; use GET or HEAD", ("Allow", _METHODS))
        headers = {name: value.decode("latin-1") for name, value in request.headers}
        return Scrape(headers.get(b"accept", ""), headers.get(b"accept-encoding", ""), target.query)

    def render(self, scrape: Scrape) -> Response:
        """The metrics as they are now; in the plain text format if the header `Accept` is invalid."""
        try:
            return self._rendered(scrape)
        except (TypeError, ValueError):  # raised by prometheus_client for a version such as `abc`
            return self._rendered(Scrape(query="", accept_encoding=scrape.accept_encoding))

    def _rendered(self, scrape: Scrape) -> Response:
        headers: list[tuple[str, str]] = []

        def start(status: str, given: list[tuple[str, str]], *_: Any) -> Any:
            headers.extend(given)

        environment = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": PATH,
            "QUERY_STRING": scrape.query,
            "HTTP_ACCEPT": scrape.accept,
            "HTTP_ACCEPT_ENCODING": scrape.accept_encoding,
        }
        body = b"".join(self._app(environment, start))
        return Response(200, tuple(headers), body)
