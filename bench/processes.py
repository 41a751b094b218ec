"""Servers under test, in processes of their own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.options import BenchError, Provider
from runtime.precision import Precision
from server.settings import Settings

SLOTS: Final = int(Settings.model_fields["slots"].default)
QUEUE_LIMIT: Final = int(Settings.model_fields["queue_limit"].default)
_FAULT: Final = r"^.*level=error.*$|^\w+(?:Error|Exception): .*$"
"""A line of the server's log, or the end of a traceback."""
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


@contextmanager
def running_server(
    bundle: Path,
    *,
    provider: Provider,
    threads: int,
    precision: Precision,
    slots: int = SLOTS,
    queue_limit: int = QUEUE_LIMIT,
) -> Iterator[str]:
    """Serve one bundle with `python -m server`, logging included; yields the address.

    Raises:
        BenchError: the server does not start. The message quotes its log.
    """
    arguments: dict[str, object] = {
        "port": 0,
        "metrics-port": 0,
        "models": bundle,
        "slots": slots,
        "queue-limit": queue_limit,
        # All load uses one connection, and the queue is what is measured.
        "max-pieces-per-caller": slots + queue_limit,
        "max-tokens-per-caller": 1 << 40,
        "max-streams-per-connection": 65535,
        "provider": provider,
        "threads": threads,
        "precision": precision,
    }
    options = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    with running_process([sys.executable, "-m", "server", *options], r"msg=serving address=(\S+)") as address:
        yield address


@contextmanager
def running_process(
    command: Sequence[str], serving: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Start a server, wait until it prints its address, stop it at the end; yields the address.

    Args:
        command: that starts it.
        serving: pattern of the line that it prints, with the address in the first group; empty: wait for nothing.
        environment: variables in addition to our own.

    Raises:
        BenchError: it ends before that, or takes too long. The message quotes its log.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
    with TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with (
            log.open("w") as file,
            subprocess.Popen(  # noqa: S603 - our own modules
                command,
                stdout=file,
                stderr=file,
                env=inherited | dict(environment or {}),
                # A group to kill, in our session: Linux gives each session the same share of the cores, however
                # many of its threads compute, and processes that we start beside this one must compete with it.
                process_group=0,
            ) as process,
        ):
            try:
                yield _address(process, log, serving) if serving else ""
            except BenchError as error:  # its log goes with the folder: quote a fault now
                faults = re.findall(_FAULT, log.read_text(), re.MULTILINE)
                raise BenchError("; ".join([str(error), *faults[:1]])) from error
            finally:
                process.terminate()
                process.wait(_STOP_SECONDS)
                with suppress(ProcessLookupError):  # worker processes that it left behind
                    os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run processes that compute all the time, on the cores of this process and in its session."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def _address(process: "subprocess.Popen[bytes]", log: Path, serving: str) -> str:
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if found := re.search(serving, log.read_text()):
            return found[1]
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"the server did not start: {log.read_text().strip()}")
