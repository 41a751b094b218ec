"""The server as a process: its command line, its log and its signals."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.bundle import Bundle, write_manifest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("FANTASIA_", "GRPC_"))}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "server", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=ENVIRONMENT,
    )


@pytest.fixture
def process(bundle: Bundle, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    write_manifest(tmp_path, bundle.manifest)
    arguments = ["--port", "0", "--metrics-port", "0", "--models", str(tmp_path)]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "tests.integration.arithmetic_server", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    with process:
        yield process
        process.kill()


def address(process: subprocess.Popen[str]) -> str:
    """Where it serves, from its log."""
    assert process.stderr is not None
    for line in process.stderr:
        if "msg=serving" in line:
            assert " models=quartet provider=ArithmeticProvider " in line
            found = re.search(r" address=(\S+)", line)
            assert found is not None
            return found[1]
    raise AssertionError("it ended before it served")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_call_finish_and_exits_with_0(
    process: subprocess.Popen[str], number: signal.Signals
) -> None:
    with grpc.insecure_channel(address(process)) as channel:
        running = pb_grpc.GenerationServiceStub(channel).Generate.future(pb.GenerateRequest(bars=16))
        with pytest.raises(grpc.FutureTimeoutError):
            running.result(timeout=0.2)
        process.send_signal(number)
        assert running.result(timeout=10).length_ticks == 16 * 1920
    assert process.wait(10) == 0
    assert process.stderr is not None
    log = process.stderr.read()
    assert f"signal={number.name}" in log
    assert "method=Generate code=OK" in log
    assert "msg=stopped" in log
    assert "Traceback" not in log


def test_a_second_signal_ends_it_at_once(process: subprocess.Popen[str]) -> None:
    with grpc.insecure_channel(address(process)) as channel:
        running = pb_grpc.GenerationServiceStub(channel).Generate.future(pb.GenerateRequest(bars=32))
        with pytest.raises(grpc.FutureTimeoutError):
            running.result(timeout=0.2)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert any("msg=signal" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == -signal.SIGTERM


def test_a_wrong_setting_ends_with_one_sentence_and_code_2() -> None:
    ended = run("--port", "x")

    assert ended.returncode == 2
    assert ended.stderr == (
        "python -m server: error: --port (or FANTASIA_PORT) must be a whole number from 0 to 65535, not 'x'\n"
    )


def test_a_folder_without_bundles_ends_with_one_sentence_and_code_1(tmp_path: Path) -> None:
    ended = run("--models", str(tmp_path), "--port", "0", "--metrics-port", "0")

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"python -m server: error: {tmp_path} holds no bundle")
    assert ended.stderr.count("\n") == 1


def test_a_port_that_is_taken_ends_with_one_sentence_and_code_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run("--host", "127.0.0.1", "--port", str(port), "--metrics-port", "0", "--models", "models")

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"python -m server: error: cannot listen on 127.0.0.1:{port}: is it taken")
    assert ended.stderr.count("\n") == 1


def test_help_is_printed_without_loading_the_model_runtime() -> None:
    ended = run("--help")

    assert ended.returncode == 0
    assert "--drain-seconds" in ended.stdout
