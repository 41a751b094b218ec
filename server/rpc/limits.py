"""What one peer, and all of them together, can take of the server: connections, streams, silence."""

from dataclasses import dataclass
from typing import Final

Options = list[tuple[str, int]]

_UNREAD_BYTES: Final = 4 << 10
_METADATA_BYTES: Final = 8 << 10
_HANDSHAKE_SECONDS: Final = 10
_IDLE_SECONDS: Final = 5 * 60
_AGE_SECONDS: Final = 30 * 60
_WAITING_SECONDS: Final = 60 * 60


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Pings to the peer, so that a lost or stopped one is noticed and what it holds is freed."""

    interval_seconds: float = 30.0
    """Silence after which a ping is sent."""
    timeout_seconds: float = 10.0
    """How long a ping may stay unanswered before the connection is closed."""

    def options(self) -> Options:
        """The same, as gRPC takes it."""
        timeout_ms = round(self.timeout_seconds * 1000)
        return [
            ("grpc.keepalive_time_ms", round(self.interval_seconds * 1000)),
            # The first waits for any byte, the second for the answer to the ping: a peer that goes on sending, or
            # whose kernel goes on acknowledging, but answers no ping is noticed by the second alone.
            ("grpc.keepalive_timeout_ms", timeout_ms),
            ("grpc.http2.ping_timeout_ms", timeout_ms),
            # Clients may ask whether we are alive every ten seconds, also while they wait for nothing.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds on what peers can open; together they bound the memory that streams can take."""

    connections: int
    """Most connections at once; a further one is closed as soon as it is accepted."""
    streams: int
    """Most streams of one connection at once. Clients know it and wait; streams beyond it are refused."""

    def options(self) -> Options:
        """The same, as gRPC takes it."""
        # Streams that are answered, but not freed yet, count too: without room for them a client that keeps to the
        # limit would be refused. 64 were enough for a burst of 10,000 calls.
        freeing = max(self.streams // 4, 64)
        # Calls wait until the event loop takes them. gRPC's own limit, 1,000 to 3,000, would cancel those beyond it:
        # nothing would be logged or counted, and the caller would not learn when to come back. As many may wait as
        # there can be streams, and each is refused, if need be, by our own code.
        waiting = self.connections * (self.streams + freeing)
        return [
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.max_concurrent_streams", self.streams),
            ("grpc.http2.max_deallocating_streams", freeing),
            ("grpc.server.max_pending_requests", waiting),
            ("grpc.server.max_pending_requests_hard_limit", waiting),
            ("grpc.server_max_unrequested_time_in_server", _WAITING_SECONDS),
            # What a stream may send before it is read; more is let in as it is. gRPC would raise it on a fast network.
            ("grpc.http2.lookahead_bytes", _UNREAD_BYTES),
            ("grpc.http2.bdp_probe", 0),
            # Equal, since gRPC refuses at random what lies between.
            ("grpc.max_metadata_size", _METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
            # A connection that says nothing must not keep its place: gRPC would wait for two minutes and for one.
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_SECONDS * 1000),
            ("grpc.http2.settings_timeout", _HANDSHAKE_SECONDS * 1000),
            ("grpc.max_connection_idle_ms", _IDLE_SECONDS * 1000),
            # The client connects anew, and looks its server's name up anew: it finds replicas that are new.
            ("grpc.max_connection_age_ms", _AGE_SECONDS * 1000),
        ]
