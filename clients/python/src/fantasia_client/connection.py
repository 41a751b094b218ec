"""How a client reaches its server: retries, keepalive, encryption."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from fantasia_client.version import VERSION

DEFAULT_TIMEOUT_SECONDS = 60.0
GENERATION_SERVICE = "fantasia.v1.GenerationService"
MAX_RESPONSE_BYTES = 64 * 1024 * 1024

ChannelOptions = Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed call is tried again, by gRPC itself and within the call's deadline.

    UNAVAILABLE is retried, and so is CANCELLED if the server sent it. It is always safe to repeat a call: it leaves
    nothing behind on the server. That includes a piece whose seed the server draws, since the first attempt gave no
    piece. gRPC's servers answer CANCELLED to a call that reaches them as they stop, before the client has learned of
    it. A call that the caller cancels is not retried.
    RESOURCE_EXHAUSTED is not retried, though it would be as safe: the server's queue is full, and it says when to ask
    again (`ServerBusyError.retry_after_seconds`). A back-off would ignore that, and its calls would make the queue
    longer. A deadline covers all attempts, and an INTERNAL error would most likely come again.
    """

    attempts: int = 4
    """Attempts in all, 1 to 5; 1 turns retries off."""
    initial_backoff_seconds: float = 0.2
    """Longest wait before the second attempt; every wait is drawn at random below its limit."""
    max_backoff_seconds: float = 2.0
    """Longest wait before any attempt."""
    multiplier: float = 2.0
    """How much the limit grows from attempt to attempt."""

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 5:  # gRPC would lower more than 5 without a word
            raise ValueError(f"attempts must be 1 to 5, not {self.attempts}")
        if not 0 < self.initial_backoff_seconds <= self.max_backoff_seconds < float("inf"):
            raise ValueError("0 < initial_backoff_seconds <= max_backoff_seconds must hold")
        if not 1 <= self.multiplier < float("inf"):
            raise ValueError(f"multiplier must be at least 1, not {self.multiplier}")

    def service_config(self) -> str:
        """The gRPC service config, JSON: this policy, and calls spread over all of the server's addresses.

        The format is that of gRFC A2; retries are gRFC A6.
        """
        # Behind a headless Kubernetes service every replica has its own address. gRPC would else keep to one.
        config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
        if self.attempts > 1:
            config["methodConfig"] = [
                {
                    "name": [{"service": GENERATION_SERVICE}],
                    "retryPolicy": {
                        "maxAttempts": self.attempts,
                        "initialBackoff": f"{self.initial_backoff_seconds:.9f}s",
                        "maxBackoff": f"{self.max_backoff_seconds:.9f}s",
                        "backoffMultiplier": self.multiplier,
                        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                    },
                }
            ]
            # Where more than two of three attempts fail, stop repeating them: a service in trouble gets no multiplied
            # load. A failure takes one token, a success gives two back, and retries go on above half of them. A lost
            # replica fails all of its calls together: 500 such failures leave the retries of the others as they were.
            config["retryThrottling"] = {"maxTokens": 1000, "tokenRatio": 2}
        return json.dumps(config)


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Pings during a call, so that a lost connection is noticed before the deadline."""

    interval_seconds: float = 30.0
    """Silence after which a ping is sent. Servers close connections that ping more often than they allow."""
    timeout_seconds: float = 10.0
    """How long a ping may stay unanswered."""

    def __post_init__(self) -> None:
        for name in ("interval_seconds", "timeout_seconds"):
            if not 0.001 <= getattr(self, name) <= 2e6:
                raise ValueError(f"{name} must be 0.001 to 2000000, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class TLS:
    """An encrypted connection, PEM throughout."""

    root_certificates: bytes | None = None
    """Authorities to trust; None for those that gRPC ships."""
    certificate_chain: bytes | None = None
    """The client's own certificate, where the server asks for one."""
    private_key: bytes | None = None
    """Its key."""

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("certificate_chain and private_key go together")
        for name in ("root_certificates", "certificate_chain", "private_key"):
            pem = getattr(self, name)
            # gRPC would find out at the first call only, and then not name the part.
            if pem is not None and b"-----BEGIN " not in pem:
                raise ValueError(f"{name} holds nothing in PEM format")

    @classmethod
    def from_files(
        cls,
        root_certificates: str | os.PathLike[str] | None = None,
        certificate_chain: str | os.PathLike[str] | None = None,
        private_key: str | os.PathLike[str] | None = None,
    ) -> "TLS":
        """Read the parts from PEM files.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file holds nothing in PEM format.
        """
        paths = (root_certificates, certificate_chain, private_key)
        return cls(*(None if path is None else Path(path).read_bytes() for path in paths))

    def credentials(self) -> grpc.ChannelCredentials:
        """The same, as gRPC takes it."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


def channel_credentials(tls: TLS | None, credentials: grpc.ChannelCredentials | None) -> grpc.ChannelCredentials | None:
    """The credentials of a channel; None for an unencrypted one.

    Raises:
        ValueError: both are given.
    """
    if tls is not None and credentials is not None:
        raise ValueError("give tls or credentials, not both")
    return credentials if tls is None else tls.credentials()


def channel_options(retry: Retry, keepalive: Keepalive) -> ChannelOptions:
    """Arguments of the channel, alike for a sync and an asyncio one."""
    timeout_ms = round(keepalive.timeout_seconds * 1000)
    return [
        ("grpc.primary_user_agent", f"fantasia-client/{VERSION}"),
        ("grpc.service_config", retry.service_config()),
        ("grpc.keepalive_time_ms", round(keepalive.interval_seconds * 1000)),
        # The first waits for any byte, the second for the answer to the ping, for which gRPC else waits a minute.
        ("grpc.keepalive_timeout_ms", timeout_ms),
        ("grpc.http2.ping_timeout_ms", timeout_ms),
        ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ]
