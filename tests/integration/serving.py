"""`python -m server` as a process, as an operator starts it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration import replicas

COMMAND = [sys.executable, "-m", "server", "--port", "0", "--metrics-port", "0"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
ENVIRONMENT["OMP_NUM_THREADS"] = "1"


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[str, int]]:
    """Address and process id of a server that serves. It must exit with code 0 on SIGTERM."""
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:  # noqa: S603
        server = replicas.serving(process)
        try:
            yield server.address, process.pid
        finally:
            process.terminate()
            log = server.log()
        assert "Traceback" not in log
        assert process.wait(10) == 0
