"""The metrics endpoint over real sockets."""

import gzip
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.registry import Collector

import server.metrics.endpoint
from server.errors import StartupError
from server.metrics import MetricsEndpoint

TIMEOUT_SECONDS = 60  # longer means that something hangs


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("tunes", "Tunes written.", registry=registry).inc(3)
    Counter("bars", "Bars written.", registry=registry).inc(5)
    return registry


@contextmanager
def listening(registry: CollectorRegistry, host: str = "127.0.0.1") -> Iterator[MetricsEndpoint]:
    endpoint = MetricsEndpoint(registry, host, 0)
    try:
        yield endpoint
    finally:
        endpoint.close()


@pytest.fixture
def endpoint(registry: CollectorRegistry) -> Iterator[MetricsEndpoint]:
    with listening(registry) as endpoint:
        yield endpoint


def ask(
    endpoint: MetricsEndpoint,
    method: str = "GET",
    path: str = "/metrics",
    *,
    body: bytes | None = None,
    host: str = "127.0.0.1",
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, endpoint.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body=body, headers={n.replace("_", "-"): v for n, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def connected(endpoint: MetricsEndpoint) -> socket.socket:
    return socket.create_connection(("127.0.0.1", endpoint.port), timeout=TIMEOUT_SECONDS)


def exchange(endpoint: MetricsEndpoint, data: bytes) -> bytes:
    """Everything that the server answers to these bytes, until it closes."""
    with connected(endpoint) as connection:
        connection.sendall(data)
        parts = iter(lambda: connection.recv(4096), b"")
        return b"".join(parts)


def until_open(process: psutil.Process, descriptors: int) -> None:
    """Wait until at most so many file descriptors are open."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while process.num_fds() > descriptors:
        assert time.monotonic() < until, f"{process.num_fds()} descriptors are open, not {descriptors}"
        time.sleep(0.05)


def test_a_scrape_is_answered_in_the_text_format(endpoint: MetricsEndpoint) -> None:
    status, headers, body = ask(endpoint)

    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"tunes_total 3.0" in body
    assert int(headers["Content-Length"]) == len(body)
    assert headers["Connection"] == "close"


def test_format_compression_and_names_follow_the_request(endpoint: MetricsEndpoint) -> None:
    _, headers, body = ask(endpoint, Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    _, headers, body = ask(endpoint, Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert b"tunes_total 3.0" in gzip.decompress(body)
    _, _, body = ask(endpoint, path="/metrics?name[]=bars_total")
    assert b"bars_total 5.0" in body
    assert b"tunes" not in body


@pytest.mark.parametrize("accept", ["text/plain;version=abc", ";;,,", "application/openmetrics-text;version=x", "é"])
def test_an_invalid_accept_header_gets_plain_text(endpoint: MetricsEndpoint, accept: str) -> None:
    status, _, body = ask(endpoint, Accept=accept)

    assert status == 200
    assert b"tunes_total 3.0" in body


def test_head_is_answered_without_a_body(endpoint: MetricsEndpoint) -> None:
    _, of_get, body = ask(endpoint)
    status, headers, nothing = ask(endpoint, "HEAD")

    assert (status, nothing) == (200, b"")
    assert headers["Content-Length"] == str(len(body))
    assert headers["Content-Type"] == of_get["Content-Type"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/favicon.ico", "/metrics/", "/metrics2", "//metrics", "/Metrics"])
def test_paths_that_are_not_served_are_not_found(endpoint: MetricsEndpoint, method: str, path: str) -> None:
    assert ask(endpoint, method, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_other_methods_are_not_allowed(endpoint: MetricsEndpoint, method: str) -> None:
    status, headers, _ = ask(endpoint, method)

    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_an_unexpected_body_does_not_lose_the_answer(endpoint: MetricsEndpoint) -> None:
    assert ask(endpoint, "POST", body=b"x" * 200_000)[0] == 405


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),  # gRPC on the wrong port
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),  # without the header Host
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 20_000, b"431"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000, b"431"),
        (b"GET http://x/metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.0\n\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
    ],
)
def test_any_input_gets_one_answer_and_is_closed(endpoint: MetricsEndpoint, data: bytes, status: bytes) -> None:
    answer = exchange(endpoint, data)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1") == 1
    assert ask(endpoint)[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"])
def test_an_incomplete_request_is_closed(
    endpoint: MetricsEndpoint, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server.metrics.endpoint, "REQUEST_SECONDS", 0.2)

    assert exchange(endpoint, sent).startswith(b"HTTP/1.1 408")


def test_an_answer_that_is_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.metrics.endpoint, "RESPONSE_SECONDS", 0.2)
    registry = CollectorRegistry()
    for number in range(100):
        Counter(f"tunes_{number}", "Tunes written. " * 10_000, registry=registry)  # more than sockets hold
    process = psutil.Process()
    with listening(registry) as endpoint, socket.socket() as deaf:
        before = process.num_fds()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", endpoint.port))
        deaf.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        until_open(process, before)
        assert ask(endpoint)[0] == 200


@pytest.mark.slow
def test_idle_and_slow_peers_take_no_threads_and_their_descriptors_are_freed(endpoint: MetricsEndpoint) -> None:
    process = psutil.Process()
    ask(endpoint)
    descriptors, threads = process.num_fds(), threading.active_count()
    stop = threading.Event()

    with ExitStack() as stack, ThreadPoolExecutor(32) as pool:
        peers = [stack.enter_context(connected(endpoint)) for _ in range(500)]

        def dribble() -> None:
            while not stop.wait(1.0):
                for peer in peers[250:]:  # one byte a second, for ever
                    with suppress(OSError):  # the server has closed it
                        peer.send(b"G")

        dribbling = threading.Thread(target=dribble)
        dribbling.start()
        try:
            assert threading.active_count() <= threads + 1
            answers = list(pool.map(lambda _: ask(endpoint), range(300)))
        finally:
            stop.set()
            dribbling.join()
        assert {status for status, _, _ in answers} == {200}
        assert all(b"tunes_total 3.0" in body for _, _, body in answers)
        until_open(process, descriptors + len(peers))  # all that the server had; the peers' own ends are still open
    until_open(process, descriptors)
    assert threading.active_count() <= threads  # another test's thread may have ended


def test_concurrent_scrapes_are_rendered_once(registry: CollectorRegistry) -> None:
    class Slow(Collector):
        rendered = 0

        def collect(self) -> Iterator[object]:  # type: ignore[override]
            Slow.rendered += 1
            time.sleep(0.2)
            yield from ()

    registry.register(Slow())
    registered = Slow.rendered
    with listening(registry) as endpoint, ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: ask(endpoint), range(30)))
    assert {status for status, _, _ in answers} == {200}
    assert 1 <= Slow.rendered - registered < 15


def test_a_failing_metric_is_answered_and_logged(registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Collector):
        broken = False

        def collect(self) -> Iterator[object]:  # type: ignore[override]
            if self.broken:
                raise RuntimeError("the secret of the metric")
            yield from ()

    collector = Broken()
    registry.register(collector)
    with listening(registry) as endpoint:
        collector.broken = True
        status, _, body = ask(endpoint)
        collector.broken = False
        assert (status, ask(endpoint)[0]) == (500, 200)
    assert b"secret" not in body
    assert "the secret of the metric" in caplog.text


def test_a_scrape_sees_what_was_counted_before_it(registry: CollectorRegistry, endpoint: MetricsEndpoint) -> None:
    counter = Counter("notes", "Notes written.", registry=registry)
    for number in range(1, 50):
        counter.inc()
        assert f"notes_total {number}.0".encode() in ask(endpoint)[2]


def test_closing_closes_every_connection_and_frees_the_port(registry: CollectorRegistry) -> None:
    process = psutil.Process()
    before = process.num_fds()
    with listening(registry) as endpoint:
        peers = [connected(endpoint) for _ in range(5)]
        assert ask(endpoint)[0] == 200
        port = endpoint.port
    for peer in peers:
        with peer:
            assert peer.recv(1) == b""
    assert process.num_fds() == before
    MetricsEndpoint(registry, "127.0.0.1", port).close()


def test_it_listens_on_ipv6(registry: CollectorRegistry) -> None:
    with listening(registry, "::1") as endpoint:
        assert ask(endpoint, host="::1")[0] == 200
    with listening(registry, "::") as endpoint:
        assert ask(endpoint, host="::1")[0] == ask(endpoint)[0] == 200


@pytest.mark.parametrize(
    ("addresses", "host"), [(["::1"], "::1"), (["::1", "127.0.0.1"], "127.0.0.1"), (["127.0.0.1"], "127.0.0.1")]
)
def test_it_listens_on_the_ipv4_address_of_a_name_if_there_is_one(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, addresses: list[str], host: str
) -> None:
    look_up = socket.getaddrinfo

    def resolve(name: str, *arguments: Any, **options: Any) -> list[Any]:
        names = addresses if name == "music.example" else [name]
        return [found for each in names for found in look_up(each, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with listening(registry, "music.example") as endpoint:
        assert ask(endpoint, host=host)[0] == 200


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "2001:db8::1"])
def test_an_address_of_another_machine_is_a_startup_error(registry: CollectorRegistry, host: str) -> None:
    with pytest.raises(StartupError, match=f"cannot listen on {host}:0 for metrics: "):
        MetricsEndpoint(registry, host, 0)


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "\udcff"])
def test_an_invalid_host_name_is_a_startup_error(registry: CollectorRegistry, host: str) -> None:
    with pytest.raises(StartupError, match="for metrics: it is not a host name"):
        MetricsEndpoint(registry, host, 0)


def test_a_taken_port_is_a_startup_error(registry: CollectorRegistry, endpoint: MetricsEndpoint) -> None:
    with pytest.raises(StartupError, match=f"127.0.0.1:{endpoint.port} for metrics: Address already in use$"):
        MetricsEndpoint(registry, "127.0.0.1", endpoint.port)


CHILD = """
import resource, sys
from prometheus_client import CollectorRegistry
from server.metrics import MetricsEndpoint
resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
endpoint = MetricsEndpoint(CollectorRegistry(), "127.0.0.1", 0)
print(endpoint.port, flush=True)
sys.stdin.read()
endpoint.close()
"""


def test_a_process_without_descriptors_answers_again_once_it_has_some() -> None:
    arguments = [sys.executable, "-c", CHILD]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603
        assert child.stdin is not None
        assert child.stdout is not None
        port = int(child.stdout.readline())
        with ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS))
            until = time.monotonic() + TIMEOUT_SECONDS
            while psutil.Process(child.pid).num_fds() < 24 and time.monotonic() < until:
                time.sleep(0.01)
            assert psutil.Process(child.pid).num_fds() == 24
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
        connection.close()
        child.stdin.close()
        assert child.wait(TIMEOUT_SECONDS) == 0
