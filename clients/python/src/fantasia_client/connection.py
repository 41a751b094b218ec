"""Connection settings: retries, keepalive, encryption."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from fantasia import __version__

GENERATION_SERVICE = "fantasia.v1.GenerationService"
MAX_RESPONSE_BYTES = 64 * 1024 * 1024

ChannelOptions = Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Retry:
    """Retries of failed calls. gRPC retries them within the call's deadline.

    The status UNAVAILABLE is retried, and CANCELLED if the server sent it. (A gRPC server answers CANCELLED to calls
    that arrive while it stops.) A retry is safe, since a failed call leaves nothing on the server.

    RESOURCE_EXHAUSTED is not retried. The queue of the server is full, and the server gives the time for the next
    attempt in `ServerBusyError.retry_after_seconds`, which gRPC would ignore. INTERNAL is not retried either, since
    it would most likely happen again.
    """

    attempts: int = 4
    """Maximum number of attempts, 1 to 5; 1 turns retries off."""
    initial_backoff_seconds: float = 0.2
    """Maximum wait before the second attempt. Each wait is random, between 0 and its maximum."""
    max_backoff_seconds: float = 2.0
    """Maximum wait before any attempt."""
    multiplier: float = 2.0
    """Factor by which the maximum wait grows with each attempt."""

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 5:  # gRPC silently reduces more than 5
            raise ValueError(f"attempts must be 1 to 5, not {self.attempts}")
        if not 0 < self.initial_backoff_seconds <= self.max_backoff_seconds < float("inf"):
            raise ValueError("0 < initial_backoff_seconds <= max_backoff_seconds must hold")
        if not 1 <= self.multiplier < float("inf"):
            raise ValueError(f"multiplier must be at least 1, not {self.multiplier}")

    def service_config(self) -> str:
        """The gRPC service config in JSON (gRFC A2, gRFC A6): retries, and round robin over the server's addresses."""
        # With a headless Kubernetes service, every replica has its own address. By default, gRPC uses only one.
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
            # Retries stop when more than two of three attempts fail, so that they do not multiply the load of a
            # failing service. A failure takes one token, a success gives back two; retries need more than half of the
            # tokens. 500 failures are allowed at once, since all calls of a lost replica fail together.
            config["retryThrottling"] = {"maxTokens": 1000, "tokenRatio": 2}
        return json.dumps(config)


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Pings during a call. They detect a lost connection before the deadline."""

    interval_seconds: float = 30.0
    """Time without data after which a ping is sent. A server may close connections with frequent pings."""
    timeout_seconds: float = 10.0
    """Maximum time until the answer to a ping."""

    def __post_init__(self) -> None:
        for name in ("interval_seconds", "timeout_seconds"):
            if not 0.001 <= getattr(self, name) <= 2e6:
                raise ValueError(f"{name} must be 0.001 to 2000000, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class TLS:
    """Certificates and key of an encrypted connection, in PEM format."""

    root_certificates: bytes | None = None
    """Trusted authorities; None for those that gRPC ships."""
    certificate_chain: bytes | None = None
    """Certificate of the client, for a server that requires one."""
    private_key: bytes | None = None
    """Private key of the client's certificate."""

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("certificate_chain and private_key must be given together")
        for name in ("root_certificates", "certificate_chain", "private_key"):
            pem = getattr(self, name)
            # gRPC would fail at the first call only, and would not name the part.
            if pem is not None and b"-----BEGIN " not in pem:
                raise ValueError(f"{name} contains no PEM data")

    @classmethod
    def from_files(
        cls,
        root_certificates: str | os.PathLike[str] | None = None,
        certificate_chain: str | os.PathLike[str] | None = None,
        private_key: str | os.PathLike[str] | None = None,
    ) -> "TLS":
        """Read certificates and key from PEM files.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file contains no PEM data.
        """
        paths = (root_certificates, certificate_chain, private_key)
        return cls(*(None if path is None else Path(path).read_bytes() for path in paths))

    def credentials(self) -> grpc.ChannelCredentials:
        """The gRPC credentials."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


def channel_credentials(tls: TLS | None, credentials: grpc.ChannelCredentials | None) -> grpc.ChannelCredentials | None:
    """The credentials of a channel; None for a channel without encryption.

    Raises:
        ValueError: both are given.
    """
    if tls is not None and credentials is not None:
        raise ValueError("give tls or credentials, not both")
    return credentials if tls is None else tls.credentials()


def channel_options(retry: Retry, keepalive: Keepalive) -> ChannelOptions:
    """Arguments of a channel, synchronous or asyncio."""
    timeout_ms = round(keepalive.timeout_seconds * 1000)
    return [
        ("grpc.primary_user_agent", f"fantasia-client/{__version__}"),
        ("grpc.service_config", retry.service_config()),
        ("grpc.keepalive_time_ms", round(keepalive.interval_seconds * 1000)),
        # The first is the timeout for any data, the second for the answer to the ping (by default, a minute).
        ("grpc.keepalive_timeout_ms", timeout_ms),
        ("grpc.http2.ping_timeout_ms", timeout_ms),
        ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ]
