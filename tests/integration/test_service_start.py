"""Starts that hang, and signals at any moment of the start."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import psutil
import pytest

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from tests.integration.replicas import ENVIRONMENT, ROOT, serving, start, until

COMMAND = [sys.executable, "-m", "server", "--models", "models", "--port", "0", "--metrics-port", "0"]
UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
SIGNALS = [signal.SIGTERM, signal.SIGINT]


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal, as Linux reports it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def listening(pid: int) -> bool:
    """Whether the process listens on both ports: the model is loaded, and the warm-up is running."""
    return sum(each.status == psutil.CONN_LISTEN for each in psutil.Process(pid).net_connections("tcp")) == 2


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("seconds", [0.0, 0.4, 1.2])
def test_a_signal_ends_the_start_at_any_moment(number: signal.Signals, seconds: float) -> None:
    with subprocess.Popen(COMMAND, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT) as process:  # noqa: S603
        try:
            # Python has its own handler for SIGINT; the server sets the one for SIGTERM last.
            until(lambda: catches(process.pid, signal.SIGTERM), "it has a handler")
            time.sleep(seconds)
            process.send_signal(number)
            assert process.wait(20) == 0
        finally:
            process.kill()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("hangs", ["load", "warm-up"])
def test_a_signal_ends_a_start_that_hangs(models: Path, hangs: str, number: signal.Signals) -> None:
    with start(models, hangs=hangs) as process:
        try:
            if hangs == "warm-up":
                until(lambda: listening(process.pid), "it listens")
            else:
                until(lambda: bool(psutil.Process(process.pid).net_connections("tcp")), "it shows its metrics")
            process.send_signal(number)
            assert process.wait(20) == 0
        finally:
            process.kill()
        assert process.stderr is not None
        log = process.stderr.read()
    assert 'msg="stopped before serving"' in log
    assert f"signal={number.name}" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("hangs", ["load", "warm-up"])
def test_a_start_that_takes_too_long_ends_with_one_sentence_and_code_1(models: Path, hangs: str) -> None:
    with start(models, "--startup-timeout-seconds", "2", hangs=hangs) as process:
        try:
            assert process.wait(60) == 1
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == (
            "python -m server: error: the server was not ready within 2 s: a model takes too long to load or to run "
            "its first steps; raise --startup-timeout-seconds\n"
        )


def test_a_run_that_hangs_does_not_keep_the_process(models: Path) -> None:
    with start(models, "--drain-seconds", "0.5", hangs="run") as process:
        try:
            server = serving(process)
            with grpc.insecure_channel(server.address) as channel:
                call = pb_grpc.GenerationServiceStub(channel).Generate.future(pb.GenerateRequest(bars=1))
                with pytest.raises(grpc.FutureTimeoutError):
                    call.result(0.5)
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 1
        finally:
            process.kill()
        assert "error: the server did not stop within 5.5 s: a run of a model does not end" in server.log()


@pytest.fixture
def unshare() -> list[str]:
    """A command that runs another command as the first process of a container."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode:  # noqa: S603
        pytest.skip("this machine allows no user namespaces")
    return UNSHARE


def first_process(container: "subprocess.Popen[str]") -> int:
    """Process id, outside the container, of its first process, once that runs Python."""
    found: list[int] = []

    def there() -> bool:
        children = psutil.Process(container.pid).children()
        found[:] = [child.pid for child in children if "-m" in child.cmdline()]
        return bool(found)

    until(there, "the container runs")
    return found[0]


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0])
def test_the_first_process_of_a_container_ends_at_any_moment(unshare: list[str], seconds: float) -> None:
    container = subprocess.Popen(  # noqa: S603
        [*unshare, *COMMAND], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT
    )
    with container:
        try:
            pid = first_process(container)
            until(lambda: catches(pid, signal.SIGTERM), "it has a handler")
            time.sleep(seconds)
            os.kill(pid, signal.SIGTERM)
            assert container.wait(20) == 0
        finally:
            container.kill()


def test_a_second_signal_ends_the_first_process_of_a_container(unshare: list[str], models: Path) -> None:
    with start(models, "--drain-seconds", "60", hangs="run", within=unshare) as container:
        try:
            server = serving(container)
            pid = first_process(container)
            with grpc.insecure_channel(server.address) as channel:
                call = pb_grpc.GenerationServiceStub(channel).Generate.future(pb.GenerateRequest(bars=1))
                with pytest.raises(grpc.FutureTimeoutError):
                    call.result(0.5)
                os.kill(pid, signal.SIGTERM)
                until(lambda: server.said("msg=signal"), "it drains")
                os.kill(pid, signal.SIGTERM)
                assert container.wait(20) == 128 + signal.SIGTERM
        finally:
            container.kill()
