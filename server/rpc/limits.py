"""Limits of what peers can take: connections, streams, bytes, idle time."""

from dataclasses import dataclass
from typing import Final

Options = list[tuple[str, int]]

_UNREAD_BYTES: Final = 4 << 10
_HANDSHAKE_SECONDS: Final = 10
_WAITING_SECONDS: Final = 60 * 60


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Pings that detect lost peers, so that their calls end and free what they hold."""

    interval_seconds: float = 30.0
    """Idle time after which a ping is sent."""
    timeout_seconds: float = 10.0
    """Time after which an unanswered ping closes the connection."""

    def options(self) -> Options:
        """The channel options of gRPC."""
        timeout_ms = round(self.timeout_seconds * 1000)
        return [
            ("grpc.keepalive_time_ms", round(self.interval_seconds * 1000)),
            # The first waits for any byte, the second for the answer to the ping. Only the second detects a peer that
            # still sends, or whose kernel still acknowledges, but answers no ping.
            ("grpc.keepalive_timeout_ms", timeout_ms),
            ("grpc.http2.ping_timeout_ms", timeout_ms),
            # Clients may ping every ten seconds, also without a call.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of what peers can open; together they bound the memory of all streams."""

    connections: int
    """Maximum number of open connections; a further one is closed as soon as it is accepted."""
    streams: int
    """Maximum number of open streams of one connection. Clients know it and wait; gRPC refuses further ones."""
    metadata_bytes: int = 8 << 10
    """Maximum size of the metadata of a call; gRPC refuses more."""
    idle_seconds: float = 5 * 60.0
    """Time without a call after which a connection is closed."""
    age_seconds: float = 30 * 60.0
    """Age at which a connection takes no more calls. gRPC varies it by 10 %, so that not all reconnect at once."""

    def options(self) -> Options:
        """The channel options of gRPC."""
        # Streams that are answered but not freed yet count too. Without room for them, a client that respects the limit
        # would be refused. 64 were enough for a burst of 10,000 calls.
        freeing = max(self.streams // 4, 64)
        # Calls wait until the event loop takes them. gRPC's own limit of 1,000 to 3,000 would cancel more calls without
        # log, count or retry delay. So every stream may wait, and our own code refuses calls.
        waiting = self.connections * (self.streams + freeing)
        return [
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.max_concurrent_streams", self.streams),
            ("grpc.http2.max_deallocating_streams", freeing),
            ("grpc.server.max_pending_requests", waiting),
            ("grpc.server.max_pending_requests_hard_limit", waiting),
            ("grpc.server_max_unrequested_time_in_server", _WAITING_SECONDS),
            # Bytes that a stream may send before it is read. Without the second, gRPC would raise it on a fast network.
            ("grpc.http2.lookahead_bytes", _UNREAD_BYTES),
            ("grpc.http2.bdp_probe", 0),
            # Equal, since gRPC refuses sizes between them at random.
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),
            # A silent connection must not take a place for long. The defaults are two minutes and one minute.
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_SECONDS * 1000),
            ("grpc.http2.settings_timeout", _HANDSHAKE_SECONDS * 1000),
            ("grpc.max_connection_idle_ms", round(self.idle_seconds * 1000)),
            # The client resolves the name of the server again when it reconnects, and finds new replicas.
            ("grpc.max_connection_age_ms", round(self.age_seconds * 1000)),
        ]
