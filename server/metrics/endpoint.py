"""The HTTP endpoint for Prometheus: HTTP/1.1, one request per connection, all connections on one thread.

The cost of a connection is bounded, so that no peer can take file descriptors or threads from the gRPC server: request
and response have time limits, and if `MAX_CONNECTIONS` are open, the oldest one is closed for a new one.

Why not `prometheus_client.start_http_server`: it starts a thread for every connection and has no time limits, so 500
idle connections hold 500 threads and 500 file descriptors of the gRPC server for ever. The tests that rule this out are
`test_idle_and_slow_peers_take_no_threads_and_their_descriptors_are_freed` and
`test_peers_of_the_metrics_port_cannot_harm_grpc`.
"""

import asyncio
import http
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import h11
from prometheus_client import CollectorRegistry

from server.errors import StartupError
from server.metrics.connection import Connection, open_connection
from server.metrics.exposition import Exposition, Response, Scrape, error_response

_log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 256
"""Maximum number of open connections; further ones wait to be accepted."""
MAX_HEAD_BYTES: Final = 16 * 1024
"""Maximum size of a request's first line and headers."""
REQUEST_SECONDS: Final = 5.0
"""Time limit for a whole request to arrive."""
RESPONSE_SECONDS: Final = 10.0
"""Time limit for the peer to read the response."""
_EVICTABLE_SECONDS: Final = 1.0
"""Minimum age of a connection that is closed for a new one."""
_NO_DESCRIPTOR_SECONDS: Final = 0.1
"""Pause when the process has no file descriptor left for a connection."""
_BACKLOG: Final = 1024

Authorize = Callable[[Sequence[str], Mapping[str, Any] | None], Response | None]
"""Gives the error response to a scrape, or None if it is allowed, for the values of the header `Authorization` and the
client's certificate, as `ssl.SSLObject.getpeercert` gives it."""


class MetricsEndpoint:
    """Answers scrapes on its own thread; listens as soon as it is created.

    Args:
        registry: the metrics.
        host: address or name to listen on.
        port: port to listen on; 0 for any free port.
        context: gives the TLS context of a new connection; None for no TLS.
        authorize: refuses scrapes; None allows all.

    Raises:
        StartupError: the endpoint cannot listen on the address.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        host: str,
        port: int,
        *,
        context: Callable[[], ssl.SSLContext] | None = None,
        authorize: Authorize | None = None,
    ) -> None:
        self._context = context
        self._authorize = authorize
        try:
            host.encode("idna")  # as the socket will do, but with one kind of error
            self._listener = _listen(host, port)
        except OSError as error:
            # Python repeats the address.
            reason = (error.strerror or str(error)).partition(" (while attempting")[0]
            raise StartupError(f"cannot listen on {host}:{port} for metrics: {reason}") from error
        except UnicodeError as error:  # such as a label of more than 63 characters
            raise StartupError(f"cannot listen on {host!a} for metrics: it is not a host name") from error
        self._port = int(self._listener.getsockname()[1])
        self._exposition = Exposition(registry)
        self._open: dict[asyncio.Task[None], float] = {}  # with the time when it was accepted, oldest first
        self._rendering: dict[Scrape, asyncio.Task[Response]] = {}
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The bound port."""
        return self._port

    def close(self) -> None:
        """Stop listening, close every connection and join the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()
            self._listener.close()

    async def _serve(self) -> None:
        accepting = asyncio.create_task(self._accept())
        await self._stop.wait()
        accepting.cancel()
        for task in self._open:
            task.cancel()
        await asyncio.gather(accepting, *self._open, *self._rendering.values(), return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._make_room()
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:  # the peer has closed, or the process has no file descriptor left
                await asyncio.sleep(_NO_DESCRIPTOR_SECONDS)
                continue
            task = asyncio.create_task(self._handle(connection))
            self._open[task] = time.monotonic()
            task.add_done_callback(partial(self._closed, connection))

    def _closed(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        connection.close()  # here, since a task may be cancelled before it begins
        del self._open[task]

    async def _make_room(self) -> None:
        """Wait until one more connection may be open."""
        while len(self._open) >= MAX_CONNECTIONS:
            oldest, since = next(iter(self._open.items()))
            left = since + _EVICTABLE_SECONDS - time.monotonic()
            if left <= 0:
                oldest.cancel()
            await asyncio.wait(self._open, timeout=max(left, 0) or None, return_when=asyncio.FIRST_COMPLETED)

    async def _handle(self, connection: socket.socket) -> None:
        """Read one request and answer it."""
        with suppress(OSError, TimeoutError):
            context = None if self._context is None else self._context()
            opened = await open_connection(connection, context, REQUEST_SECONDS)
            try:
                await self._exchange(opened)
            finally:
                opened.abort()

    async def _exchange(self, connection: Connection) -> None:
        wire = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        head = False
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await _request(wire, connection)
        except TimeoutError:
            response = error_response(408, f"the request did not arrive within {REQUEST_SECONDS:g} s")
        except h11.RemoteProtocolError as error:
            response = error_response(error.error_status_hint, str(error))
        else:
            if request is None:
                return
            head = request.method == b"HEAD"
            response = await self._answer(request, connection)
        async with asyncio.timeout(RESPONSE_SECONDS):
            await _send(wire, connection, response, head=head)

    async def _answer(self, request: h11.Request, connection: Connection) -> Response:
        if self._authorize is not None:
            values = [value.decode("latin-1") for name, value in request.headers if name == b"authorization"]
            if (refusal := self._authorize(values, connection.peer_certificate)) is not None:
                return refusal
        scrape = self._exposition.parse(request)
        if isinstance(scrape, Response):
            return scrape
        try:
            return await self._rendered(scrape)
        except Exception as error:
            _log.exception("scrape failed", exc_info=error)
            return error_response(500, "the metrics could not be read; the server's log says why")

    async def _rendered(self, scrape: Scrape) -> Response:
        """The metrics, rendered after this call, once for all equal requests that wait."""
        if scrape not in self._rendering:
            self._rendering[scrape] = asyncio.create_task(self._render(scrape))
        return await asyncio.shield(self._rendering[scrape])

    async def _render(self, scrape: Scrape) -> Response:
        await asyncio.sleep(0)  # requests that have arrived already share the rendering
        del self._rendering[scrape]  # later requests need later numbers
        return self._exposition.render(scrape)


def _listen(host: str, port: int) -> socket.socket:
    """Listen on one address of the host, an IPv4 address if it has one.

    Raises:
        OSError: the name cannot be resolved, or its address cannot be listened on.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    dualstack = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    listener = socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=dualstack)
    listener.setblocking(False)
    return listener


async def _request(wire: h11.Connection, connection: Connection) -> h11.Request | None:
    """The head of the request; None if the peer closed the connection.

    Raises:
        h11.RemoteProtocolError: the bytes are not HTTP, or too many.
    """
    while True:
        event = wire.next_event()
        if isinstance(event, h11.Request):
            return event
        if isinstance(event, h11.ConnectionClosed):
            return None
        wire.receive_data(await connection.receive())


async def _send(wire: h11.Connection, connection: Connection, response: Response, *, head: bool) -> None:
    """Send the response, without its body for a HEAD request, and wait for the peer to close."""
    headers = [*response.headers, ("Content-Length", str(len(response.body))), ("Connection", "close")]
    reason = http.HTTPStatus(response.status).phrase
    data = wire.send(h11.Response(status_code=response.status, headers=headers, reason=reason)) or b""
    if not head:
        data += wire.send(h11.Data(data=response.body)) or b""
    data += wire.send(h11.EndOfMessage()) or b""
    await connection.finish(data)
