"""What is told of a server that cannot be reached, over real sockets."""

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

from clients.python.tests.network import has_ipv6
from fantasia_client import TLS, DeadlineExceededError, Retry, ServerUnavailableError
from fantasia_client.diagnosis import LOOK_SECONDS, Diagnosis
from fantasia_client.proxy import Proxy, proxy_for

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer

NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
ONCE = Retry(attempts=1)
NO_TLS = "the server does not speak TLS, and this client does: turn TLS off"
SPEAKS_TLS = "the server speaks TLS, and this client does not: turn TLS on"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def credentials(
    authority: trustme.CA, name: str = "localhost", *, ask: bool = False, **dates: Any
) -> grpc.ServerCredentials:
    """A server's certificate for that name; with `ask`, it wants one of the client."""
    certificate = authority.issue_cert(name, **dates)
    chain = b"".join(link.bytes() for link in certificate.cert_chain_pems)
    roots = authority.cert_pem.bytes() if ask else None
    return grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)], roots, ask)


def trusting(authority: trustme.CA) -> TLS:
    return TLS(authority.cert_pem.bytes())


async def told(connect: "Connect", address: str, **options: Any) -> str:
    """What the client says of a server that it cannot reach."""
    with pytest.raises(ServerUnavailableError) as caught:
        await connect(address, retry=ONCE, **options)("generate", timeout_seconds=20)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert "\n" not in str(caught.value)
    return str(caught.value)


# TLS. A server on one address of localhost alone: on the other one the connection is refused, which gRPC may report.


@pytest.mark.parametrize("family", ["127.0.0.1", pytest.param("[::1]", marks=NEEDS_IPV6)])
async def test_tls_to_a_server_without_it(
    idle_server: "ScriptedServer", connect: "Connect", authority: trustme.CA, family: str
) -> None:
    idle_server.start(f"{family}:0")
    address = f"localhost:{idle_server.address.rpartition(':')[2]}"
    for _ in range(3):
        assert await told(connect, address, tls=trusting(authority)) == f"{address} cannot be reached: {NO_TLS}"


@pytest.mark.parametrize("family", ["127.0.0.1", pytest.param("[::1]", marks=NEEDS_IPV6)])
async def test_no_tls_to_a_server_with_it(
    idle_server: "ScriptedServer", connect: "Connect", authority: trustme.CA, family: str
) -> None:
    idle_server.start(f"{family}:0", credentials(authority))
    address = f"localhost:{idle_server.address.rpartition(':')[2]}"
    for _ in range(3):
        assert await told(connect, address) == f"{address} cannot be reached: {SPEAKS_TLS}"


