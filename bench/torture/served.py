"""The server under torture: a process of its own, what it uses and what it says."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.options import BenchError
from bench.torture.record import Resources

SERVICE: Final = "fantasia.v1.GenerationService"
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_KEY: Final = bytes(range(32))
"""Of resume tokens: the same for all servers."""
_SAMPLE: Final = re.compile(r"^(\w+)(?:\{.*\})? (\S+)$", re.MULTILINE)


class Served:
    """A server process that is ready.

    Args:
        process: the server.
        address: of the service.
        metrics_port: of its metrics, on 127.0.0.1.
        log: its log.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", address: str, metrics_port: int, log: Path) -> None:
        self.process = process
        self.address = address
        self.metrics_port = metrics_port
        self.peak_bytes = 0
        """Most resident memory in `watched`."""
        self._log = log

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def resources(self) -> Resources:
        """What the process uses now.

        Raises:
            BenchError: it is gone.
        """
        try:
            process = psutil.Process(self.process.pid)
            with process.oneshot():
                return Resources(
                    resident_bytes=process.memory_info().rss,
                    threads=process.num_threads(),
                    descriptors=process.num_fds(),
                )
        except psutil.Error as error:
            raise BenchError(f"the server is gone: {self.log()[-2000:]}") from error

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels.

        Raises:
            BenchError: it cannot be read.
        """
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
                text = answer.read().decode()
        except OSError as error:
            raise BenchError(f"the metrics cannot be read: {error}") from error
        return sum(float(value) for found, value in _SAMPLE.findall(text) if found == name)

    def is_ready(self) -> bool:
        """Whether the health service says so."""
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        with grpc.insecure_channel(self.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5.0)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def log(self) -> str:
        """The log so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """Wait for its end.

        Returns:
            the exit code.

        Raises:
            BenchError: it takes longer.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"the server did not end within {seconds:g} s") from error

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the memory for `peak_bytes`."""
        stopped = threading.Event()

        def watch() -> None:
            with suppress(psutil.Error):
                process = psutil.Process(self.process.pid)
                while not stopped.wait(_POLL_SECONDS):
                    self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)

        watcher = threading.Thread(target=watch, daemon=True)
        self.peak_bytes = self.resources().resident_bytes
        watcher.start()
        try:
            yield
        finally:
            stopped.set()
            watcher.join()


@contextmanager
def served(
    models: Path,
    folder: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
    port: int = 0,
) -> Iterator[Served]:
    """Serve the bundles of a folder with `python -m server` on free ports. The server is killed at the end.

    Args:
        models: the folder.
        folder: for the log and the key of resume tokens.
        flags: further flags.
        environment: further variables.
        output: where the log goes; None for a file of the folder.
        port: of the service; 0 for a free one.

    Raises:
        BenchError: it does not start. The message quotes its log.
    """
    port, metrics_port = port or free_port(), free_port()
    log = folder / f"server-{metrics_port}.log"
    (folder / "resume.key").write_bytes(_KEY)
    command = [sys.executable, "-m", "server", "--port", str(port), "--metrics-port", str(metrics_port)]
    command += ["--models", str(models), "--log-level", "warning", "--resume-key-file", str(folder / "resume.key")]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, *flags],
            stdout=output or file,
            stderr=output or file,
            env=inherited | dict(environment or {}),
            process_group=0,
        )
    server = Served(process, f"127.0.0.1:{port}", metrics_port, log)
    try:
        until = time.monotonic() + _START_SECONDS
        while not server.is_ready():
            if not server.is_running or time.monotonic() > until:
                raise BenchError(f"the server did not start: {server.log()[-2000:]}")
            time.sleep(_POLL_SECONDS)
        yield server
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
