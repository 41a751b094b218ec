"""The port that Prometheus scrapes: HTTP/1.1, one request a connection, all of them on one thread.

What a connection may cost is bounded, so that no peer can take descriptors or threads from the gRPC server: each has a
deadline for its request and one for its answer, and where `MAX_CONNECTIONS` are open the oldest gives way.
"""

import asyncio
import http
import logging
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Final

import h11
from prometheus_client import CollectorRegistry

from server.errors import StartupError
from server.metrics.exposition import Answer, Exposition, Query, refusal

_log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 256
"""Open at once; more wait to be accepted."""
MAX_HEAD_BYTES: Final = 16 * 1024
"""Of a request's first line and headers."""
REQUEST_SECONDS: Final = 5.0
"""How long a request may take to arrive, whole."""
ANSWER_SECONDS: Final = 10.0
"""How long an answer may take to be read by the peer."""
_EVICTABLE_SECONDS: Final = 1.0
"""How old a connection must be to give way to a new one where as many are open as may be."""
_CLOSING_SECONDS: Final = 1.0
"""How long the peer may take to close a connection that was answered, so that the answer is not lost in a reset."""
_NO_DESCRIPTOR_SECONDS: Final = 0.1
"""How long to wait where the process has no descriptor left for a connection."""
_BACKLOG: Final = 1024
_READ_BYTES: Final = 4096


class MetricsEndpoint:
    """Answers scrapes on a thread of its own; listens from the start.

    Args:
        registry: what to show.
        host: address to listen on.
        port: 0 takes a free one.

    Raises:
        StartupError: the address cannot be listened on.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        try:
            host.encode("idna")  # what the socket will do; it would tell of a failure in another way each time
            self._listener = _listen(host, port)
        except OSError as error:
            # Python adds the address once more.
            reason = (error.strerror or str(error)).partition(" (while attempting")[0]
            raise StartupError(f"cannot listen on {host}:{port} for metrics: {reason}") from error
        except UnicodeError as error:  # such as a label of more than 63 characters
            raise StartupError(f"cannot listen on {host!a} for metrics: it is no host name") from error
        self._port = int(self._listener.getsockname()[1])
        self._exposition = Exposition(registry)
        self._open: dict[asyncio.Task[None], float] = {}  # with when it was accepted, the oldest first
        self._rendering: dict[Query, asyncio.Task[Answer]] = {}
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
            except OSError:  # the peer is gone already, or the process has no descriptor left
                await asyncio.sleep(_NO_DESCRIPTOR_SECONDS)
                continue
            task = asyncio.create_task(self._talk(connection))
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

    async def _talk(self, connection: socket.socket) -> None:
        """Read one request, answer it, close."""
        wire = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        head = False
        with suppress(OSError, TimeoutError):
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    request = await _request(wire, connection)
            except TimeoutError:
                answer = refusal(408, f"no whole request came within {REQUEST_SECONDS:g} s")
            except h11.RemoteProtocolError as error:
                answer = refusal(error.error_status_hint, str(error))
            else:
                if request is None:
                    return
                head = request.method == b"HEAD"
                answer = await self._answer(request)
            async with asyncio.timeout(ANSWER_SECONDS):
                await _send(wire, connection, answer, head=head)

    async def _answer(self, request: h11.Request) -> Answer:
        asked = self._exposition.query(request)
        if isinstance(asked, Answer):
            return asked
        try:
            return await self._rendered(asked)
        except Exception as error:
            _log.exception("no metrics", exc_info=error)
            return refusal(500, "the metrics could not be read; the server's log says why")

    async def _rendered(self, query: Query) -> Answer:
        """The metrics, rendered after now, once for all who ask the same at the same time."""
        if query not in self._rendering:
            self._rendering[query] = asyncio.create_task(self._render(query))
        return await asyncio.shield(self._rendering[query])

    async def _render(self, query: Query) -> Answer:
        await asyncio.sleep(0)  # every request that has come by now joins in
        del self._rendering[query]  # one that comes from here on sees later numbers
        return self._exposition.render(query)


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


async def _request(wire: h11.Connection, connection: socket.socket) -> h11.Request | None:
    """The request's head; None where the peer closed the connection instead.

    Raises:
        h11.RemoteProtocolError: what came is no HTTP, or too long.
    """
    loop = asyncio.get_running_loop()
    while True:
        event = wire.next_event()
        if isinstance(event, h11.Request):
            return event
        if isinstance(event, h11.ConnectionClosed):
            return None
        wire.receive_data(await loop.sock_recv(connection, _READ_BYTES))


async def _send(wire: h11.Connection, connection: socket.socket, answer: Answer, *, head: bool) -> None:
    """Send the answer, without its body for a HEAD request, and wait a little for the peer to close.

    What else the peer sends is read and dropped.
    """
    loop = asyncio.get_running_loop()
    headers = [*answer.headers, ("Content-Length", str(len(answer.body))), ("Connection", "close")]
    reason = http.HTTPStatus(answer.status).phrase
    data = wire.send(h11.Response(status_code=answer.status, headers=headers, reason=reason)) or b""
    if not head:
        data += wire.send(h11.Data(data=answer.body)) or b""
    data += wire.send(h11.EndOfMessage()) or b""
    await loop.sock_sendall(connection, data)
    connection.shutdown(socket.SHUT_WR)
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSING_SECONDS):
            while await loop.sock_recv(connection, _READ_BYTES):
                pass
