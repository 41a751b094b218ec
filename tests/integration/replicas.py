"""Server processes with the arithmetic model, for tests that flood, stop and measure them."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from tests.integration.arithmetic_model import HANGS

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("FANTASIA_", "GRPC_"))}


class Replica:
    """A server process that serves, and its log.

    Takes the stream of the log from the process, which would close it at its end while it is still read.
    """

    def __init__(self, process: subprocess.Popen[str], address: str, metrics_port: int, line: str = "") -> None:
        self.process = process
        self.logged = dict(re.findall(r"(\w+)=(\S+)", line))
        """Fields of the log line that says that it serves."""
        self.address = address
        self.metrics_port = metrics_port
        self._lines: list[str] = []
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        process.stderr = None
        self._reader.start()

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def connections(self) -> int:
        """Number of TCP connections to its port that it has not closed."""
        port = int(self.address.rpartition(":")[2])
        found = psutil.Process(self.process.pid).net_connections("tcp")
        return sum(each.status != psutil.CONN_LISTEN and each.laddr.port == port for each in found)

    def log(self) -> str:
        """The whole log. Waits for the end of the process."""
        self._reader.join(30)
        assert not self._reader.is_alive(), "it still runs"
        return "".join(self._lines)

    def said(self, text: str) -> bool:
        """Whether the log contains this text so far."""
        return any(text in line for line in self._lines)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.append(line)


def start(
    models: Path, *arguments: str, hangs: str | None = None, within: Sequence[str] = ()
) -> "subprocess.Popen[str]":
    """Start a server with the model that the folder's manifest describes, on free ports unless `arguments` names some.

    Args:
        models: the folder.
        arguments: further flags.
        hangs: what never returns; see `arithmetic_model`.
        within: a command that runs the server's command, such as `nice`.
    """
    command = [sys.executable, "-m", "tests.integration.arithmetic_server", "--models", str(models)]
    ports = ["--port", "0", "--metrics-port", "0"]
    return subprocess.Popen(  # noqa: S603
        [*within, *command, *ports, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT if hangs is None else {**ENVIRONMENT, HANGS: hangs},
    )


def serving(process: "subprocess.Popen[str]") -> Replica:
    """Wait until the log says that the server serves."""
    assert process.stderr is not None
    for line in process.stderr:
        if "msg=serving" in line:
            found = re.search(r" address=(\S+) metrics_port=(\d+)", line)
            assert found is not None
            return Replica(process, found[1], int(found[2]), line)
    raise AssertionError("it ended before it served")


@contextmanager
def replica(models: Path, *arguments: str) -> Iterator[Replica]:
    """A server that serves. It is killed at the end."""
    with start(models, *arguments) as process:
        try:
            yield serving(process)
        finally:
            process.kill()


def free_port() -> int:
    """A free port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def until(met: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until `met()` is true. After `seconds`, fail with the message `what`."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
