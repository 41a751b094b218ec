"""The server under test: a process of its own, its metrics, its memory and its log."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpc
import psutil

from bench.fuzz.cases import METHODS
from bench.options import BenchError

_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 40.0
_RESUME_KEY: Final = bytes(range(32))
"""Always the same, so that recorded requests with resume tokens can be sent again."""
_POLL_SECONDS: Final = 0.1
_SAMPLE_SECONDS: Final = 0.5
_SAMPLE: Final = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


class FuzzTarget:
    """A server that serves.

    Args:
        process: the server.
        address: of the service.
        metrics_port: of its metrics.
        log: its log, warnings and errors.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", address: str, metrics_port: int, log: Path) -> None:
        self.address = address
        self.max_resident_bytes = 0
        self._process = process
        self._metrics_port = metrics_port
        self._log = log

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        resident = int(psutil.Process(self._process.pid).memory_info().rss)
        self.max_resident_bytes = max(self.max_resident_bytes, resident)
        return resident

    @property
    def log(self) -> list[str]:
        """Lines of the log."""
        return self._log.read_text(errors="replace").splitlines()

    def metrics(self) -> dict[str, float]:
        """The sum of each metric over all its labels.

        Raises:
            BenchError: the server does not answer.
        """
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError as error:
            raise BenchError(f"the metrics cannot be read: {error}") from error
        totals: dict[str, float] = {}
        for name, _, value in _SAMPLE.findall(text):
            totals[name] = totals.get(name, 0.0) + float(value)
        return totals

    def watch_memory(self, stopped: threading.Event) -> None:
        """Sample the memory until the event is set or the process ends."""
        with suppress(psutil.NoSuchProcess):
            while not stopped.wait(_SAMPLE_SECONDS) and self.is_running:
                _ = self.resident_bytes


@contextmanager
def fuzz_target(models: Path, folder: Path, arguments: Sequence[str] = ()) -> Iterator[FuzzTarget]:
    """Serve the bundles of a folder with `python -m server` on free ports.

    Args:
        models: folder of bundles.
        folder: for the log.
        arguments: further flags.

    Raises:
        BenchError: the server does not start. The message quotes its log.
    """
    port, metrics_port = _free_ports()
    log = folder / "server.log"
    # Warnings only: a line for each call would be gigabytes.
    flags: dict[str, object] = {"port": port, "metrics-port": metrics_port, "models": models, "log-level": "warning"}
    key = folder / "resume.key"
    key.write_bytes(_RESUME_KEY)
    flags["resume-key-file"] = key
    command = [
        sys.executable,
        "-m",
        "server",
        *(word for name, value in flags.items() for word in (f"--{name}", str(value))),
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
    with (
        log.open("wb") as file,
        subprocess.Popen(  # noqa: S603 - our own module
            # In a group of its own, so that Ctrl-C does not end it before the calls that are under way.
            [*command, *arguments],
            stdout=file,
            stderr=file,
            env=inherited,
            process_group=0,
        ) as process,
    ):
        target = FuzzTarget(process, f"127.0.0.1:{port}", metrics_port, log)
        stopped = threading.Event()
        watcher = threading.Thread(target=target.watch_memory, args=(stopped,), daemon=True)
        try:
            _wait_until_ready(target)
            watcher.start()
            yield target
        finally:
            stopped.set()
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_until_ready(target: FuzzTarget) -> None:
    until = time.monotonic() + _START_SECONDS
    with grpc.insecure_channel(target.address) as channel:
        list_models: Any = channel.unary_unary(METHODS["ListModels"].path)
        while target.is_running and time.monotonic() < until:
            with suppress(grpc.RpcError):
                list_models(b"", timeout=_POLL_SECONDS)
                return
            time.sleep(_POLL_SECONDS)
    raise BenchError(f"the server did not start: {' '.join(target.log)}")
