"""Finds out why a server cannot be reached.

gRPC tries every address of a name (for localhost, `127.0.0.1` and `[::1]`) and reports the failure of only one. So
"Connection refused" from one address can hide that another address answers without TLS. gRPC also has no message for
a server that expects TLS or a client certificate. In these cases the probe connects to every address itself, once and
for at most a second.
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

PROBE_SECONDS = 1.0
"""Maximum duration of a probe, and the time for which its result is reused."""

_ADDRESS_SECONDS = 0.4
_MAX_ADDRESSES = 6
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"  # with an empty SETTINGS frame (RFC 9113, section 3.4)

_SERVER_WITHOUT_TLS = "the server does not use TLS, but this client does: turn TLS off"
_SERVER_WITH_TLS = "the server uses TLS, but this client does not: turn TLS on"
_CLIENT_CERTIFICATE_REQUIRED = "the server requires a client certificate, and this client has none that it accepts"

_CAUSES = (
    (r"WRONG_VERSION_NUMBER|HTTP_REQUEST|UNEXPECTED_MESSAGE", _SERVER_WITHOUT_TLS),
    (r"Hostname Verification Check failed", "the server's certificate is not for the name {host}"),
    (r"VERIFY_FAILED: certificate has expired", "the server's certificate has expired"),
    (
        r"VERIFY_FAILED: certificate is not yet valid",
        "the server's certificate is not valid yet: check the clocks of both machines",
    ),
    (
        r"VERIFY_FAILED: (?P<detail>[^:]+)",
        "the server's certificate is not signed by an authority that this client trusts ({detail})",
    ),
    (r"lookup failed for (?P<name>\S+?)(:\d+)?: (?P<detail>[^\]]+)", "the name {name} cannot be resolved ({detail})"),
    (r"HTTP proxy returned response code (?P<detail>\d+)", "the proxy answered with HTTP status {detail}"),
    (r"connect failed: addr: unix\S+ error: (?P<detail>.+)", "{detail}"),
    (r"Failed parsing HTTP/2", "the address answers, but not with gRPC"),
)
"""Patterns of gRPC's messages and what they mean; the first match counts."""
_NOT_TLS = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_MESSAGE",
    "PACKET_LENGTH_TOO_LONG",
}
"""OpenSSL's names for an answer that is not TLS."""
_AMBIGUOUS = re.compile(r"Connection refused|Socket closed|Connection reset|Broken pipe|GOAWAY|unreachable|No route")


class _Protocol(Enum):
    """How an address answers."""

    UNKNOWN = auto()
    """Nothing listens, or the answer cannot be identified."""
    PLAIN = auto()
    """Without TLS."""
    TLS = auto()
    """With TLS."""
    TLS_CLIENT_CERTIFICATE = auto()
    """With TLS, and a client without a certificate is refused."""


