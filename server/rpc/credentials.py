"""TLS of the gRPC port, and what a client certificate says about its caller."""

import threading
from collections.abc import Iterable, Mapping
from typing import Final

import grpc

from server.access.certificates import Certificates, CertificateStore

_ALTERNATIVE_NAMES: Final = "x509_subject_alternative_name"
_COMMON_NAME: Final = "x509_common_name"


def server_credentials(store: CertificateStore) -> grpc.ServerCredentials:
    """Credentials that use the certificates of the store as they are when a client connects."""
    first = store.current
    lock = threading.Lock()
    used = [first]

    def changed() -> "grpc.ServerCertificateConfiguration | None":
        """The new certificates; None if they are the same. gRPC calls this in its threads before every handshake."""
        with lock:
            current = store.current
            if current is used[0]:
                return None
            used[0] = current
            return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(first),
        changed,  # type: ignore[arg-type]  # None is documented, and not in its type
        require_client_authentication=first.client_ca is not None,
    )


def certificate_names(auth_context: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Names in the client's verified certificate: the alternative names, then the common name.

    Args:
        auth_context: of a call, as gRPC gives it.
    """
    values = [*auth_context.get(_ALTERNATIVE_NAMES, ()), *auth_context.get(_COMMON_NAME, ())]
    return [value.decode("utf-8", "replace") for value in values if value]


def _configuration(certificates: Certificates) -> "grpc.ServerCertificateConfiguration":
    return grpc.ssl_server_certificate_configuration([(certificates.key, certificates.chain)], certificates.client_ca)
