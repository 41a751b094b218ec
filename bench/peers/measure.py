"""The service against its peers."""

import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Final

import httpx

from bench.callers import Target
from bench.comparison import Percentiles
from bench.errors import BenchError
from bench.load import play_round
from bench.peers.loops import worst_logit
from bench.peers.mosec_server import BATCH, BUNDLE
from bench.rounds import interleaved
from bench.rows import PeerRow
from bench.server import running_process
from bench.workload import plan_requests
from music.bundle import Bundle

TOLERANCE: Final = 1e-3
"""Largest difference between a logit of a peer's network and the bundle's."""
_SHORT_STEPS: Final = 16
"""Of the pieces that a loop a request writes: longer ones would take minutes a round."""
_SEEDS: Final = 1 << 20
_START_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.2
_MODULE: Final = "bench.peers.{}"


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to serve."""

    name: str
    distributions: tuple[str, ...]
    """What it is made with."""
    torch: bool
    """Whether its network is the PyTorch module, whose logits are checked; else the bundle's own graph."""
    batches: bool
    """Whether it writes pieces side by side; else it is slow, and is asked for short ones."""


GRPC_TORCH: Final = Peer("PyTorch loop behind gRPC", ("torch", "grpcio"), torch=True, batches=False)
GRPC_ONNX: Final = Peer("ONNX Runtime loop behind gRPC", ("onnxruntime", "grpcio"), torch=False, batches=False)
LITSERVE: Final = Peer(f"PyTorch in LitServe, batches of {BATCH}", ("litserve", "torch"), torch=True, batches=True)
MOSEC: Final = Peer(f"ONNX Runtime in mosec, batches of {BATCH}", ("mosec", "onnxruntime"), torch=False, batches=True)
PEERS: Final = (GRPC_TORCH, GRPC_ONNX, LITSERVE, MOSEC)


def measure_peers(
    callers: Executor,
    ours: Target,
    bundle: Bundle,
    peers: Sequence[Peer] = PEERS,
    *,
    clients: int,
    steps: int,
    seconds: float,
) -> Iterator[PeerRow]:
    """Compare the service with each of them, one after the other, in the same closed loop of clients.

    Args:
        callers: the clients' process.
        ours: our server.
        bundle: that all of them serve.
        peers: which.
        clients: at once.
        steps: length of a piece; of a short one at most, where a peer writes one after the other.
        seconds: about how long it takes.

    Raises:
        BenchError: a peer does not start or does not answer, or computes something else.
    """
    short = min(steps, _SHORT_STEPS)
    (request,) = plan_requests(bundle, short, [0])
    worst = worst_logit(bundle, request)
    if not worst <= TOLERANCE:
        raise BenchError(f"the PyTorch module differs from the bundle by {worst:.1e} in a logit")
    for peer in peers:
        yield _measure(
            callers,
            ours,
            bundle,
            peer,
            clients=clients,
            steps=steps if peer.batches else short,
            worst=worst if peer.torch else None,
            seconds=seconds / len(peers),
        )


def _measure(
    callers: Executor,
    ours: Target,
    bundle: Bundle,
    peer: Peer,
    *,
    clients: int,
    steps: int,
    worst: float | None,
    seconds: float,
) -> PeerRow:
    seeds = count(0, _SEEDS)
    latencies: list[float] = []

    def rate(target: Target) -> float:
        played = callers.submit(play_round, target, clients, steps, next(seeds)).result()
        if target is not ours:
            latencies.extend(call.seconds for call in played.finished)
        return played.rate

    with serving(peer, bundle.path) as theirs:
        # To warm up, a few clients will do.
        callers.submit(play_round, theirs, 2, steps, next(seeds)).result()
        callers.submit(play_round, ours, clients, steps, next(seeds)).result()
        comparison = interleaved(lambda: rate(theirs), lambda: rate(ours), seconds=seconds)
    return PeerRow(
        name=peer.name,
        versions=", ".join(f"{name} {version(name)}" for name in peer.distributions),
        clients=clients,
        piece_tokens=plan_requests(bundle, steps, [0])[0].max_tokens,
        comparison=comparison,
        worst_logit=worst,
        latency=Percentiles.of(latencies),
    )


def serving(peer: Peer, bundle: Path) -> AbstractContextManager[Target]:
    """The peer, in processes of its own, ready to be called.

    Raises:
        BenchError: it does not start.
    """
    if peer in (GRPC_TORCH, GRPC_ONNX):
        return _grpc(bundle, "torch" if peer is GRPC_TORCH else "onnx")
    return _litserve(bundle) if peer is LITSERVE else _mosec(bundle)


@contextmanager
def _grpc(bundle: Path, loop: str) -> Iterator[Target]:
    command = [sys.executable, "-m", _MODULE.format("grpc_server"), str(bundle), loop]
    with running_process(command, r"serving address=(\S+)") as running:
        yield Target("grpc", running.address)


@contextmanager
def _litserve(bundle: Path) -> Iterator[Target]:
    port = _free_port()
    command = [sys.executable, "-m", _MODULE.format("litserve_server"), str(bundle), str(port)]
    with running_process(command, ""):
        _await(f"http://127.0.0.1:{port}/health")
        yield Target("http", f"http://127.0.0.1:{port}/predict")


@contextmanager
def _mosec(bundle: Path) -> Iterator[Target]:
    port = _free_port()
    command = [sys.executable, "-m", _MODULE.format("mosec_server")]
    command += ["--address", "127.0.0.1", "--port", str(port), "--timeout", "300000", "--log-level", "warning"]
    with running_process(command, "", {BUNDLE: str(bundle)}):
        _await(f"http://127.0.0.1:{port}/")
        yield Target("http", f"http://127.0.0.1:{port}/inference")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        try:
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"nobody answers at {url}")
