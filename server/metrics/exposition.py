"""Answers HTTP requests for metrics: what is served where, and in which format."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import h11
from prometheus_client import CollectorRegistry, make_wsgi_app

PATH: Final = "/metrics"
_METHODS: Final = "GET, HEAD"
_PLAIN: Final = ("Content-Type", "text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refusal(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """An answer that says in a line what is wrong."""
    return Answer(status, (_PLAIN, *headers), f"{text}\n".encode())


@dataclass(frozen=True, slots=True)
class Query:
    """What a scrape asks for; requests with equal queries get equal answers."""

    accept: str = ""
    """The header `Accept`: Prometheus' text format or OpenMetrics."""
    accept_encoding: str = ""
    """The header `Accept-Encoding`: gzip or not."""
    query: str = ""
    """The URL's query; `name[]=x` asks for the metrics called x alone."""


class Exposition:
    """Renders a registry with prometheus_client."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._app = make_wsgi_app(registry)

    def query(self, request: h11.Request) -> Query | Answer:
        """What the request asks for, or the answer to a request that asks for no metrics."""
        if request.http_version not in (b"1.0", b"1.1"):  # such as the first bytes of a gRPC client
            return refusal(505, "this port speaks HTTP/1 alone")
        try:
            target = urlsplit(request.target.decode("ascii", "replace"))
        except ValueError:  # such as http://[
            return refusal(400, "the request's target is no URL")
        if target.path != PATH:
            return refusal(404, f"not found; metrics are at {PATH}")
        if request.method not in (b"GET", b"HEAD"):
            return refusal(405, f"only {_METHODS} are answered", ("Allow", _METHODS))
        headers = {name: value.decode("latin-1") for name, value in request.headers}
        return Query(headers.get(b"accept", ""), headers.get(b"accept-encoding", ""), target.query)

    def render(self, query: Query) -> Answer:
        """The metrics as they are now; in the plain text format where the header `Accept` cannot be understood."""
        try:
            return self._rendered(query)
        except (TypeError, ValueError):  # prometheus_client's for a version such as `abc`
            return self._rendered(Query(query="", accept_encoding=query.accept_encoding))

    def _rendered(self, query: Query) -> Answer:
        headers: list[tuple[str, str]] = []

        def start(status: str, given: list[tuple[str, str]], *_: Any) -> Any:
            headers.extend(given)

        environment = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": PATH,
            "QUERY_STRING": query.query,
            "HTTP_ACCEPT": query.accept,
            "HTTP_ACCEPT_ENCODING": query.accept_encoding,
        }
        body = b"".join(self._app(environment, start))
        return Answer(200, tuple(headers), body)
