"""Certificates for tests, and servers and clients that use them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import trustme

from fantasia.v1 import generation_pb2_grpc as pb_grpc

OWN = ("grpc.use_local_subchannel_pool", 1)
"""Gives a channel its own connection: by default all channels of a process share one."""


def write_server_certificate(folder: Path, ca: trustme.CA, *, days: float = 30) -> None:
    """Write `tls.crt` and `tls.key` for localhost, as cert-manager calls them. With `days` below 0 it has expired."""
    end = datetime.now(UTC) + timedelta(days=days)
    certificate = ca.issue_cert("localhost", "127.0.0.1", not_before=end - timedelta(days=90), not_after=end)
    folder.mkdir(exist_ok=True)
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (folder / "tls.key").write_bytes(certificate.private_key_pem.bytes())


def tls_settings(folder: Path, *, mutual: bool = False) -> dict[str, str]:
    """The settings that name these files; with `mutual`, `ca.crt` too."""
    names = {"tls_certificate_file": "tls.crt", "tls_key_file": "tls.key"}
    if mutual:
        names["tls_client_ca_file"] = "ca.crt"
    return {setting: str(folder / name) for setting, name in names.items()}


def secure_channel(
    address: str, ca: trustme.CA, client: trustme.LeafCert | None = None, options: Sequence[tuple[str, int]] = (OWN,)
) -> grpc.aio.Channel:
    """A channel that trusts the authority, with a client certificate or none."""
    credentials = grpc.ssl_channel_credentials(
        ca.cert_pem.bytes(),
        None if client is None else client.private_key_pem.bytes(),
        None if client is None else b"".join(blob.bytes() for blob in client.cert_chain_pems),
    )
    return grpc.aio.secure_channel(address.replace("127.0.0.1", "localhost"), credentials, options)


def stub_of(channel: grpc.aio.Channel) -> "pb_grpc.GenerationServiceAsyncStub":
    """A stub of the channel."""
    return pb_grpc.GenerationServiceStub(channel)
