"""Replicas of the server, each on a loopback address of its own, as pods have."""

import itertools
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.options import BenchError

_SERVICE: Final = "fantasia.v1.GenerationService"
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_RECEIVED: Final = re.compile(
    r'^fantasia_requests_received_total\{method="(?:Generate|StreamGenerate)"\} (\S+)$', re.MULTILINE
)


class ReplicaProcess:
    """One server process.

    Args:
        process: the server.
        address: its IPv4 address.
        port: of the service.
        metrics_port: of its metrics.
        log: its log.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", address: str, port: int, metrics_port: int, log: Path
    ) -> None:
        self.address = address
        self._process = process
        self._port = port
        self._metrics_port = metrics_port
        self._log = log

    def wait_until_ready(self) -> None:
        """Wait until it is healthy.

        Raises:
            BenchError: it ended, or takes too long. The message quotes its log.
        """
        until = time.monotonic() + _START_SECONDS
        with grpc.insecure_channel(f"{self.address}:{self._port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while self._process.poll() is None and time.monotonic() < until:
                try:
                    answer = health.Check(health_pb2.HealthCheckRequest(service=_SERVICE), timeout=1.0)
                except grpc.RpcError:
                    answer = None
                if answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                time.sleep(_POLL_SECONDS)
        raise BenchError(f"a replica did not start: {self._log.read_text(errors='replace').strip()[-2000:]}")

    def received_calls(self) -> int:
        """Generate and StreamGenerate calls that it received since its start.

        Raises:
            BenchError: its metrics cannot be read.
        """
        url = f"http://{self.address}:{self._metrics_port}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return round(sum(map(float, _RECEIVED.findall(answer.read().decode()))))
        except OSError as error:
            raise BenchError(f"the metrics of {self.address} cannot be read: {error}") from error

    def terminate(self) -> None:
        """Send SIGTERM: the replica drains and ends."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL: its calls are lost."""
        self._process.kill()

    def wait(self) -> int:
        """Wait for its end.

        Returns:
            the exit code.

        Raises:
            BenchError: it takes too long.
        """
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"the replica {self.address} did not end") from error


class Fleet:
    """Starts replicas that share a port, the models and the key of resume tokens. They end with it.

    Args:
        models: folder of bundles.
        arguments: further flags of every replica.
    """

    def __init__(self, models: Path, arguments: Sequence[str]) -> None:
        self.port, self._metrics_port = _free_port(), _free_port()
        self._arguments = ["--models", str(models), *arguments]
        self._hosts = itertools.count(11)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(TemporaryDirectory()))
        (self._folder / "resume.key").write_bytes(os.urandom(32))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self) -> ReplicaProcess:
        """Start a replica on the next address, and do not wait for it."""
        address = f"127.0.0.{next(self._hosts)}"
        log = self._folder / f"{address}.log"
        flags = ["--host", address, "--port", str(self.port), "--log-level", "warning"]
        flags += ["--metrics-port", str(self._metrics_port)]
        key = ["--resume-key-file", str(self._folder / "resume.key")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "server", *flags, *key, *self._arguments],
                stdout=file,
                stderr=file,
                env=environment,
                process_group=0,
            )
        self._stack.enter_context(_killed_at_the_end(process))
        return ReplicaProcess(process, address, self.port, self._metrics_port, log)


@contextmanager
def _killed_at_the_end(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
