"""The metrics port: open, off, or with TLS and tokens as the gRPC port."""

import asyncio
import ssl
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import trustme

from server.access import watched_files
from server.access.callers import token_entry
from server.app import App, LoadModels
from server.settings import Settings
from tests.integration.certificates import tls_settings, write_server_certificate

SCRAPER, STUDIO = "token-of-scraper", "token-of-studio"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    callers = tmp_path / "callers.toml"
    callers.write_text(
        f'[callers.prometheus]\ntokens = ["{token_entry(SCRAPER)}"]\nallow = ["metrics"]\n'
        f'[callers.studio]\ntokens = ["{token_entry(STUDIO)}"]\n'
    )
    return settings.model_copy(update={"callers_file": str(callers), "metrics_access": "checked"})


def get(url: str, token: str = "", context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """Status and body, or 0 and the reason why there is no answer."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (URLError, OSError) as error:
        return 0, str(error)


async def test_checked_metrics_need_a_token_that_may_read_them(settings: Settings, load: LoadModels) -> None:
    async with App(settings, load) as app:
        url = f"http://127.0.0.1:{app.metrics_port}/metrics"
        assert (await asyncio.to_thread(get, url))[0] == 401
        assert await asyncio.to_thread(get, url, "wrong") == (
            401,
            "the server does not know this token: it is wrong, or no longer valid\n",
        )
        status, body = await asyncio.to_thread(get, url, STUDIO)
        assert status == 403
        assert "the caller studio may not use metrics" in body
        status, body = await asyncio.to_thread(get, url, SCRAPER)
        assert status == 200
        for reason in ("no_token", "unknown_token", "not_allowed"):
            assert f'fantasia_access_refusals_total{{reason="{reason}"}} 1.0' in body
        assert (await asyncio.to_thread(get, url.replace("/metrics", "/other")))[0] == 401


async def test_open_metrics_need_no_token_and_metrics_can_be_off(settings: Settings, load: LoadModels) -> None:
    async with App(settings.model_copy(update={"metrics_access": "open"}), load) as app:
        assert (await asyncio.to_thread(get, f"http://127.0.0.1:{app.metrics_port}/metrics"))[0] == 200
    async with App(settings.model_copy(update={"metrics_access": "off"}), load) as app:
        assert app.metrics_port == 0


async def test_checked_metrics_speak_tls_with_the_certificates_of_the_moment(
    settings: Settings, load: LoadModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_files, "POLL_SECONDS", 0.05)
    ca, other = trustme.CA(), trustme.CA()
    write_server_certificate(tmp_path / "tls", ca)
    async with App(settings.model_copy(update=tls_settings(tmp_path / "tls")), load) as app:
        url = f"https://localhost:{app.metrics_port}/metrics"

        async def status(trusted: trustme.CA) -> int:
            context = ssl.create_default_context()
            trusted.configure_trust(context)
            return (await asyncio.to_thread(get, url, SCRAPER, context))[0]

        assert await status(ca) == 200
        assert await status(other) == 0
        assert (await asyncio.to_thread(get, url.replace("https", "http"), SCRAPER))[0] == 0
        write_server_certificate(tmp_path / "tls", other)
        async with asyncio.timeout(20):
            while await status(other) != 200:
                await asyncio.sleep(0.05)
        assert await status(ca) == 0


async def test_with_mutual_tls_a_scraper_needs_a_certificate_which_may_replace_its_token(
    settings: Settings, load: LoadModels, tmp_path: Path
) -> None:
    ca = trustme.CA()
    write_server_certificate(tmp_path / "tls", ca)
    (tmp_path / "tls" / "ca.crt").write_bytes(ca.cert_pem.bytes())
    with (tmp_path / "callers.toml").open("a") as callers:
        callers.write('[callers.agent]\ncertificates = ["agent.example"]\nallow = ["metrics"]\n')
    async with App(settings.model_copy(update=tls_settings(tmp_path / "tls", mutual=True)), load) as app:
        url = f"https://localhost:{app.metrics_port}/metrics"

        async def status(client: trustme.LeafCert | None, token: str = "") -> int:
            context = ssl.create_default_context()
            ca.configure_trust(context)
            if client is not None:
                client.configure_cert(context)
            return (await asyncio.to_thread(get, url, token, context))[0]

        assert await status(ca.issue_cert("agent.example")) == 200
        assert await status(ca.issue_cert("desk.example")) == 401
        assert await status(ca.issue_cert("desk.example"), SCRAPER) == 200
        assert await status(None, SCRAPER) == 0
        assert await status(trustme.CA().issue_cert("agent.example"), SCRAPER) == 0


async def test_peers_that_never_finish_a_handshake_are_closed(
    settings: Settings, load: LoadModels, tmp_path: Path
) -> None:
    ca = trustme.CA()
    write_server_certificate(tmp_path / "tls", ca)
    async with App(settings.model_copy(update=tls_settings(tmp_path / "tls")), load) as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.metrics_port)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()
