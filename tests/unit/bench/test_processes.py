import os
import sys
from pathlib import Path

import psutil
import pytest

from bench.options import BenchError
from bench.processes import busy_processes, running_process, running_server


@pytest.mark.slow
def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"the server did not start: python -m server: error: .* contains no bundle"),
        running_server(tmp_path, provider="cpu", threads=1, precision="float32"),
    ):
        pass


def test_a_process_is_ended_with_its_workers() -> None:
    sleep = "import time; time.sleep(60)"
    start = f"import subprocess as s, sys; w = s.Popen([sys.executable, '-c', {sleep!r}]); print('at', w.pid); w.wait()"
    with running_process([sys.executable, "-u", "-c", start], r"at (\d+)") as pid:
        worker = psutil.Process(int(pid))
        assert worker.is_running()

    gone, _ = psutil.wait_procs([worker], timeout=10)
    assert gone == [worker]


@pytest.mark.parametrize("fault", ["level=error msg=broken", "ModuleNotFoundError: no module"])
def test_a_fault_in_the_log_is_quoted(fault: str) -> None:
    start = f"print('at 1'); print({fault!r}); print('ready now'); import time; time.sleep(60)"
    with (
        pytest.raises(BenchError, match=f"a call failed; {fault}"),
        running_process([sys.executable, "-u", "-c", start], r"(ready) now"),
    ):
        raise BenchError("a call failed")


def test_busy_processes_compute_in_our_session_until_the_end() -> None:
    before = set(psutil.Process().children())  # of other tests in this process
    with busy_processes(2):
        children = set(psutil.Process().children()) - before
        assert [os.getsid(child.pid) for child in children] == [os.getsid(0)] * 2
    assert not [child for child in children if child.is_running()]
