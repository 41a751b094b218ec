"""Peers that open many streams: memory is bounded, and other callers are served."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from bench.http2_peer import WATCH, Http2Peer
from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.app import App, LoadModels
from server.rpc.limits import Keepalive
from server.settings import Settings
from tests.integration.arithmetic_runner import ArithmeticRunner
from tests.integration.replicas import Replica, replica, until
from tests.integration.scraping import scrape_now_at, scrape_until
from tests.integration.statuses import rich_status

MIB = 1 << 20
STREAMS = 400
OWN = (("grpc.use_local_subchannel_pool", 1),)
"""Gives a channel its own connection: by default all channels of a process share one."""


@pytest.fixture
def server(models: Path) -> Iterator[Replica]:
    with replica(models, "--max-streams-per-connection", str(STREAMS)) as served:
        yield served


def outcomes(address: str, seconds: float) -> Counter[str]:
    """Outcomes of the calls of one caller with its own connection, for `seconds`."""
    found: Counter[str] = Counter()
    with grpc.insecure_channel(address, OWN) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                stub.Generate(pb.GenerateRequest(bars=1), timeout=60)
                found["OK"] += 1
            except grpc.RpcError as error:
                found[f"{error.code().name}: {error.details()}"] += 1
    return found


def test_streams_without_a_body_take_bounded_memory(server: Replica) -> None:
    assert outcomes(server.address, 0.5).keys() == {"OK"}
    before = server.resident_bytes
    with ThreadPoolExecutor(1) as other, Http2Peer(server.address) as peer:
        calls = other.submit(outcomes, server.address, 3)
        peer.open(40_000)
        until(lambda: peer.came["RstStreamFrame"] >= 40_000 - STREAMS, "streams beyond the limit are refused")
        assert calls.result().keys() == {"OK"}
        during = server.resident_bytes

    assert peer.concurrent_streams == STREAMS
    # A stream takes some 20 KiB: unbounded, 40,000 would take 780 MiB.
    assert during - before < 60 * MIB
    until(lambda: server.connections == 0, "the connection is closed")
    assert outcomes(server.address, 0.5).keys() == {"OK"}
    assert server.resident_bytes - before < 60 * MIB


def test_requests_that_are_half_sent_take_bounded_memory(server: Replica) -> None:
    before = server.resident_bytes
    with ExitStack() as stack:
        peers = [stack.enter_context(Http2Peer(server.address)) for _ in range(4)]
        until(lambda: all(peer.concurrent_streams for peer in peers), "connections stand")
        streams = [peer.open(STREAMS) for peer in peers]
        sent, deadline = 0, time.monotonic() + 5
        while time.monotonic() < deadline:
            new = sum(peer.send_bodies(some, MIB) for peer, some in zip(peers, streams, strict=True))
            sent += new
            if not new:
                time.sleep(0.01)
        assert outcomes(server.address, 0.5).keys() == {"OK"}

        # Of each connection four messages of 1 MiB, and what 400 streams hold before they are read. Read all at once,
        # they took 400 MB a connection.
        assert sent > 16 * MIB
        assert server.resident_bytes - before < 160 * MIB


def test_long_requests_that_are_refused_do_not_stay(server: Replica) -> None:
    before = server.resident_bytes
    request = pb.GenerateRequest(model="x" * 1_000_000)
    with grpc.insecure_channel(server.address, OWN) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        for _ in range(300):
            with pytest.raises(grpc.RpcError):
                stub.Generate(request)
    assert server.resident_bytes - before < 48 * MIB


def test_repeated_floods_do_not_add_up(server: Replica) -> None:
    before = server.resident_bytes
    peaks = []
    for _ in range(6):
        with ExitStack() as stack:
            peers = [stack.enter_context(Http2Peer(server.address)) for _ in range(8)]
            for peer in peers:
                peer.open(STREAMS)
            # When this call is answered, the server has handled everything that arrived before it.
            assert outcomes(server.address, 1).keys() == {"OK"}
            peaks.append(server.resident_bytes - before)
        until(lambda: server.connections == 0, "connections are closed")

    # Each flood takes about 3,200 x 20 KiB = 64 MiB, and the next uses that memory again. Fragments let the peak grow
    # by 20 to 50 MiB before it stays; floods that add up would grow by 64 MiB each.
    assert max(peaks) < 192 * MIB
    assert peaks[-1] - peaks[1] < 64 * MIB


def test_connections_are_limited_and_free_their_place(models: Path) -> None:
    with replica(models, "--max-connections", "4") as server, ExitStack() as stack:
        peers = [stack.enter_context(Http2Peer(server.address)) for _ in range(4)]
        until(lambda: all(peer.came["SettingsFrame"] for peer in peers), "four connections are taken")
        beyond = stack.enter_context(Http2Peer(server.address))
        assert beyond.closed.wait(30)
        assert not any(peer.closed.is_set() for peer in peers)

        peers[0].close()
        until(lambda: outcomes(server.address, 0.2).keys() == {"OK"}, "the place is free")


def test_a_silent_connection_is_closed(models: Path) -> None:
    with replica(models, "--max-connections", "1") as server:
        with Http2Peer(server.address, silent=True) as silent:
            assert silent.closed.wait(60)
        until(lambda: outcomes(server.address, 0.2).keys() == {"OK"}, "the place is free")


def test_a_rapid_reset_cancels_no_call_of_another_connection(server: Replica) -> None:
    before = server.resident_bytes
    with ThreadPoolExecutor(4) as others, Http2Peer(server.address) as peer:
        calls = [others.submit(outcomes, server.address, 4) for _ in range(4)]
        for _ in range(6):
            peer.open_and_reset(10_000)
        found = sum((call.result() for call in calls), Counter[str]())

    assert found.keys() == {"OK"}
    assert server.resident_bytes - before < 100 * MIB


@pytest.mark.parametrize(("connections", "calls"), [(1, 3_000), (20, 4_000)])
def test_every_refused_call_of_a_burst_gets_a_retry_delay(server: Replica, connections: int, calls: int) -> None:
    answers: Counter[str] = Counter()
    hints = []

    def burst(number: int) -> None:
        with grpc.insecure_channel(server.address, OWN) as channel:
            stub = pb_grpc.GenerationServiceStub(channel)
            futures = [stub.Generate.future(pb.GenerateRequest(bars=1), timeout=100) for _ in range(number)]
            for future in futures:
                error = future.exception()
                assert error is None or isinstance(error, grpc.RpcError)
                answers["OK" if error is None else error.code().name] += 1
                if error is not None and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    status, retry = rpc_status.from_call(error), RetryInfo()
                    hints.append(status is not None and status.details[0].Unpack(retry) and retry.retry_delay)

    with ThreadPoolExecutor(connections) as threads:
        list(threads.map(burst, [calls // connections] * connections))

    assert answers["OK"] + answers["RESOURCE_EXHAUSTED"] == calls, answers
    assert answers["RESOURCE_EXHAUSTED"] == len(hints)
    assert answers["OK"] > 0
    assert answers["RESOURCE_EXHAUSTED"] > 0
    assert all(hint and hint.ToMilliseconds() > 0 for hint in hints)
    found = scrape_now_at(server.metrics_port)
    assert found.sum("fantasia_requests_finished_total", code="RESOURCE_EXHAUSTED") == answers["RESOURCE_EXHAUSTED"]
    assert found.sum("fantasia_requests_finished_total", code="OK") == answers["OK"]
    assert found.sum("fantasia_requests_in_flight") == 0
    assert server.said("code=RESOURCE_EXHAUSTED")


async def test_health_watches_of_a_connection_are_limited(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(8)]
    for watch in watches:
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING

    code, status = await rich_status(stub.Watch(health_pb2.HealthCheckRequest()).read())
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "8 streaming calls" in status.message
    assert status.details[0].Unpack(RetryInfo())

    # The others go on, a question is still answered, and a watch that ends makes room.
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    watches[0].cancel()
    async with asyncio.timeout(10):
        while True:
            with suppress(grpc.aio.AioRpcError):
                await stub.Watch(health_pb2.HealthCheckRequest()).read()
                break


def test_health_watches_by_the_thousand_take_bounded_memory(server: Replica) -> None:
    before = server.resident_bytes
    with Http2Peer(server.address) as peer:
        for _ in range(2_000):
            peer.call(b"", WATCH)
        assert outcomes(server.address, 2).keys() == {"OK"}
        assert server.resident_bytes - before < 60 * MIB
    assert server.said("method=/grpc.health.v1.Health/Watch code=RESOURCE_EXHAUSTED")


async def test_a_peer_that_answers_no_ping_is_closed_and_its_slot_freed(
    settings: Settings, load: LoadModels, runner: ArithmeticRunner
) -> None:
    keepalive = Keepalive(interval_seconds=1.0, timeout_seconds=0.5)
    async with App(settings, load, keepalive=keepalive) as app:
        runner.run_seconds = 0.05  # 32 bars take 13 s: longer than the test waits
        with Http2Peer(app.address, answers_pings=False) as deaf, Http2Peer(app.address) as alive:
            for peer in (deaf, alive):
                peer.call(pb.GenerateRequest(bars=32).SerializeToString())
            await scrape_until(app, "fantasia_slots_used", 2)
            began = time.monotonic()
            assert await asyncio.to_thread(deaf.closed.wait, 30)
            seconds = time.monotonic() - began

            await scrape_until(app, "fantasia_slots_used", 1)
            assert not alive.closed.is_set()
        # gRPC's own timeout of a ping is a minute.
        assert seconds < 10
        await scrape_until(app, "fantasia_slots_used", 0)


def test_by_default_a_lost_peer_is_detected_within_40_seconds() -> None:
    options = dict(Keepalive().options())

    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] == 40_000
    assert options["grpc.http2.ping_timeout_ms"] == options["grpc.keepalive_timeout_ms"]
