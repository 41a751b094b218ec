import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from server.access.certificates import CERTIFICATE, CLIENT_CA, KEY, CertificateStore, parse_certificates
from server.access.observer import AccessObserver
from server.errors import SettingError

PATHS = {CERTIFICATE: Path("tls.crt"), KEY: Path("tls.key"), CLIENT_CA: Path("ca.crt")}
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def contents(ca: trustme.CA, before: datetime, after: datetime) -> dict[str, bytes]:
    leaf = ca.issue_cert("localhost", not_before=before, not_after=after)
    return {CERTIFICATE: leaf.cert_chain_pems[0].bytes(), KEY: leaf.private_key_pem.bytes()}


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(ca: trustme.CA) -> dict[str, bytes]:
    return contents(ca, NOW - timedelta(days=1), NOW + timedelta(days=90))


def test_the_time_of_expiry_is_that_of_the_first_certificate(files: dict[str, bytes], ca: trustme.CA) -> None:
    chain = files[CERTIFICATE] + ca.cert_pem.bytes()
    found = parse_certificates({**files, CERTIFICATE: chain}, PATHS, NOW.timestamp())
    assert found.expiries == (("server", (NOW + timedelta(days=90)).timestamp()),)
    assert (found.chain, found.client_ca) == (chain, None)


def test_the_earliest_expiry_of_the_authorities_counts(files: dict[str, bytes], ca: trustme.CA) -> None:
    bundle = ca.cert_pem.bytes() + contents(ca, NOW, NOW + timedelta(days=7))[CERTIFICATE]
    found = parse_certificates({**files, CLIENT_CA: bundle}, PATHS, NOW.timestamp())
    assert dict(found.expiries)["client_ca"] == (NOW + timedelta(days=7)).timestamp()


@pytest.mark.parametrize(
    ("seconds", "sentence"),
    [
        (-24 * 3600 - 1, "the certificate in tls.crt is not valid before 2029-12-31T00:00:00"),
        (90 * 24 * 3600, "the certificate in tls.crt expired at 2030-04-01T00:00:00"),
    ],
)
def test_a_certificate_that_is_not_valid_now_is_refused(files: dict[str, bytes], seconds: int, sentence: str) -> None:
    parse_certificates(files, PATHS, NOW.timestamp())
    with pytest.raises(SettingError, match=sentence):
        parse_certificates(files, PATHS, NOW.timestamp() + seconds)


def test_an_encrypted_key_is_refused(files: dict[str, bytes]) -> None:
    key = load_pem_private_key(files[KEY], None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    with pytest.raises(SettingError, match=r"the key in tls\.key is encrypted: give one without a password"):
        parse_certificates({**files, KEY: key}, PATHS, NOW.timestamp())


def test_the_key_of_another_certificate_is_refused(files: dict[str, bytes], ca: trustme.CA) -> None:
    other = contents(ca, NOW, NOW + timedelta(days=1))[KEY]
    with pytest.raises(SettingError, match=r"tls\.key is not the key of the first certificate in tls\.crt"):
        parse_certificates({**files, KEY: other}, PATHS, NOW.timestamp())


def test_expiry_is_warned_of_once_a_day(
    tmp_path: Path, files: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tls.crt").write_bytes(files[CERTIFICATE])
    (tmp_path / "tls.key").write_bytes(files[KEY])
    now = NOW
    store = CertificateStore(
        tmp_path / "tls.crt", tmp_path / "tls.key", None, AccessObserver(), now=lambda: now.timestamp()
    )
    caplog.set_level(logging.WARNING)
    for days, warned in [(75, 0), (76.1, 1), (76.9, 1), (77.2, 2), (91, 3)]:
        now = NOW + timedelta(days=days)
        store.warn()
        assert len(caplog.records) == warned, days
    assert [record.message for record in caplog.records] == ["a certificate expires soon"] * 2 + [
        "a certificate has expired"
    ]
