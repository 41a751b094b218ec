"""The server under test, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.errors import BenchError
from bench.options import Provider
from server.engine.precision import Precision
from server.settings import Settings

SLOTS: Final = int(Settings.model_fields["slots"].default)
"""Pieces that it has in hand at once."""
QUEUE_LIMIT: Final = int(Settings.model_fields["queue_limit"].default)
"""Calls that may wait."""
_SERVING: Final = r"msg=serving address=(\S+)"
_FAULT: Final = "level=error"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Running:
    """A server that serves."""

    address: str
    """As clients write it."""
    pid: int

    @property
    def resident_bytes(self) -> int:
        """Memory that its process holds.

        Raises:
            BenchError: this system does not tell.
        """
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except OSError as error:
            raise BenchError("this system does not tell how much memory a process holds") from error
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running_server(
    bundle: Path,
    *,
    provider: Provider,
    threads: int,
    precision: Precision,
    slots: int = SLOTS,
    queue_limit: int = QUEUE_LIMIT,
) -> Iterator[Running]:
    """Serve one bundle on a free port, as `python -m server` does, logging included.

    Raises:
        BenchError: the server does not start, with its own words.
    """
    arguments: dict[str, object] = {
        "port": 0,
        "metrics-port": 0,
        "models": bundle,
        "slots": slots,
        "queue-limit": queue_limit,
        # All load comes over one connection, and what is measured is the queue.
        "max-pieces-per-connection": slots + queue_limit,
        "max-tokens-per-connection": 1 << 40,
        "max-streams-per-connection": 65535,
        "provider": provider,
        "threads": threads,
        "precision": precision,
    }
    command = [sys.executable, "-m", "server"]
    for name, value in arguments.items():
        command += [f"--{name}", str(value)]
    with running_process(command, _SERVING) as running:
        yield running


@contextmanager
def running_process(
    command: Sequence[str], serving: str, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Start a process, and wait until it says where it serves.

    Args:
        command: that starts it.
        serving: pattern of what it then prints, the address in its first group; empty if it says nothing of the kind.
        environment: variables beside our own.

    Raises:
        BenchError: it ends before that, or takes too long; with its own words.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
    with TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with (
            log.open("w") as file,
            subprocess.Popen(  # noqa: S603 -- our own modules
                command,
                stdout=file,
                stderr=file,
                env=inherited | dict(environment or {}),
                start_new_session=True,
            ) as process,
        ):
            try:
                yield Running(_address(process, log, serving), process.pid)
            except BenchError as error:
                # Its log goes with the folder: what it says of a fault is told now.
                faults = [line for line in log.read_text().splitlines() if _FAULT in line]
                raise BenchError("; ".join([str(error), *faults[:1]])) from error
            finally:
                process.terminate()
                process.wait(_STOP_SECONDS)
                with suppress(ProcessLookupError):  # some leave their workers behind
                    os.killpg(process.pid, signal.SIGKILL)


def _address(process: "subprocess.Popen[bytes]", log: Path, serving: str) -> str:
    if not serving:
        return ""
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if found := re.search(serving, log.read_text()):
            return found[1]
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"the server did not start: {log.read_text().strip()}")
