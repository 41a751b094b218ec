"""Hostile peers. Each attack goes on until its event is set, and says what it did."""

import itertools
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from hyperframe.frame import PingFrame, SettingsFrame

from bench.http2_peer import CHECK, STREAM, Http2Peer
from bench.served import Served
from fantasia.v1 import generation_pb2 as pb

_BURST: Final = 200
"""Frames or streams of one write."""
_PEERS: Final = 4
_IDLE: Final = 1000
_SCRAPERS: Final = 200
_SLOW_READERS: Final = 64


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of hostile peer."""

    name: str
    run: Callable[[Served, threading.Event], str]
    """Attacks until the event is set, and says what it did."""
    flags: tuple[str, ...] = ()
    """Of the server."""


def rapid_reset(server: Served, stopped: threading.Event) -> str:
    """Open streams and reset each at once."""
    count = _flood(server, stopped, lambda peer: peer.open_and_reset(_BURST))
    return f"{_PEERS} connections opened and reset {count * _BURST:,} streams"


def pings(server: Served, stopped: threading.Event) -> str:
    """Send PING frames without a pause."""
    frames = PingFrame(0, opaque_data=b"fantasia").serialize() * _BURST
    count = _flood(server, stopped, lambda peer: peer.send(frames))
    return (
        f"{_PEERS} connections sent {count * _BURST:,} pings; the server closes such connections, and they came again"
    )


def settings(server: Served, stopped: threading.Event) -> str:
    """Send SETTINGS frames without a pause."""
    frames = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}).serialize() * _BURST
    count = _flood(server, stopped, lambda peer: peer.send(frames))
    return f"{_PEERS} connections sent {count * _BURST:,} SETTINGS frames"


def open_streams(server: Served, stopped: threading.Event) -> str:
    """Open streams that never send a request."""
    count = _flood(server, stopped, lambda peer: peer.open(_BURST, CHECK))
    return f"{_PEERS} connections opened {count * _BURST:,} streams without a request"


def idle_connections(server: Served, stopped: threading.Event) -> str:
    """Hold connections that finish the HTTP/2 handshake and then do nothing."""
    with ExitStack() as stack:
        peers = []
        for _ in range(_IDLE):
            with suppress(OSError):
                peers.append(stack.enter_context(Http2Peer(server.address)))
        stopped.wait()
        held = sum(not peer.closed.is_set() for peer in peers)
    return f"{held:,} connections were open and idle"


def hanging_scrapers(server: Served, stopped: threading.Event) -> str:
    """Hold connections to the metrics: half of them send half a request, half request metrics and never read."""
    with ExitStack() as stack:
        for number in range(_SCRAPERS):
            with suppress(OSError):
                peer = stack.enter_context(socket.create_connection(("127.0.0.1", server.metrics_port), timeout=10))
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + (b"" if number % 2 else b"\r\n"))
        stopped.wait()
    return f"{_SCRAPERS} scrapers of the metrics sent half a request, or read nothing"


def slow_readers(server: Served, stopped: threading.Event) -> str:
    """Ask for streams of long pieces and read nothing of them."""
    request = pb.StreamGenerateRequest(request=pb.GenerateRequest(bars=64, return_resume_token=True))
    with ExitStack() as stack:
        for seed in range(_SLOW_READERS):
            request.request.seed = seed
            peer = stack.enter_context(Http2Peer(server.address, window=0))
            peer.call(request.SerializeToString(), STREAM)
        stopped.wait()
    return f"{_SLOW_READERS} callers asked for streams of 64 bars and read nothing"


def _flood(server: Served, stopped: threading.Event, burst: Callable[[Http2Peer], object]) -> int:
    """Let some peers send bursts, each on a new connection when the server has closed the last one.

    Returns:
        how many bursts were sent.
    """
    counter = itertools.count()

    def flood() -> None:
        while not stopped.is_set():
            with suppress(OSError), Http2Peer(server.address) as peer:
                while not stopped.is_set() and not peer.closed.is_set():
                    burst(peer)
                    next(counter)
                    time.sleep(0.001)  # the reading thread needs the interpreter too

    threads = [threading.Thread(target=flood, daemon=True) for _ in range(_PEERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next(counter)


ATTACKS: Final = (
    Attack("rapid reset", rapid_reset),
    Attack("ping flood", pings),
    Attack("settings flood", settings),
    Attack("open streams", open_streams),
    Attack("idle connections", idle_connections, ("--max-connections", "2000")),
    Attack("hanging scrapers", hanging_scrapers),
    Attack("slow readers", slow_readers),
)
