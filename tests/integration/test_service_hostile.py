"""Peers that send headers without end, stay idle, grow old, or take all places of the probes' port."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import hpack
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame

from bench.http2_peer import CHECK, GENERATE, Http2Peer
from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.access.callers import token_entry
from tests.integration.replicas import Replica, replica, until
from tests.integration.scraping import scrape_now_at

MIB = 1 << 20


def is_served(address: str, token: str = "") -> bool:
    """Whether a caller with a connection of its own gets an answer."""
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        stub = pb_grpc.GenerationServiceStub(channel)
        return len(stub.Generate(pb.GenerateRequest(bars=1), timeout=60, metadata=metadata).pieces) == 1


def block(address: str, metadata_bytes: int) -> bytes:
    """The headers of a call with metadata of this size."""
    return hpack.Encoder().encode(
        [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", GENERATE.encode()),
            (b":authority", address.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"x-long", b"\x01" * metadata_bytes),
        ],
        huffman=False,
    )


def frames(stream: int, headers: bytes, *, ends: bool = True) -> bytes:
    """The headers in frames of at most 16 KiB."""
    parts = [headers[start : start + 16_384] for start in range(0, len(headers), 16_384)]
    first = HeadersFrame(stream, parts[0], flags=["END_HEADERS"] if ends and len(parts) == 1 else [])
    rest = [ContinuationFrame(stream, part) for part in parts[1:]]
    if ends and rest:
        rest[-1].flags.add("END_HEADERS")
    return b"".join(frame.serialize() for frame in (first, *rest))


@pytest.fixture
def server(models: Path) -> Iterator[Replica]:
    with replica(models) as served:
        yield served


def test_metadata_above_the_limit_is_refused_without_taking_memory(server: Replica) -> None:
    assert is_served(server.address)
    before = server.resident_bytes
    with Http2Peer(server.address) as peer:
        until(lambda: peer.concurrent_streams is not None, "the connection stands")
        sent = 0
        with suppress(OSError):  # the server may close the connection
            for stream in range(1, 1_001, 2):
                peer.send(frames(stream, block(server.address, 60_000)))
                sent += 1
        until(lambda: peer.closed.is_set() or len(peer.ended) == sent, "every call is refused")
        assert is_served(server.address)
        assert server.resident_bytes - before < 40 * MIB
    scraped = scrape_now_at(server.metrics_port)
    assert scraped.sum("fantasia_requests_finished_total", code="OK") == 2
    assert scraped.sum("fantasia_requests_received_total") == 2, "our code never sees them"


def test_headers_without_end_are_cut_off(server: Replica) -> None:
    """The flood of CONTINUATION frames of 2024 (CERT/CC VU#421644)."""
    assert is_served(server.address)
    before = server.resident_bytes
    with Http2Peer(server.address) as peer:
        until(lambda: peer.concurrent_streams is not None, "the connection stands")
        piece = ContinuationFrame(1, hpack.Encoder().encode([(b"x-more", b"\x01" * 16_000)], huffman=False)).serialize()
        with suppress(OSError):
            peer.send(frames(1, block(server.address, 100), ends=False))
            for _ in range(4_000):  # 64 MB
                peer.send(piece)
                if peer.closed.is_set():
                    break
        assert is_served(server.address)
        assert server.resident_bytes - before < 32 * MIB


def test_the_limit_of_metadata_is_a_setting(models: Path) -> None:
    with replica(models, "--max-metadata-bytes", "32768") as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = pb_grpc.GenerationServiceStub(channel)
            stub.ListModels(pb.ListModelsRequest(), metadata=(("x-long", "x" * 20_000),))
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListModels(pb.ListModelsRequest(), metadata=(("x-long", "x" * 40_000),))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_idle_and_old_connections_are_closed(models: Path) -> None:
    with (
        replica(models, "--max-connection-idle-seconds", "1", "--max-connections", "2") as server,
        ExitStack() as stack,
    ):
        idle = [stack.enter_context(Http2Peer(server.address)) for _ in range(2)]
        assert all(peer.closed.wait(30) for peer in idle)
        assert all(peer.came["GoAwayFrame"] for peer in idle)
        assert is_served(server.address)
    with replica(models, "--max-connection-age-seconds", "1") as server, Http2Peer(server.address) as peer:
        call = peer.call(pb.GenerateRequest(bars=1).SerializeToString())
        until(lambda: peer.came["GoAwayFrame"] > 0, "the client is sent away")
        until(lambda: call in peer.ended, "its call has an answer")


def test_a_peer_without_a_token_cannot_make_the_server_hold_its_requests(models: Path, tmp_path: Path) -> None:
    callers = tmp_path / "callers.toml"
    callers.write_text(f'[callers.studio]\ntokens = ["{token_entry("secret")}"]\n')
    with replica(models, "--callers-file", str(callers)) as server:
        assert is_served(server.address, "secret")
        before = server.resident_bytes
        with Http2Peer(server.address) as peer:
            until(lambda: peer.concurrent_streams is not None, "the connection stands")
            opened = 0
            deadline = time.monotonic() + 60
            while opened < 1_000:  # half-sent requests of 1 MiB, as many at once as the server allows
                assert time.monotonic() < deadline
                if opened - len(peer.ended) <= 80:
                    for stream, headers in peer.headers(20):
                        body = DataFrame(stream, b"\0" + MIB.to_bytes(4, "big") + b"begin").serialize()
                        peer.send(headers + body)
                    opened += 20
            until(lambda: len(peer.ended) == opened, "all are refused at once, without a time limit")
            assert is_served(server.address, "secret")
            assert server.resident_bytes - before < 40 * MIB
        found = scrape_now_at(server.metrics_port)
        assert found.sum("fantasia_access_refusals_total", reason="no_token") == opened
        assert found.sum("fantasia_requests_finished_total", code="UNAUTHENTICATED") == opened


def test_the_port_of_the_probes_is_limited_and_harms_no_call(models: Path) -> None:
    with replica(models, "--health-host", "127.0.0.1", "--health-port", "0") as server, ExitStack() as stack:
        address = server.logged["health_address"]
        peers = [stack.enter_context(Http2Peer(address)) for _ in range(64)]
        until(lambda: all(peer.concurrent_streams == 8 for peer in peers), "64 connections stand")
        assert stack.enter_context(Http2Peer(address)).closed.wait(30)
        peers[0].open(10_000, CHECK)
        assert is_served(server.address)
        for peer in peers[:2]:
            peer.close()

        def is_healthy() -> bool:
            with (
                grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel,
                suppress(grpc.RpcError),
            ):
                check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
                return bool(check.status == health_pb2.HealthCheckResponse.SERVING)
            return False

        until(is_healthy, "a place is free")
