"""The helper that keeps the logs of server processes."""

import io
import subprocess
import sys
import threading

from tests.integration.replicas import Replica


def test_a_log_is_read_to_its_end_after_the_process_is_gone() -> None:
    gone = threading.Event()

    class SlowLog(io.StringIO):
        def __next__(self) -> str:  # type: ignore[override]
            assert gone.wait(30)
            return super().__next__()

    log = SlowLog("one\ntwo\n")
    with subprocess.Popen([sys.executable, "-c", ""], text=True) as process:
        process.stderr = log
        server = Replica(process, "127.0.0.1:1", 2)
    gone.set()

    assert server.log() == "one\ntwo\n"
    assert log.closed
