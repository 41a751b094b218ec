"""Everything that decides who may call, made from the settings."""

import logging
from ipaddress import ip_address
from pathlib import Path

from server.access.authenticator import Authenticator
from server.access.callers import CallerStore
from server.access.certificates import CertificateStore
from server.access.observer import AccessObserver
from server.access.watched_files import poll_for_ever
from server.settings import Settings

_log = logging.getLogger(__name__)


class Access:
    """Certificates, callers and what is needed for which service.

    Args:
        settings: the server's settings.
        observer: is told of reloads, expiry and refused calls.

    Raises:
        SettingError: a file cannot be used.
    """

    def __init__(self, settings: Settings, observer: AccessObserver) -> None:
        self.observer = observer
        self.certificates = (
            CertificateStore(
                Path(settings.tls_certificate_file),
                Path(settings.tls_key_file),
                Path(settings.tls_client_ca_file) if settings.tls_client_ca_file else None,
                observer,
            )
            if settings.tls_certificate_file
            else None
        )
        """For TLS; None: no TLS."""
        self.callers = CallerStore(Path(settings.callers_file), observer) if settings.callers_file else None
        """The callers file; None: calls need no token."""
        self.authenticator = Authenticator(self.callers, observer)
        self.has_client_certificates = bool(settings.tls_client_ca_file)
        """Whether every client of the gRPC port has a certificate."""
        self.calls_per_minute = settings.calls_per_minute_per_caller
        """Limit of callers without one of their own; 0 for none."""
        self.health = settings.health_access
        self.reflection = settings.reflection_access
        self.metrics = settings.metrics_access
        self._host = settings.host

    @property
    def names_callers(self) -> bool:
        """Whether callers have names, from tokens or certificates."""
        return self.callers is not None or self.has_client_certificates

    def warn(self) -> None:
        """Log what an operator should change."""
        if self.callers is not None and self.certificates is None and not is_loopback(self._host):
            _log.warning(
                "tokens without TLS: any machine on the network path can read and use them; set "
                "--tls-certificate-file, or let a proxy on this machine end TLS, and listen on 127.0.0.1",
                extra={"fields": {"host": self._host}},
            )

    async def watch(self) -> None:
        """Reload files that change, and warn of certificates that expire, until the task is cancelled."""
        groups = [store.files for store in (self.certificates, self.callers) if store is not None]
        if groups:
            await poll_for_ever(groups, self._warn_of_expiry)

    def _warn_of_expiry(self) -> None:
        if self.certificates is not None:
            self.certificates.warn()


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
