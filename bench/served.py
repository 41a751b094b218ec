"""A server process that is watched, signalled and killed: what it uses and what it says."""

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
from report import Record

SERVICE: Final = "fantasia.v1.GenerationService"
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_KEY: Final = bytes(range(32))
"""Of resume tokens: the same for all servers."""
_SAMPLE: Final = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


class Resources(Record):
    """What a server's process used at one time."""

    resident_bytes: int
    threads: int
    descriptors: int


class Served:
    """A server process.

    Args:
        process: the server.
        host: its IPv4 address.
        port: of the service.
        metrics_port: of its metrics.
        log: its log.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", host: str, port: int, metrics_port: int, log: Path) -> None:
        self.process = process
        self.host = host
        self.address = f"{host}:{port}"
        self.metrics_port = metrics_port
        self.peak_bytes = 0
        """Most resident memory in `watched`."""
        self._log = log

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def is_ready(self) -> bool:
        """Whether the health service says so."""
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        with grpc.insecure_channel(self.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5.0)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def wait_until_ready(self) -> None:
        """Wait until it is healthy.

        Raises:
            BenchError: it ended, or takes too long. The message quotes its log.
        """
        until = time.monotonic() + _START_SECONDS
        while not self.is_ready():
            if not self.is_running or time.monotonic() > until:
                raise BenchError(f"the server did not start: {self.log()[-2000:]}")
            time.sleep(_POLL_SECONDS)

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

    def metric(self, name: str, *labels: str) -> float:
        """The sum of a metric over the samples whose labels contain one of these texts; over all without labels.

        Raises:
            BenchError: it cannot be read.
        """
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.metrics_port}/metrics", timeout=30) as answer:
                text = answer.read().decode()
        except OSError as error:
            raise BenchError(f"the metrics of {self.address} cannot be read: {error}") from error
        return sum(
            float(value)
            for found, given, value in _SAMPLE.findall(text)
            if found == name and (not labels or any(label in given for label in labels))
        )

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
            raise BenchError(f"the server {self.address} did not end within {seconds:g} s") from error

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
def started(
    models: Path,
    folder: Path,
    *flags: str,
    host: str = "127.0.0.1",
    port: int = 0,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
) -> Iterator[Served]:
    """Start `python -m server`, and do not wait for it. It is killed at the end.

    Args:
        models: folder of bundles.
        folder: for the log and the key of resume tokens, which all servers of these functions share.
        flags: further flags.
        host: IPv4 address.
        port: of the service; 0 for a free one.
        environment: further variables.
        output: where the log goes; None for a file of the folder.
    """
    port, metrics_port = port or free_port(), free_port()
    log, key = folder / f"{host}-{metrics_port}.log", folder / "resume.key"
    key.write_bytes(_KEY)
    named = {"host": host, "port": port, "metrics-port": metrics_port, "models": models, "resume-key-file": key}
    options = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "server", *options, "--log-level", "warning", *flags],
            stdout=output or file,
            stderr=output or file,
            env=inherited | dict(environment or {}),
            process_group=0,  # Ctrl-C does not end it before its callers
        )
    try:
        yield Served(process, host, port, metrics_port, log)
    finally:
        process.kill()
        process.wait()


@contextmanager
def served(
    models: Path,
    folder: Path,
    *flags: str,
    port: int = 0,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
) -> Iterator[Served]:
    """`started` on 127.0.0.1, and ready.

    Raises:
        BenchError: it does not start. The message quotes its log.
    """
    with started(models, folder, *flags, port=port, environment=environment, output=output) as server:
        server.wait_until_ready()
        yield server


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
