"""Error messages about a server that cannot be reached, with real sockets."""

import asyncio
import datetime
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme

from clients.python.tests.conftest import has_ipv6
from fantasia_client import TLS, DeadlineExceededError, Retry, ServerUnavailableError
from fantasia_client.probe import PROBE_SECONDS, ConnectionProbe

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer

NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
ONCE = Retry(attempts=1)
NO_TLS = "the server does not use TLS, but this client does: turn TLS off"
USES_TLS = "the server uses TLS, but this client does not: turn TLS on"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def credentials(
    authority: trustme.CA, name: str = "localhost", *, require_client: bool = False, **dates: Any
) -> grpc.ServerCredentials:
    """Server credentials for that name; with `require_client`, the client needs a certificate."""
    certificate = authority.issue_cert(name, **dates)
    chain = b"".join(link.bytes() for link in certificate.cert_chain_pems)
    roots = authority.cert_pem.bytes() if require_client else None
    return grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)], roots, require_client)


def trusting(authority: trustme.CA) -> TLS:
    return TLS(authority.cert_pem.bytes())


async def error_text(connect: "Connect", address: str, **options: Any) -> str:
    """The error of a client that cannot reach its server."""
    with pytest.raises(ServerUnavailableError) as caught:
        await connect(address, retry=ONCE, **options)("generate", timeout_seconds=20)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert "\n" not in str(caught.value)
    return str(caught.value)


# TLS. The server listens on one address of localhost. The other one refuses connections, and gRPC may report that.


@pytest.mark.parametrize("family", ["127.0.0.1", pytest.param("[::1]", marks=NEEDS_IPV6)])
async def test_tls_client_and_plaintext_server(
    idle_server: "ScriptedServer", connect: "Connect", authority: trustme.CA, family: str
) -> None:
    idle_server.start(f"{family}:0")
    address = f"localhost:{idle_server.address.rpartition(':')[2]}"
    for _ in range(3):
        assert await error_text(connect, address, tls=trusting(authority)) == f"{address} cannot be reached: {NO_TLS}"


@pytest.mark.parametrize("family", ["127.0.0.1", pytest.param("[::1]", marks=NEEDS_IPV6)])
async def test_plaintext_client_and_tls_server(
    idle_server: "ScriptedServer", connect: "Connect", authority: trustme.CA, family: str
) -> None:
    idle_server.start(f"{family}:0", credentials(authority))
    address = f"localhost:{idle_server.address.rpartition(':')[2]}"
    for _ in range(3):
        assert await error_text(connect, address) == f"{address} cannot be reached: {USES_TLS}"


@pytest.mark.parametrize(
    ("name", "dates", "words"),
    [
        ("music.example", {}, "the server's certificate is not for the name localhost"),
        ("localhost", {"not_after": datetime.datetime(2021, 1, 1)}, "the server's certificate has expired"),
        ("localhost", {"not_before": datetime.datetime(2090, 1, 1)}, "the server's certificate is not valid yet"),
    ],
)
async def test_an_invalid_server_certificate(
    idle_server: "ScriptedServer",
    connect: "Connect",
    authority: trustme.CA,
    name: str,
    dates: dict[str, datetime.datetime],
    words: str,
) -> None:
    whole: dict[str, Any] = {
        "not_before": datetime.datetime(2020, 1, 1),
        "not_after": datetime.datetime(2099, 1, 1),
    } | dates
    idle_server.start("127.0.0.1:0", credentials(authority, name, **whole))
    address = f"localhost:{idle_server.address.rpartition(':')[2]}"
    assert f"{address} cannot be reached: {words}" in await error_text(connect, address, tls=trusting(authority))


@pytest.mark.parametrize("tls", [TLS(trustme.CA().cert_pem.bytes()), TLS()], ids=["another authority", "common ones"])
async def test_an_untrusted_authority(
    idle_server: "ScriptedServer", connect: "Connect", authority: trustme.CA, tls: TLS
) -> None:
    idle_server.start("localhost:0", credentials(authority))
    message = await error_text(connect, idle_server.address, tls=tls)
    assert "the server's certificate is not signed by an authority that this client trusts" in message


async def test_a_server_that_requires_a_client_certificate(
    idle_server: "ScriptedServer", connect: "Connect", authority: trustme.CA
) -> None:
    idle_server.start("127.0.0.1:0", credentials(authority, require_client=True))
    address = f"localhost:{idle_server.address.rpartition(':')[2]}"
    assert "requires a client certificate" in await error_text(connect, address, tls=trusting(authority))
    own = authority.issue_cert("client")
    tls = TLS(authority.cert_pem.bytes(), own.cert_chain_pems[0].bytes(), own.private_key_pem.bytes())
    assert (await connect(address, tls=tls)("generate")).bars == 2


# Other servers, and no server


