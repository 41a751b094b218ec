"""`python -m server` as a process of its own, as an operator starts it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

COMMAND = [sys.executable, "-m", "server", "--port", "0", "--metrics-port", "0"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
ENVIRONMENT["OMP_NUM_THREADS"] = "1"


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[str, int]]:
    """Address and process id of a server that is SERVING; it must end well when told to."""
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:  # noqa: S603
        assert process.stderr is not None
        line = next(line for line in process.stderr if "msg=serving" in line)
        found = re.search(r" address=(\S+)", line)
        assert found is not None
        try:
            yield found[1], process.pid
        finally:
            process.terminate()
            rest = process.stderr.read()
        assert "Traceback" not in rest
        assert process.wait(10) == 0
