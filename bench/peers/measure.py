"""The service against its peers."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import httpx

from bench.clients import Target
from bench.comparison import Percentiles, compare
from bench.load import LoadGenerator
from bench.options import BenchError
from bench.peers.loops import logit_difference
from bench.peers.mosec_server import BATCH, BUNDLE
from bench.processes import running_process
from bench.record import PeerRow
from bench.systems import Systems, make_requests
from music.bundle import Bundle

MAX_LOGIT_DIFFERENCE: Final = 1e-3
_SHORT_STEPS: Final = 16
"""Length of pieces for peers that write one after the other; longer ones would take minutes a round."""
_START_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to serve."""

    name: str
    distributions: tuple[str, ...]
    """Libraries that it is made with."""
    torch: bool
    """Whether it runs the PyTorch network; else a graph of the bundle."""
    batches: bool
    """Whether it writes pieces in batches; else it gets short ones."""


GRPC_TORCH: Final = Peer("PyTorch loop behind gRPC", ("torch", "grpcio"), torch=True, batches=False)
GRPC_ONNX: Final = Peer("ONNX Runtime loop behind gRPC", ("onnxruntime", "grpcio"), torch=False, batches=False)
LITSERVE: Final = Peer(f"PyTorch in LitServe, batches of {BATCH}", ("litserve", "torch"), torch=True, batches=True)
MOSEC: Final = Peer(f"ONNX Runtime in mosec, batches of {BATCH}", ("mosec", "onnxruntime"), torch=False, batches=True)
PEERS: Final = (GRPC_TORCH, GRPC_ONNX, LITSERVE, MOSEC)


def check_logits(bundle: Bundle) -> float:
    """Largest difference between a logit of the peers' PyTorch network and of the bundle's scoring graph.

    Raises:
        BenchError: it exceeds `MAX_LOGIT_DIFFERENCE`.
    """
    difference = logit_difference(bundle, make_requests(bundle, _SHORT_STEPS, [0])[0])
    if not difference <= MAX_LOGIT_DIFFERENCE:
        raise BenchError(f"a logit of the PyTorch network differs from the bundle's by {difference:.1e}")
    return difference


def measure_peer(
    peer: Peer, service: LoadGenerator, systems: Systems, logit_difference: float, *, seconds: float
) -> PeerRow:
    """Compare the service with a peer under the same closed-loop clients.

    Args:
        peer: the reference.
        service: load on our server.
        systems: with the bundle and the options of the run.
        logit_difference: what `check_logits` found.
        seconds: approximate duration.

    Raises:
        BenchError: the peer does not start or does not answer.
    """
    clients = systems.options.clients[-1]
    steps = systems.options.steps if peer.batches else min(systems.options.steps, _SHORT_STEPS)
    latencies: list[float] = []

    with serving(peer, systems.bundle.path) as target:
        load = LoadGenerator(service.executor, target)

        def peer_rate() -> float:
            window = load.closed_loop(clients, steps)
            latencies.extend(call.seconds for call in window.finished)
            return window.rate

        load.closed_loop(2, steps), service.closed_loop(clients, steps)  # warm up
        comparison = compare(peer_rate, lambda: service.closed_loop(clients, steps).rate, seconds=seconds)
    return PeerRow(
        name=peer.name,
        versions=", ".join(f"{name} {version(name)}" for name in peer.distributions),
        clients=clients,
        piece_tokens=steps * systems.tokens_per_step,
        comparison=comparison,
        logit_difference=logit_difference if peer.torch else None,
        latency=Percentiles.of(latencies),
    )


def serving(peer: Peer, bundle: Path) -> AbstractContextManager[Target]:
    """The peer, in processes of its own, ready to be called.

    Raises:
        BenchError: it does not start.
    """
    if peer is LITSERVE:
        port = _free_port()
        return _http([_module("litserve_server"), str(bundle), str(port)], port, "health", "predict", {})
    if peer is MOSEC:
        port = _free_port()
        options = ["--address", "127.0.0.1", "--port", str(port), "--timeout", "300000", "--log-level", "warning"]
        return _http([_module("mosec_server"), *options], port, "", "inference", {BUNDLE: str(bundle)})
    return _grpc([_module("grpc_server"), str(bundle), "torch" if peer.torch else "onnx"])


@contextmanager
def _grpc(command: list[str]) -> Iterator[Target]:
    with running_process([sys.executable, "-m", *command], r"serving address=(\S+)") as address:
        yield Target("grpc", address)


@contextmanager
def _http(command: list[str], port: int, health: str, predict: str, environment: dict[str, str]) -> Iterator[Target]:
    url = f"http://127.0.0.1:{port}"
    with running_process([sys.executable, "-m", *command], "", environment):
        until = time.monotonic() + _START_SECONDS
        while not _answers(f"{url}/{health}"):
            if time.monotonic() > until:
                raise BenchError(f"no server answers at {url}/{health}")
            time.sleep(_POLL_SECONDS)
        yield Target("http", f"{url}/{predict}")


def _answers(url: str) -> bool:
    try:
        return bool(httpx.get(url).status_code == httpx.codes.OK)
    except httpx.TransportError:
        return False


def _module(name: str) -> str:
    return f"bench.peers.{name}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
