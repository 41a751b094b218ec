"""TLS for ports that are not gRPC's, with the same certificates."""

import os
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from server.access.certificates import Certificates, CertificateStore


class TlsContexts:
    """The TLS context of the certificates in use. Any thread may ask for it."""

    def __init__(self, store: CertificateStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._made_for: Certificates | None = None
        self._context: ssl.SSLContext

    def current(self) -> ssl.SSLContext:
        """The context for a new connection."""
        certificates = self._store.current
        with self._lock:
            if certificates is not self._made_for:
                self._context = _context(certificates)
                self._made_for = certificates
            return self._context


def peer_names(certificate: Mapping[str, Any] | None) -> list[str]:
    """Names in a client's verified certificate: the alternative names, then the common name.

    Args:
        certificate: as `ssl.SSLObject.getpeercert` gives it; None or empty without one.
    """
    found = certificate or {}
    alternative = [value for _, value in found.get("subjectAltName", ())]
    subject = [value for part in found.get("subject", ()) for key, value in part if key == "commonName"]
    return [*alternative, *subject]


def _context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _file_of(certificates.chain + b"\n" + certificates.key) as path:
        context.load_cert_chain(path)
    if certificates.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=certificates.client_ca.decode("ascii", "ignore"))
    return context


@contextmanager
def _file_of(data: bytes) -> Iterator[str]:
    """A path of a file with this content: `ssl` reads files only, and those on the disk may have changed since.

    On Linux the file is in memory, since the server may have no folder to write to.
    """
    if sys.platform == "linux":
        descriptor = os.memfd_create("certificates")
        try:
            os.write(descriptor, data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name