class Plain(BaseHTTPRequestHandler):
    """A web server. It is not a proxy."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def web_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Plain) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


async def test_a_web_server(connect: "Connect") -> None:
    with web_server() as address:
        assert (
            await error_text(connect, address) == f"{address} cannot be reached: the address answers, but not with gRPC"
        )


async def test_an_address_without_a_listener(connect: "Connect", authority: trustme.CA) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    for options in ({}, {"tls": trusting(authority)}):
        reason = (await error_text(connect, f"localhost:{port}", **options)).partition("cannot be reached: ")[2]
        assert reason in (f"Connection refused (127.0.0.1:{port})", f"Connection refused ([::1]:{port})")


async def test_a_host_name_that_does_not_exist(connect: "Connect") -> None:
    assert "the name music.errors cannot be resolved" in await error_text(connect, "music.errors")


async def test_a_unix_socket_that_does_not_exist(connect: "Connect") -> None:
    assert (await error_text(connect, "unix:/none")).endswith("cannot be reached: No such file or directory")


async def test_a_silent_server_takes_no_longer_than_the_deadline(connect: "Connect", authority: trustme.CA) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"localhost:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises((ServerUnavailableError, DeadlineExceededError)):
            await connect(address, retry=ONCE, tls=trusting(authority))("generate", timeout_seconds=0.3)
        assert time.monotonic() - started < 5


def test_many_failed_calls_share_one_probe() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.2)
        probe = ConnectionProbe(f"127.0.0.1:{listener.getsockname()[1]}", None)
        accepted = []

        def close_all() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    return
                accepted.append(connection.getpeername())
                connection.close()

        thread = threading.Thread(target=close_all)
        thread.start()
        assert {probe.run("Socket closed", 1.0) for _ in range(100)} == {"Socket closed"}
        thread.join()
    assert PROBE_SECONDS >= 1
    assert len(accepted) == 1


@pytest.mark.parametrize(
    ("server", "text", "expected"),
    [
        ("localhost:1", "Connection refused", True),
        ("127.0.0.1:1", "Connection refused", False),  # a single address: the message is complete
        ("[::1]:1", "Connection refused", False),
        ("127.0.0.1:1", "Socket closed", True),
        ("localhost:1", "CERTIFICATE_VERIFY_FAILED: certificate has expired", False),
        ("unix:/run/music", "Socket closed", False),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", "Connection refused", False),
    ],
)
def test_a_probe_runs_only_if_it_can_find_more(server: str, text: str, expected: bool) -> None:
    assert ConnectionProbe(server, None).is_useful(text) is expected


async def test_a_probe_does_not_block_the_event_loop(idle_server: "ScriptedServer", authority: trustme.CA) -> None:
    from fantasia_client import AsyncClient

    idle_server.start("127.0.0.1:0", credentials(authority))
    main = threading.get_ident()
    seen: list[int] = []
    async with AsyncClient(idle_server.address, retry=ONCE) as client:
        run = client._probe.run
        client._probe.run = lambda details, seconds: seen.append(threading.get_ident()) or run(details, seconds)  # type: ignore[method-assign, func-returns-value]
        with pytest.raises(ServerUnavailableError, match="turn TLS on"):
            await client.generate()
    assert len(seen) == 1
    assert main not in seen
    await asyncio.sleep(0)


async def test_an_error_does_not_wait_for_busy_executor_threads(
    idle_server: "ScriptedServer", authority: trustme.CA
) -> None:
    from fantasia_client import AsyncClient

    idle_server.start("127.0.0.1:0", credentials(authority))
    loop, release = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
    busy = loop.run_in_executor(None, release.wait)
    try:
        async with AsyncClient(idle_server.address, retry=ONCE) as client:
            with pytest.raises(ServerUnavailableError, match="cannot be reached"):
                await client.generate()
        assert not busy.done()
    finally:
        release.set()
        await busy


async def test_a_task_can_be_cancelled_during_a_probe(idle_server: "ScriptedServer", authority: trustme.CA) -> None:
    from fantasia_client import AsyncClient

    idle_server.start("127.0.0.1:0", credentials(authority))
    probing, release = threading.Event(), threading.Event()

    def run(details: str, seconds: float) -> str:
        probing.set()
        release.wait()
        return details

    try:
        async with AsyncClient(idle_server.address, retry=ONCE) as client:
            client._probe.run = run  # type: ignore[method-assign]
            task = asyncio.create_task(client.generate())
            while not probing.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not release.is_set()
    finally:
        release.set()


# Proxies


async def test_an_unreachable_proxy_is_named_with_the_variable_to_avoid_it(
    server: "ScriptedServer", connect: "Connect", monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        proxy = f"127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("http_proxy", f"http://me:secret@{proxy}")
    text = await error_text(connect, server.address)
    assert text == (
        f"{server.address} cannot be reached through the proxy {proxy} (variable http_proxy): "
        f"Connection refused ({proxy}); to connect without the proxy, set no_proxy=localhost"
    )
    monkeypatch.setenv("no_proxy", "localhost")
    assert (await connect(server.address)("generate")).bars == 2


async def test_a_refusing_proxy_is_named(
    server: "ScriptedServer", connect: "Connect", monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server() as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy}")
        text = await error_text(connect, server.address)
    assert f"through the proxy {proxy} (variable https_proxy): the proxy answered with HTTP status 501; " in text


async def test_a_silent_proxy_is_named(
    server: "ScriptedServer", connect: "Connect", monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        proxy = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("grpc_proxy", f"http://{proxy}")
        with pytest.raises(DeadlineExceededError, match=rf"within 0\.3 s through the proxy {proxy}"):
            await connect(server.address)("generate", timeout_seconds=0.3)
