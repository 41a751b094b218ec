"""Why a server cannot be reached: the cause that tells most, in words.

gRPC tries every address of a name, `127.0.0.1` and `[::1]` of localhost for one, and reports the failure of one of
them: "Connection refused" of an address where nothing listens can hide that the other one answers without TLS. It
also has no words for a server that expects TLS, or a certificate of the client. So where gRPC's words leave that
open, the addresses are looked at once more, within a second.
"""

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Sequence
from enum import Enum, auto
from ipaddress import ip_address
from threading import Lock
from urllib.parse import unquote

import grpc

from fantasia_client.proxy import proxy_for

LOOK_SECONDS = 1.0
"""What looking at the addresses may take, and for how long its result is kept."""

_ADDRESS_SECONDS = 0.4
_MOST_ADDRESSES = 6
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"  # and an empty SETTINGS frame (RFC 9113, section 3.4)

_NO_TLS = "the server does not speak TLS, and this client does: turn TLS off"
_TLS = "the server speaks TLS, and this client does not: turn TLS on"
_NO_CLIENT_CERTIFICATE = "the server refuses this client's certificate, or asks for one that the client does not have"

_CAUSES = (
    (r"WRONG_VERSION_NUMBER|HTTP_REQUEST|UNEXPECTED_MESSAGE", _NO_TLS),
    (r"Hostname Verification Check failed", "the server's certificate is not for the name {host}"),
    (r"VERIFY_FAILED: certificate has expired", "the server's certificate has expired"),
    (
        r"VERIFY_FAILED: certificate is not yet valid",
        "the server's certificate is not valid yet: do both clocks agree?",
    ),
    (
        r"VERIFY_FAILED: (?P<detail>[^:]+)",
        "the server's certificate is not from an authority that this client trusts ({detail})",
    ),
    (r"lookup failed for (?P<name>\S+?)(:\d+)?: (?P<detail>[^\]]+)", "the name {name} cannot be resolved ({detail})"),
    (r"HTTP proxy returned response code (?P<detail>\d+)", "the proxy answered with HTTP status {detail}"),
    (r"connect failed: addr: unix\S+ error: (?P<detail>.+)", "{detail}"),
    (r"Failed parsing HTTP/2", "what answers there does not speak gRPC"),
)
"""What gRPC's words mean, the first that fits."""
_NOT_TLS = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_MESSAGE",
    "PACKET_LENGTH_TOO_LONG",
}
"""What OpenSSL calls bytes that are no record of TLS."""
_VAGUE = re.compile(r"Connection refused|Socket closed|Connection reset|Broken pipe|GOAWAY|unreachable|No route")


class _Look(Enum):
    """What an address does."""

    UNKNOWN = auto()
    """Nothing listens there, or it cannot be told what answers."""
    PLAIN = auto()
    """Something answers, but not in TLS."""
    TLS = auto()
    """A server that speaks TLS."""
    WANTS_CERTIFICATE = auto()
    """A server that speaks TLS and refuses a client without a certificate."""