class ConnectionProbe:
    """Finds out why a server cannot be reached.

    Args:
        server: address from `normalize_address`.
        credentials: credentials of the channel; None if it is not encrypted.
    """

    def __init__(self, server: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.proxy = proxy_for(server)
        self._credentials = credentials
        name = server.removeprefix("dns:").rpartition("/")[2]
        match = re.fullmatch(r"(?P<host>[^:,]+|\[[^\]]+\]):(?P<port>\d+)", name)
        self._endpoint = (match["host"].strip("[]"), int(match["port"])) if match else None
        self._lock = Lock()
        self._result = ""
        self._expires = 0.0

    @property
    def host(self) -> str:
        """Host of the server; empty if its address has several hosts or none."""
        return self._endpoint[0] if self._endpoint else ""

    def is_useful(self, details: str) -> bool:
        """Whether a probe could find a cause that gRPC's message does not give.

        Args:
            details: details of the failed call.
        """
        if self._endpoint is None or self.proxy is not None or not _AMBIGUOUS.search(details):
            return False
        return not ("refused" in details and _is_numeric(self.host))  # a single address: the message is complete

    def run(self, details: str, seconds: float) -> str:
        """Connect to the server's addresses and return the message that explains most, or `details`.

        It blocks for at most `PROBE_SECONDS`. Calls that fail within that time share one probe.

        Args:
            details: details of the failed call.
            seconds: maximum duration.
        """
        deadline = time.monotonic() + min(seconds, PROBE_SECONDS)
        if not self._lock.acquire(timeout=deadline - time.monotonic()):
            return details
        try:
            if time.monotonic() >= self._expires:
                self._result = self._probe_addresses(deadline)
                self._expires = time.monotonic() + PROBE_SECONDS
            return self._result or details
        finally:
            self._lock.release()

    def cause(self, details: str) -> str:
        """The cause, for an error message.

        Args:
            details: details of a failed call, or the result of `run`.
        """
        for pattern, cause in _CAUSES:
            if match := re.search(pattern, details):
                return cause.format(**{"host": self.host} | match.groupdict())
        # gRPC's message names every layer of the connection. The innermost layer comes last.
        reason = details.rpartition("last error: ")[2].removeprefix("UNKNOWN: ").removeprefix("UNAVAILABLE: ")
        reason = reason.replace("Failed to connect to remote host: ", "")
        address = re.match(r"ipv[46]:(\S+): (.+)", reason)
        return f"{address[2]} ({unquote(address[1])})" if address else reason

    def _probe_addresses(self, deadline: float) -> str:
        for host, port in self._addresses():
            if time.monotonic() >= deadline:
                break
            protocol = _probe_protocol(host, port, min(_ADDRESS_SECONDS, deadline - time.monotonic()))
            uses_tls = protocol in (_Protocol.TLS, _Protocol.TLS_CLIENT_CERTIFICATE)
            if self._credentials is None:
                if uses_tls:
                    return _SERVER_WITH_TLS
            elif protocol is _Protocol.PLAIN:
                return _SERVER_WITHOUT_TLS
            elif uses_tls:
                details = self._call_details(host, port, self._credentials, deadline)
                if any(re.search(pattern, details) for pattern, _ in _CAUSES):
                    return details
                if details and protocol is _Protocol.TLS_CLIENT_CERTIFICATE:
                    return _CLIENT_CERTIFICATE_REQUIRED
        return ""

    def _addresses(self) -> Sequence[tuple[str, int]]:
        if self._endpoint is None:
            return []
        host, port = self._endpoint
        # gRPC uses both addresses of localhost without a DNS lookup.
        found = {"127.0.0.1": None, "::1": None} if host == "localhost" else {}
        with contextlib.suppress(OSError, UnicodeError):
            found |= dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        return [(address, port) for address in list(found)[:_MAX_ADDRESSES]]

    def _call_details(self, host: str, port: int, credentials: grpc.ChannelCredentials, deadline: float) -> str:
        """Details of a failed gRPC call to this address only; empty if the call succeeds."""
        target = f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
        options = [("grpc.ssl_target_name_override", self.host), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(target, credentials, options) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
            try:
                call(b"", timeout=max(deadline - time.monotonic(), 0.05))
            except grpc.RpcError as error:
                return error.details() or error.code().name
        return ""


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _probe_protocol(host: str, port: int, seconds: float) -> _Protocol:
    """Start a TLS connection to one address, with any certificate, and classify the answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # safe: nothing but the preface is sent, and no answer is trusted
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), seconds) as connection, context.wrap_socket(connection) as secure:
            secure.sendall(_PREFACE)
            # With TLS 1.3, the server checks the client's certificate after the handshake.
            return _Protocol.TLS if secure.recv(1) else _Protocol.TLS_CLIENT_CERTIFICATE
    except ssl.SSLError as error:
        reason = error.reason or ""
        if "ALERT" in reason:
            refused = "CERTIFICATE" in reason or "HANDSHAKE" in reason
            return _Protocol.TLS_CLIENT_CERTIFICATE if refused else _Protocol.TLS
        return _Protocol.PLAIN if reason in _NOT_TLS else _Protocol.UNKNOWN
    except OSError:  # refused, timed out or closed
        return _Protocol.UNKNOWN
