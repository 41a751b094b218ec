"""The server's certificate, its key and the authorities of clients: read from PEM files, checked, watched."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import Certificate

from server.access.observer import AccessObserver
from server.access.watched_files import Contents, WatchedFiles
from server.errors import SettingError

_log = logging.getLogger(__name__)

CERTIFICATE: Final = "--tls-certificate-file"
KEY: Final = "--tls-key-file"
CLIENT_CA: Final = "--tls-client-ca-file"
_WARNING_SECONDS: Final = 14 * 24 * 60 * 60.0
_DAY_SECONDS: Final = 24 * 60 * 60.0


@dataclass(frozen=True, slots=True)
class Certificates:
    """Checked contents of the files."""

    chain: bytes
    """The server's certificate in PEM, and the intermediate ones after it."""
    key: bytes
    """Its private key in PEM, not encrypted."""
    client_ca: bytes | None
    """Certificates of the authorities that sign those of clients, in PEM; None: clients need none."""
    expiries: tuple[tuple[str, float], ...]
    """`server` and `client_ca`, and when each expires, in seconds since 1970."""


class CertificateStore:
    """The certificates in use. Any thread may read them; one thread loads them.

    Args:
        certificate_file: see `Certificates.chain`.
        key_file: see `Certificates.key`.
        client_ca_file: see `Certificates.client_ca`; None for none.
        observer: is told of reloads and of the time of expiry.
        now: seconds since 1970.

    Raises:
        SettingError: a file cannot be used.
    """

    def __init__(
        self,
        certificate_file: Path,
        key_file: Path,
        client_ca_file: Path | None,
        observer: AccessObserver,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.certificate_file = certificate_file
        self.key_file = key_file
        self.client_ca_file = client_ca_file
        self._observer = observer
        self._now = now
        self._lock = threading.Lock()
        self._warned_at: dict[str, float] = {}
        self._current: Certificates
        paths = {CERTIFICATE: certificate_file, KEY: key_file}
        if client_ca_file is not None:
            paths[CLIENT_CA] = client_ca_file
        self._paths = paths
        self.files = WatchedFiles("certificates", paths, self._load, observer)
        """The files, to be polled."""

    @property
    def current(self) -> Certificates:
        """The certificates in use; another object after each reload."""
        with self._lock:
            return self._current

    def warn(self) -> None:
        """Log a warning for each certificate that expires within 14 days, or has expired: once a day."""
        now = self._now()
        for name, expiry in self.current.expiries:
            if expiry - now < _WARNING_SECONDS and now - self._warned_at.get(name, -math.inf) >= _DAY_SECONDS:
                self._warned_at[name] = now
                state = "expires soon" if expiry > now else "has expired"
                when = datetime.fromtimestamp(expiry, UTC).isoformat()
                path = self._paths[CERTIFICATE if name == "server" else CLIENT_CA]
                fields = {"certificate": name, "file": path, "expiry": when}
                _log.warning(f"a certificate {state}", extra={"fields": fields})

    def _load(self, contents: Contents) -> None:
        found = parse_certificates(contents, self._paths, self._now())
        with self._lock:
            self._current = found
        self._warned_at.clear()
        for name, expiry in found.expiries:
            self._observer.certificate_expires(name, expiry)
        self.warn()


def parse_certificates(contents: Contents, paths: dict[str, Path], now: float) -> Certificates:
    """Check the contents of the files.

    Args:
        contents: of each file, by its setting.
        paths: of each file, for errors.
        now: seconds since 1970.

    Raises:
        SettingError: no certificate or key is in a file, the two do not belong together, the key is encrypted, or the
            server's certificate is not valid now.
    """
    chain = _certificates(CERTIFICATE, paths, contents)
    if _public_key(CERTIFICATE, paths, chain[0]) != _key(paths, contents[KEY]):
        raise SettingError(
            f"{KEY}: {paths[KEY]} is not the key of the first certificate in {paths[CERTIFICATE]} ({CERTIFICATE})"
        )
    expiry = chain[0].not_valid_after_utc
    if not chain[0].not_valid_before_utc.timestamp() <= now < expiry.timestamp():
        state = "expired at" if now >= expiry.timestamp() else "is not valid before"
        when = expiry if now >= expiry.timestamp() else chain[0].not_valid_before_utc
        raise SettingError(f"{CERTIFICATE}: the certificate in {paths[CERTIFICATE]} {state} {when.isoformat()}")
    expiries = [("server", expiry.timestamp())]
    if CLIENT_CA in contents:
        authorities = _certificates(CLIENT_CA, paths, contents)
        expiries.append(("client_ca", min(each.not_valid_after_utc.timestamp() for each in authorities)))
    return Certificates(contents[CERTIFICATE], contents[KEY], contents.get(CLIENT_CA), tuple(expiries))


def _certificates(setting: str, paths: dict[str, Path], contents: Contents) -> list[Certificate]:
    try:
        return x509.load_pem_x509_certificates(contents[setting])
    except ValueError as error:
        raise SettingError(f"{setting}: {paths[setting]} holds no certificate in PEM format") from error


def _key(paths: dict[str, Path], pem: bytes) -> bytes:
    """The public half of the private key, as bytes that can be compared."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise SettingError(f"{KEY}: the key in {paths[KEY]} is encrypted: give one without a password") from error
    except Exception as error:  # ValueError, or UnsupportedAlgorithm
        raise SettingError(f"{KEY}: {paths[KEY]} holds no private key in PEM format") from error
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public_key(setting: str, paths: dict[str, Path], certificate: Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception as error:  # a kind of key that cryptography does not know
        raise SettingError(f"{setting}: the key of the certificate in {paths[setting]} is not supported") from error
