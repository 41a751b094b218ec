"""Replicas that are stopped and started one by one, under load: no call fails."""

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.http2_peer import WATCH, Http2Peer
from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from fantasia_client import AsyncClient, Client, FantasiaClientError
from tests.integration.replicas import Replica, free_port, replica, until
from tests.integration.scraping import scrape_now_at

CALLERS = 16
LONG = 4


class Load:
    """Callers that ask for short pieces without a pause, and for some long pieces, until `stop` is set."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.long = 0
        """Number of long pieces that are requested and not finished."""
        self._wanted = 0
        self._lock = threading.Lock()

    def ask_for_long_pieces(self) -> None:
        """Let the callers ask for `LONG` long pieces."""
        with self._lock:
            self._wanted += LONG

    def bars(self) -> int:
        """The length of the next piece."""
        with self._lock:
            if not self._wanted:
                return 1
            self._wanted -= 1
            self.long += 1
            return 32

    def note(self, bars: int, outcome: str) -> None:
        """Count the outcome of a call."""
        with self._lock:
            self.outcomes[outcome] += 1
            self.long -= bars == 32

    def run(self, client: Client) -> None:
        """Run one caller on a thread."""
        while not self.stop.is_set():
            bars = self.bars()
            try:
                client.generate(bars=bars)
                self.note(bars, "OK")
            except FantasiaClientError as error:
                self.note(bars, str(error))

    async def run_async(self, client: AsyncClient) -> None:
        """Run one caller in an event loop."""
        while not self.stop.is_set():
            bars = self.bars()
            try:
                await client.generate(bars=bars)
                self.note(bars, "OK")
            except FantasiaClientError as error:
                self.note(bars, str(error))


def run_sync(target: str, load: Load) -> None:
    with Client(target) as client, ThreadPoolExecutor(CALLERS) as threads:
        for caller in [threads.submit(load.run, client) for _ in range(CALLERS)]:
            caller.result()


def run_async(target: str, load: Load) -> None:
    async def run() -> None:
        async with AsyncClient(target) as client:
            await asyncio.gather(*(load.run_async(client) for _ in range(CALLERS)))

    asyncio.run(run())


def received(server: Replica) -> float:
    """Number of calls that the server has received."""
    return scrape_now_at(server.metrics_port).sum("fantasia_requests_received_total")


def stop_while_busy(server: Replica, load: Load) -> None:
    """Stop a replica that runs long pieces. It must finish them and exit with code 0."""
    load.ask_for_long_pieces()
    until(lambda: load.long > 0, "long pieces run")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    log = server.log()
    assert "msg=stopped" in log
    assert "not drained" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("run", [run_sync, run_async])
def test_replacing_all_replicas_one_by_one_fails_no_call(models: Path, run: Callable[[str, Load], None]) -> None:
    ports = [free_port(), free_port()]
    load = Load()
    with ExitStack() as stack, ThreadPoolExecutor(1) as background:

        def start(port: int) -> Replica:
            return stack.enter_context(replica(models, "--port", str(port), "--drain-seconds", "20"))

        servers = [start(port) for port in ports]
        target = "ipv4:" + ",".join(server.address for server in servers)
        calls: Future[None] = background.submit(run, target, load)
        try:
            until(lambda: all(received(server) > 50 for server in servers), "both replicas are called")
            for number, port in enumerate(ports):
                stop_while_busy(servers[number], load)
                servers[number] = start(port)
                until(lambda number=number: received(servers[number]) > 50, "the new replica is called", 60)  # type: ignore[misc]
        finally:
            load.stop.set()
        calls.result(60)

    assert load.outcomes.keys() == {"OK"}, load.outcomes
    assert load.outcomes["OK"] > 200


def test_a_client_gets_goaway_at_once_when_the_server_stops(models: Path) -> None:
    with replica(models) as server, Http2Peer(server.address) as peer:
        peer.call(pb.GenerateRequest(bars=32).SerializeToString())
        until(lambda: scrape_now_at(server.metrics_port).sum("fantasia_slots_used") == 1, "the piece runs")
        server.process.send_signal(signal.SIGTERM)

        until(lambda: peer.came["GoAwayFrame"] > 0, "GOAWAY comes")
        assert peer.came["HeadersFrame"] == 0  # the piece is still being written
        until(lambda: peer.came["HeadersFrame"] > 0, "the piece is finished")
        assert server.process.wait(30) == 0


def test_new_connections_are_refused_while_the_server_drains(models: Path) -> None:
    with replica(models) as server, grpc.insecure_channel(server.address) as channel:
        running = pb_grpc.GenerationServiceStub(channel).Generate.future(pb.GenerateRequest(bars=32))
        until(lambda: scrape_now_at(server.metrics_port).sum("fantasia_slots_used") == 1, "the piece runs")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.said("msg=draining"), "it drains")

        def refused() -> bool:
            try:
                Http2Peer(server.address).close()
            except ConnectionRefusedError:
                return True
            return False

        until(refused, "nothing listens")
        assert running.result(30).pieces[0].length_ticks == 32 * 1920
        assert server.process.wait(30) == 0


def test_health_watches_are_notified_and_do_not_delay_the_drain(models: Path) -> None:
    with replica(models, "--drain-seconds", "60") as server, grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)

        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 30


def test_streams_without_a_request_do_not_delay_the_drain(models: Path) -> None:
    with replica(models, "--drain-seconds", "60") as server, Http2Peer(server.address) as peer:
        peer.open(100)
        peer.open(100, WATCH)
        began = time.monotonic()
        until(lambda: server.connections == 1, "the streams are open")
        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 30