@pytest.mark.parametrize(
    ("name", "dates", "words"),
    [
        ("music.example", {}, "the server's certificate is not for the name localhost"),
        ("localhost", {"not_after": datetime.datetime(2021, 1, 1)}, "the server's certificate has expired"),
        ("localhost", {"not_before": datetime.datetime(2090, 1, 1)}, "the server's certificate is not valid yet"),
    ],
)
async def test_a_certificate_that_does_not_hold(
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
    assert f"{address} cannot be reached: {words}" in await told(connect, address, tls=trusting(authority))


@pytest.mark.parametrize("tls", [TLS(trustme.CA().cert_pem.bytes()), TLS()], ids=["another authority", "common ones"])
async def test_an_authority_that_is_not_trusted(
    idle_server: "ScriptedServer", connect: "Connect", authority: trustme.CA, tls: TLS
) -> None:
    idle_server.start("localhost:0", credentials(authority))
    told_of = await told(connect, idle_server.address, tls=tls)
    assert "the server's certificate is not from an authority that this client trusts" in told_of


async def test_a_server_that_asks_for_a_certificate(
    idle_server: "ScriptedServer", connect: "Connect", authority: trustme.CA
) -> None:
    idle_server.start("127.0.0.1:0", credentials(authority, ask=True))
    address = f"localhost:{idle_server.address.rpartition(':')[2]}"
    assert "asks for one that the client does not have" in await told(connect, address, tls=trusting(authority))
    own = authority.issue_cert("client")
    tls = TLS(authority.cert_pem.bytes(), own.cert_chain_pems[0].bytes(), own.private_key_pem.bytes())
    assert (await connect(address, tls=tls)("generate")).bars == 2


# Other servers, and none


class Plain(BaseHTTPRequestHandler):
    """A web server, which is no proxy either."""

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


async def test_a_web_server_does_not_speak_grpc(connect: "Connect") -> None:
    with web_server() as address:
        assert await told(connect, address) == f"{address} cannot be reached: what answers there does not speak gRPC"


async def test_an_address_where_nothing_listens(connect: "Connect", authority: trustme.CA) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    for options in ({}, {"tls": trusting(authority)}):
        reason = (await told(connect, f"localhost:{port}", **options)).partition("cannot be reached: ")[2]
        assert reason in (f"Connection refused (127.0.0.1:{port})", f"Connection refused ([::1]:{port})")


async def test_a_name_that_does_not_exist(connect: "Connect") -> None:
    assert "the name music.invalid cannot be resolved" in await told(connect, "music.invalid")


async def test_a_unix_socket_that_does_not_exist(connect: "Connect") -> None:
    assert (await told(connect, "unix:/none")).endswith("cannot be reached: No such file or directory")


async def test_a_server_that_never_answers_takes_no_longer_than_the_deadline(
    connect: "Connect", authority: trustme.CA
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"localhost:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises((ServerUnavailableError, DeadlineExceededError)):
            await connect(address, retry=ONCE, tls=trusting(authority))("generate", timeout_seconds=0.3)
        assert time.monotonic() - started < 5


def test_calls_that_fail_by_the_hundred_look_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.2)
        diagnosis = Diagnosis(f"127.0.0.1:{listener.getsockname()[1]}", None)
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
        assert {diagnosis.look("Socket closed", 1.0) for _ in range(100)} == {"Socket closed"}
        thread.join()
    assert LOOK_SECONDS >= 1
    assert len(accepted) == 1


@pytest.mark.parametrize(
    ("server", "text", "expected"),
    [
        ("localhost:1", "Connection refused", True),
        ("127.0.0.1:1", "Connection refused", False),  # of one address, that is all there is to know
        ("[::1]:1", "Connection refused", False),
        ("127.0.0.1:1", "Socket closed", True),
        ("localhost:1", "CERTIFICATE_VERIFY_FAILED: certificate has expired", False),
        ("unix:/run/music", "Socket closed", False),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", "Connection refused", False),
    ],
)
def test_addresses_are_looked_at_where_that_could_tell_more(server: str, text: str, expected: bool) -> None:
    assert Diagnosis(server, None).needs_look(text) is expected


async def test_looking_does_not_hold_up_the_event_loop(idle_server: "ScriptedServer", authority: trustme.CA) -> None:
    from fantasia_client import AsyncClient

    idle_server.start("127.0.0.1:0", credentials(authority))
    main = threading.get_ident()
    seen: list[int] = []
    async with AsyncClient(idle_server.address, retry=ONCE) as client:
        look = client._diagnosis.look
        client._diagnosis.look = lambda text, seconds: seen.append(threading.get_ident()) or look(text, seconds)  # type: ignore[method-assign, func-returns-value]
        with pytest.raises(ServerUnavailableError, match="turn TLS on"):
            await client.generate()
    assert len(seen) == 1
    assert main not in seen
    await asyncio.sleep(0)


async def test_an_error_does_not_wait_for_the_threads_of_a_busy_loop(
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


async def test_a_task_can_be_cancelled_while_addresses_are_looked_at(
    idle_server: "ScriptedServer", authority: trustme.CA
) -> None:
    from fantasia_client import AsyncClient

    idle_server.start("127.0.0.1:0", credentials(authority))
    looking, release = threading.Event(), threading.Event()

    def look(text: str, seconds: float) -> str:
        looking.set()
        release.wait()
        return text

    try:
        async with AsyncClient(idle_server.address, retry=ONCE) as client:
            client._diagnosis.look = look  # type: ignore[method-assign]
            task = asyncio.create_task(client.generate())
            while not looking.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not release.is_set()
    finally:
        release.set()


# Proxies


async def test_a_proxy_is_named_with_the_way_round_it(
    server: "ScriptedServer", connect: "Connect", monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        proxy = f"127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("http_proxy", f"http://me:secret@{proxy}")
    text = await told(connect, server.address)
    assert text == (
        f"{server.address} cannot be reached through the proxy {proxy} (variable http_proxy): "
        f"Connection refused ({proxy}); to connect without the proxy, set no_proxy=localhost"
    )
    monkeypatch.setenv("no_proxy", "localhost")
    assert (await connect(server.address)("generate")).bars == 2


async def test_a_proxy_that_refuses_is_named(
    server: "ScriptedServer", connect: "Connect", monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server() as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy}")
        text = await told(connect, server.address)
    assert f"through the proxy {proxy} (variable https_proxy): the proxy answered with HTTP status 501; " in text


async def test_a_proxy_that_is_silent_is_named(
    server: "ScriptedServer", connect: "Connect", monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        proxy = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("grpc_proxy", f"http://{proxy}")
        with pytest.raises(DeadlineExceededError, match=rf"within 0\.3 s through the proxy {proxy}"):
            await connect(server.address)("generate", timeout_seconds=0.3)


PROXY = {"http_proxy": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("server", "environment", "expected"),
    [
        ("music:1", {}, None),
        ("music:1", PROXY, Proxy("http_proxy", "proxy:3128", "music")),
        ("music:1", {"http_proxy": "http://proxy"}, Proxy("http_proxy", "proxy:443", "music")),
        ("music:1", PROXY | {"grpc_proxy": "http://other:1"}, Proxy("grpc_proxy", "other:1", "music")),
        ("music:1", PROXY | {"https_proxy": ""}, None),  # the first that is set counts
        ("music:1", {"http_proxy": "proxy:3128"}, None),  # gRPC ignores what is no http:// URL
        ("music:1", {"http_proxy": "https://proxy:3128"}, None),
        ("music:1", {"http_proxy": "http://proxy:99999"}, None),
        ("music:1", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("music:1", PROXY | {"no_proxy": "x, MUSIC"}, None),
        ("music:1", PROXY | {"no_proxy": ".music"}, None),
        ("a.music:1", PROXY | {"no_proxy": "music"}, None),
        ("music:1", PROXY | {"no_proxy": "*"}, Proxy("http_proxy", "proxy:3128", "music")),
        ("music:1", PROXY | {"no_grpc_proxy": "x", "no_proxy": "music"}, Proxy("http_proxy", "proxy:3128", "music")),
        ("10.1.2.3:1", PROXY | {"no_proxy": "10.0.0.0/8"}, None),
        ("dns:///music:1", PROXY | {"no_proxy": "music"}, None),
        ("dns:music:1", PROXY, Proxy("http_proxy", "proxy:3128", "music")),
        ("ipv4:10.1.2.3:1,10.1.2.4:1", PROXY, Proxy("http_proxy", "proxy:3128", "10.1.2.3")),
        ("[::1]:1", PROXY, Proxy("http_proxy", "proxy:3128", "::1")),
        ("unix:/run/music", PROXY, None),
    ],
)
def test_the_proxy_is_the_one_that_grpc_takes(server: str, environment: dict[str, str], expected: Proxy | None) -> None:
    assert proxy_for(server, environment) == expected