class Diagnosis:
    """Finds out why a server cannot be reached.

    Args:
        server: address as `checked_server` gives it.
        credentials: of the channel; None where it is not encrypted.
    """

    def __init__(self, server: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.proxy = proxy_for(server)
        self._credentials = credentials
        name = server.removeprefix("dns:").rpartition("/")[2]
        match = re.fullmatch(r"(?P<host>[^:,]+|\[[^\]]+\]):(?P<port>\d+)", name)
        self._place = (match["host"].strip("[]"), int(match["port"])) if match else None
        self._lock = Lock()
        self._found = ""
        self._expires = 0.0

    @property
    def host(self) -> str:
        """The server's host, or an empty text where its address names several."""
        return self._place[0] if self._place else ""

    def needs_look(self, text: str) -> bool:
        """Whether the addresses should be looked at: gRPC's words leave the cause open, and that could tell it.

        Args:
            text: the details of the failed call.
        """
        if self._place is None or self.proxy is not None or not _VAGUE.search(text):
            return False
        return not ("refused" in text and _is_numeric(self.host))  # of one address, that is all there is to know

    def look(self, text: str, seconds: float) -> str:
        """Look at the server's addresses; what tells most, as gRPC would put it, or `text`.

        It blocks for at most `LOOK_SECONDS`, and looks at most once in that time whatever number of calls fail.

        Args:
            text: the details of the failed call.
            seconds: how long this may take.
        """
        until = time.monotonic() + min(seconds, LOOK_SECONDS)
        if not self._lock.acquire(timeout=until - time.monotonic()):
            return text
        try:
            if time.monotonic() >= self._expires:
                self._found = self._telling(until)
                self._expires = time.monotonic() + LOOK_SECONDS
            return self._found or text
        finally:
            self._lock.release()

    def cause(self, text: str) -> str:
        """The cause in words.

        Args:
            text: the details of a failed call, or what `look` found.
        """
        for pattern, words in _CAUSES:
            if match := re.search(pattern, text):
                return words.format(**{"host": self.host} | match.groupdict())
        # gRPC tells of every layer that it came through; the innermost is the reason.
        reason = text.rpartition("last error: ")[2].removeprefix("UNKNOWN: ").removeprefix("UNAVAILABLE: ")
        reason = reason.replace("Failed to connect to remote host: ", "")
        address = re.match(r"ipv[46]:(\S+): (.+)", reason)
        return f"{address[2]} ({unquote(address[1])})" if address else reason

    def _telling(self, until: float) -> str:
        for host, port in self._addresses():
            if time.monotonic() >= until:
                break
            look = _look(host, port, min(_ADDRESS_SECONDS, until - time.monotonic()))
            if self._credentials is None:
                if look in (_Look.TLS, _Look.WANTS_CERTIFICATE):
                    return _TLS
            elif look is _Look.PLAIN:
                return _NO_TLS
            elif look in (_Look.TLS, _Look.WANTS_CERTIFICATE):
                text = self._called(host, port, self._credentials, until)
                if any(re.search(pattern, text) for pattern, _ in _CAUSES):
                    return text
                if text and look is _Look.WANTS_CERTIFICATE:
                    return _NO_CLIENT_CERTIFICATE
        return ""

    def _addresses(self) -> Sequence[tuple[str, int]]:
        if self._place is None:
            return []
        host, port = self._place
        found = {"127.0.0.1": None, "::1": None} if host == "localhost" else {}  # gRPC takes both without looking up
        with contextlib.suppress(OSError, UnicodeError):
            found |= dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        return [(address, port) for address in list(found)[:_MOST_ADDRESSES]]

    def _called(self, host: str, port: int, credentials: grpc.ChannelCredentials, until: float) -> str:
        """What gRPC says of this one address; an empty text where it can be reached."""
        target = f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
        options = [("grpc.ssl_target_name_override", self.host), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(target, credentials, options) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
            try:
                call(b"", timeout=max(until - time.monotonic(), 0.05))
            except grpc.RpcError as error:
                return error.details() or error.code().name
        return ""


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _look(host: str, port: int, seconds: float) -> _Look:
    """Greet one address in TLS, whatever its certificate, and see what comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is trusted, and nothing sent but a greeting
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), seconds) as connection, context.wrap_socket(connection) as secure:
            secure.sendall(_PREFACE)
            # A server of TLS 1.3 judges the client's certificate after the handshake.
            return _Look.TLS if secure.recv(1) else _Look.WANTS_CERTIFICATE
    except ssl.SSLError as error:
        reason = error.reason or ""
        if "ALERT" in reason:
            return _Look.WANTS_CERTIFICATE if "CERTIFICATE" in reason or "HANDSHAKE" in reason else _Look.TLS
        return _Look.PLAIN if reason in _NOT_TLS else _Look.UNKNOWN
    except OSError:  # refused, silent or closed
        return _Look.UNKNOWN
