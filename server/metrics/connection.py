"""A connection of the metrics port, with or without TLS."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

_CLOSING_SECONDS: Final = 1.0
"""Time limit for the peer to close the connection after the response; a reset could lose the response."""
_READ_BYTES: Final = 4096


class Connection(Protocol):
    """What the endpoint does with a connection."""

    @property
    def peer_certificate(self) -> Mapping[str, Any] | None:
        """The client's certificate, as `ssl.SSLObject.getpeercert` gives it; None without one."""

    async def receive(self) -> bytes:
        """Some bytes; none at the end."""

    async def finish(self, data: bytes) -> None:
        """Send the last bytes, and wait until the peer closes. Further bytes of the peer are read and dropped."""

    def abort(self) -> None:
        """Release what `open_connection` acquired, except for the socket."""


class _Plain:
    peer_certificate = None

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    async def receive(self) -> bytes:
        return await self._loop.sock_recv(self._socket, _READ_BYTES)

    async def finish(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)
        self._socket.shutdown(socket.SHUT_WR)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                while await self.receive():
                    pass

    def abort(self) -> None:
        pass


class _Secure:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def peer_certificate(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._writer.get_extra_info("peercert")
        return found

    async def receive(self) -> bytes:
        return await self._reader.read(_READ_BYTES)

    async def finish(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self._writer.close()  # sends TLS's close_notify
        await self._writer.wait_closed()

    def abort(self) -> None:
        self._writer.transport.abort()


async def open_connection(
    connection: socket.socket, context: ssl.SSLContext | None, handshake_seconds: float
) -> Connection:
    """The connection of an accepted socket, after the TLS handshake if there is a context.

    Raises:
        OSError: the handshake failed.
    """
    if context is None:
        return _Plain(connection)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(_READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol,
        connection,
        ssl=context,
        ssl_handshake_timeout=handshake_seconds,
        ssl_shutdown_timeout=_CLOSING_SECONDS,
    )
    transport.set_write_buffer_limits(0)  # so that `drain` waits until the peer has read
    return _Secure(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
