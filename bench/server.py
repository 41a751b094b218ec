"""The server under test, in a process of its own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.errors import BenchError
from bench.options import Provider

_SERVING: Final = re.compile(r"msg=serving address=(\S+)")
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


@contextmanager
def running_server(bundle: Path, *, slots: int, provider: Provider, threads: int) -> Iterator[str]:
    """Serve one bundle on a free port, as `python -m server` does, logging included; give its address.

    Raises:
        BenchError: the server does not start, with its own words.
    """
    arguments = {"port": 0, "metrics-port": 0, "models": bundle, "slots": slots, "provider": provider}
    command = [sys.executable, "-m", "server", "--threads", str(threads)]
    for name, value in arguments.items():
        command += [f"--{name}", str(value)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
    with TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("w") as file, subprocess.Popen(command, stderr=file, env=environment) as process:  # noqa: S603 -- our own module
            try:
                yield _address(process, log)
            finally:
                process.terminate()
                process.wait(_STOP_SECONDS)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if found := _SERVING.search(log.read_text()):
            return found[1]
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"the server did not start: {log.read_text().strip()}")
