"""TLS and mutual TLS over a real socket, with certificates that change while the server runs."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from click.testing import CliRunner, Result

from fantasia.v1 import generation_pb2 as pb
from fantasia_client import TLS, AccessDeniedError, AsyncClient, Client, Piece, Token
from fantasia_client.cli import main
from server.access import watched_files
from server.access.callers import token_entry
from server.app import App, LoadModels
from server.errors import SettingError
from server.settings import Settings
from tests.integration.certificates import secure_channel, stub_of, tls_settings, write_server_certificate
from tests.integration.scraping import scrape, scrape_until

EXPIRY = "fantasia_certificate_expiry_timestamp_seconds"
RELOADS = "fantasia_file_reloads_total"


@pytest.fixture(autouse=True)
def poll_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_files, "POLL_SECONDS", 0.05)


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Path:
    folder = tmp_path / "tls"
    write_server_certificate(folder, ca)
    (folder / "ca.crt").write_bytes(ca.cert_pem.bytes())
    return folder


@pytest.fixture
def settings(settings: Settings, files: Path) -> Settings:
    return settings.model_copy(update=tls_settings(files))


@asynccontextmanager
async def mutual(settings: Settings, load: LoadModels, files: Path, **more: str) -> AsyncIterator[App]:
    async with App(settings.model_copy(update={**tls_settings(files, mutual=True), **more}), load) as app:
        yield app


async def can_call(app: App, ca: trustme.CA, client: trustme.LeafCert | None = None) -> bool:
    """Whether a new connection with these certificates is accepted."""
    async with secure_channel(app.address, ca, client) as channel:
        call = stub_of(channel).ListModels(pb.ListModelsRequest(), timeout=10)
        code = await call.code()
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        return code is grpc.StatusCode.OK


async def test_calls_are_encrypted_and_plaintext_is_refused(app: App, ca: trustme.CA) -> None:
    assert await can_call(app, ca)
    assert not await can_call(app, trustme.CA()), "the client does not trust this authority"
    async with grpc.aio.insecure_channel(app.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub_of(channel).ListModels(pb.ListModelsRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_new_certificate_is_used_for_new_connections_and_open_ones_go_on(
    app: App, ca: trustme.CA, files: Path
) -> None:
    assert (await scrape(app)).sum(EXPIRY, certificate="server") == pytest.approx(
        (datetime.now(UTC) + timedelta(days=30)).timestamp(), abs=3600
    )
    async with secure_channel(app.address, ca) as channel:
        await stub_of(channel).ListModels(pb.ListModelsRequest())
        other = trustme.CA()
        write_server_certificate(files, other, days=60)
        await scrape_until(app, RELOADS, 1, files="certificates", outcome="ok")
        assert await can_call(app, other)
        assert not await can_call(app, ca)
        await stub_of(channel).ListModels(pb.ListModelsRequest())
    assert (await scrape(app)).sum(EXPIRY, certificate="server") == pytest.approx(
        (datetime.now(UTC) + timedelta(days=60)).timestamp(), abs=3600
    )


async def test_a_certificate_is_replaced_as_kubernetes_does_it(
    settings: Settings, load: LoadModels, tmp_path: Path, ca: trustme.CA
) -> None:
    volume, other = tmp_path / "volume", trustme.CA()
    volume.mkdir()
    for name, authority in (("one", ca), ("two", other)):
        write_server_certificate(volume / name, authority)
    (volume / "..data").symlink_to("one")
    for name in ("tls.crt", "tls.key"):
        (volume / name).symlink_to(f"..data/{name}")
    async with App(settings.model_copy(update=tls_settings(volume)), load) as app:
        assert await can_call(app, ca)
        (volume / "..new").symlink_to("two")
        (volume / "..new").replace(volume / "..data")
        await scrape_until(app, RELOADS, 1, outcome="ok")
        assert await can_call(app, other)


async def test_files_that_cannot_be_used_leave_the_earlier_ones_in_use(
    app: App, ca: trustme.CA, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = {name: (files / name).read_bytes() for name in ("tls.crt", "tls.key")}
    failures = 0

    async def refused(reason: str) -> None:
        nonlocal failures
        failures += 1
        await scrape_until(app, RELOADS, failures, files="certificates", outcome="failed")
        assert await can_call(app, ca)
        assert reason in caplog.records[-1].__dict__["fields"]["reason"]

    caplog.set_level(logging.WARNING, "server.access")
    (files / "tls.crt").write_bytes(b"not PEM")
    await refused("tls.crt holds no certificate in PEM format")
    (files / "tls.crt").unlink()
    await refused("tls.crt cannot be read: No such file or directory")
    write_server_certificate(files, ca, days=-1)
    await refused("tls.crt expired at ")
    (files / "tls.crt").write_bytes(good["tls.crt"])
    await refused("tls.key is not the key of the first certificate")
    (files / "tls.key").write_bytes(good["tls.key"])
    await scrape_until(app, RELOADS, 1, files="certificates", outcome="ok")
    assert await can_call(app, ca)


async def test_a_certificate_that_expires_soon_is_warned_of(
    settings: Settings, load: LoadModels, files: Path, ca: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    write_server_certificate(files, ca, days=13)
    caplog.set_level(logging.WARNING, "server.access")
    async with App(settings, load) as app:
        assert await can_call(app, ca)
    warnings = [record.message for record in caplog.records if record.name == "server.access.certificates"]
    assert warnings == ["a certificate expires soon"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tls.crt", None, "tls.crt cannot be read: No such file or directory"),
        ("tls.crt", b"", "tls.crt holds no certificate in PEM format"),
        ("tls.key", b"", "tls.key holds no private key in PEM format"),
        ("ca.crt", b"", "ca.crt holds no certificate in PEM format"),
    ],
)
async def test_the_server_does_not_start_with_files_that_cannot_be_used(
    settings: Settings, load: LoadModels, files: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is None:
        (files / name).unlink()
    else:
        (files / name).write_bytes(content)
    with pytest.raises(SettingError, match=reason):
        async with mutual(settings, load, files):
            pass


@pytest.mark.parametrize(("days", "state"), [(-1, "expired at"), (200, "is not valid before")])
async def test_the_server_does_not_start_with_a_certificate_that_is_not_valid_now(
    settings: Settings, load: LoadModels, files: Path, ca: trustme.CA, days: float, state: str
) -> None:
    write_server_certificate(files, ca, days=days)
    with pytest.raises(SettingError, match=state):
        async with App(settings, load):
            pass


async def test_mutual_tls_needs_a_certificate_of_the_authority(
    settings: Settings, load: LoadModels, files: Path, ca: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "server.rpc.logging_interceptor")
    expired = datetime.now(UTC) - timedelta(days=1)
    async with mutual(settings, load, files) as app:
        assert await can_call(app, ca, ca.issue_cert("studio.example"))
        assert not await can_call(app, ca)
        assert not await can_call(app, ca, trustme.CA().issue_cert("studio.example"))
        assert not await can_call(app, ca, ca.issue_cert("studio.example", not_after=expired))
    calls = [record.__dict__["fields"] for record in caplog.records if record.message == "call"]
    assert [(call["method"], call["caller"], call["code"]) for call in calls] == [
        ("ListModels", "studio.example", "OK")
    ]


async def test_another_authority_of_clients_is_used_without_restart(
    settings: Settings, load: LoadModels, files: Path, ca: trustme.CA
) -> None:
    new = trustme.CA()
    async with mutual(settings, load, files) as app:
        assert not await can_call(app, ca, new.issue_cert("studio.example"))
        (files / "ca.crt").write_bytes(new.cert_pem.bytes())
        await scrape_until(app, RELOADS, 1, outcome="ok")
        assert await can_call(app, ca, new.issue_cert("studio.example"))
        assert not await can_call(app, ca, ca.issue_cert("studio.example"))


async def test_handshakes_that_never_end_are_closed_and_do_not_keep_others_out(app: App, ca: trustme.CA) -> None:
    host, _, port = app.address.rpartition(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(50)]
    silent[0][1].write(b"\x16\x03\x01")  # the first bytes of a ClientHello
    assert await can_call(app, ca)
    async with asyncio.timeout(30):
        assert [await reader.read() for reader, _ in silent] == [b""] * 50
    for _, writer in silent:
        writer.close()


async def test_the_fantasia_command_and_both_clients_call_with_certificate_and_token(
    settings: Settings, load: LoadModels, files: Path, ca: trustme.CA, tmp_path: Path
) -> None:
    client = ca.issue_cert("studio.example")
    (tmp_path / "client.crt").write_bytes(client.cert_chain_pems[0].bytes())
    (tmp_path / "client.key").write_bytes(client.private_key_pem.bytes())
    (tmp_path / "token").write_text("secret")
    (tmp_path / "callers.toml").write_text(f'[callers.studio]\ntokens = ["{token_entry("secret")}"]\n')
    async with mutual(settings, load, files, callers_file=str(tmp_path / "callers.toml")) as app:
        server = app.address.replace("127.0.0.1", "localhost")
        options = ["--ca", str(files / "ca.crt"), "--cert", str(tmp_path / "client.crt"), "--key"]
        command = ["--server", server, *options, str(tmp_path / "client.key")]
        token = ["--token-file", str(tmp_path / "token")]

        def run(*arguments: str) -> Result:
            return CliRunner().invoke(main, [*command, *arguments])

        listed = await asyncio.to_thread(run, *token, "models")
        assert listed.exit_code == 0, listed.output
        refused = await asyncio.to_thread(run, "models")
        assert refused.exit_code == 1
        assert "this server needs a token" in refused.stderr

        tls = TLS.from_files(files / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
        async with AsyncClient(server, tls=tls, token=Token.from_file(tmp_path / "token")) as asynchronous:
            piece = await asynchronous.generate(bars=1, seed=1)

        def generate() -> Piece:
            with Client(server, tls=tls, token="secret") as synchronous:  # noqa: S106
                return synchronous.generate(bars=1, seed=1)

        assert (await asyncio.to_thread(generate)).midi == piece.midi
        with pytest.raises(AccessDeniedError):
            async with AsyncClient(server, tls=tls, token="wrong") as stranger:  # noqa: S106
                await stranger.generate(bars=1)
