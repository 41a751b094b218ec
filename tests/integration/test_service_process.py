"""The server as a process: its command line, its log and its signals."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import psutil
import pytest

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.bundle import Bundle
from music.manifest import write_manifest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("FANTASIA_", "GRPC_"))}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "server", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
    )


@pytest.fixture
def models(bundle: Bundle, tmp_path: Path) -> Path:
    write_manifest(tmp_path, bundle.manifest)
    return tmp_path


@contextmanager
def started(models: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A server process with the arithmetic model. It is killed at the end."""
    arguments = ["--port", "0", "--metrics-port", "0", "--models", str(models)]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "tests.integration.arithmetic_server", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
    )
    with process:
        yield process
        process.kill()


@pytest.fixture
def process(models: Path) -> Iterator[subprocess.Popen[str]]:
    with started(models) as process:
        yield process


def log_until_serving(process: subprocess.Popen[str]) -> list[str]:
    """The log lines up to the one with its address."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "msg=serving" in line:
            assert " models=quartet provider=ArithmeticProvider " in line
            return lines
    raise AssertionError("it ended before it served: " + "".join(lines))


def addresses(process: subprocess.Popen[str]) -> tuple[str, int]:
    """The gRPC address and the port of the metrics, from the log."""
    found = re.search(r" address=(\S+) metrics_port=(\d+) ", log_until_serving(process)[-1])
    assert found is not None
    return found[1], int(found[2])


def address(process: subprocess.Popen[str]) -> str:
    """The gRPC address, from the log."""
    return addresses(process)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_call_finish_and_exits_with_0(
    process: subprocess.Popen[str], number: signal.Signals
) -> None:
    with grpc.insecure_channel(address(process)) as channel:
        running = pb_grpc.GenerationServiceStub(channel).Generate.future(pb.GenerateRequest(bars=16))
        with pytest.raises(grpc.FutureTimeoutError):
            running.result(timeout=0.2)
        process.send_signal(number)
        assert running.result(timeout=10).pieces[0].length_ticks == 16 * 1920
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


def test_a_blocked_stderr_does_not_block_the_server(process: subprocess.Popen[str]) -> None:
    """A log collector stops reading: the pipe is full after a few hundred lines."""
    with grpc.insecure_channel(address(process)) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        name = "x" * 64
        for _ in range(1500):  # lines of some 400 bytes into a pipe of 64 KiB
            with pytest.raises(grpc.RpcError):
                stub.Generate(pb.GenerateRequest(model=name, bars=-1), timeout=10)
        assert stub.Generate(pb.GenerateRequest(bars=1), timeout=10).pieces[0].length_ticks == 1920
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_wrong_setting_ends_with_one_sentence_and_code_2() -> None:
    ended = run("--port", "x")

    assert ended.returncode == 2
    assert ended.stderr == (
        "python -m server: error: --port (or FANTASIA_PORT) must be a whole number from 0 to 65535, not 'x'\n"
    )


def test_an_unknown_variable_ends_with_one_sentence_and_code_2() -> None:
    ended = run(FANTASIA_QUEUE_LIMT="5")

    assert ended.returncode == 2
    assert ended.stderr == (
        "python -m server: error: the variable FANTASIA_QUEUE_LIMT is not a setting of this server: "
        "did you mean FANTASIA_QUEUE_LIMIT?\n"
    )


def test_a_folder_without_bundles_ends_with_one_sentence_and_code_1(tmp_path: Path) -> None:
    ended = run("--models", str(tmp_path), "--port", "0", "--metrics-port", "0")

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"python -m server: error: {tmp_path} contains no bundle")
    assert ended.stderr.count("\n") == 1


def test_a_port_that_is_taken_ends_with_one_sentence_and_code_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run("--host", "127.0.0.1", "--port", str(port), "--metrics-port", "0", "--models", "models")

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"python -m server: error: cannot listen on 127.0.0.1:{port}: the port is in use")
    assert ended.stderr.count("\n") == 1


def test_help_is_printed_without_loading_the_model_runtime() -> None:
    ended = run("--help")

    assert ended.returncode == 0
    assert "--drain-seconds" in ended.stdout


def test_peers_of_the_metrics_port_cannot_harm_grpc(process: subprocess.Popen[str]) -> None:
    """500 idle connections, half of which send a byte a second, and 300 scrapes at once, while pieces are generated."""
    where, metrics_port = addresses(process)
    server = psutil.Process(process.pid)

    def scrape(_: int) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=60) as answer:
            return bytes(answer.read())

    with grpc.insecure_channel(where) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        piece = stub.Generate(pb.GenerateRequest(bars=1, seed=1))
        scrape(0)
        descriptors, threads = server.num_fds(), server.num_threads()
        with ExitStack() as stack, ThreadPoolExecutor(100) as pool:
            metrics = ("127.0.0.1", metrics_port)
            peers = [stack.enter_context(socket.create_connection(metrics, timeout=60)) for _ in range(500)]
            scrapes = [pool.submit(scrape, number) for number in range(300)]
            while not all(scrape.done() for scrape in scrapes):
                assert stub.Generate(pb.GenerateRequest(bars=1, seed=1), timeout=30).pieces == piece.pieces
                assert server.num_threads() < threads + 10  # gRPC may start a few
                for peer in peers[::2]:
                    with suppress(OSError):  # the server has closed it
                        peer.send(b"G")
                time.sleep(0.5)
            assert all(b"fantasia_requests_received_total" in scrape.result() for scrape in scrapes)
            until = time.monotonic() + 60
            while server.num_fds() > descriptors and time.monotonic() < until:  # though the peers keep their ends
                assert stub.Generate(pb.GenerateRequest(bars=1, seed=1), timeout=30).pieces == piece.pieces
            assert server.num_fds() <= descriptors
            assert server.num_threads() < threads + 10


@pytest.mark.parametrize("variable", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
@pytest.mark.parametrize("exists", [True, False])
def test_files_of_metrics_are_neither_needed_nor_written(
    models: Path, tmp_path_factory: pytest.TempPathFactory, variable: str, exists: bool
) -> None:
    folder = tmp_path_factory.mktemp("metrics")
    if not exists:
        folder.rmdir()
    with started(models, **{variable: str(folder)}) as process:
        log = log_until_serving(process)
        found = re.search(r" address=(\S+) metrics_port=(\d+) ", log[-1])
        assert found is not None
        with grpc.insecure_channel(found[1]) as channel:
            pb_grpc.GenerationServiceStub(channel).Generate(pb.GenerateRequest(bars=1))
        with urllib.request.urlopen(f"http://127.0.0.1:{found[2]}/metrics", timeout=60) as answer:
            assert b'fantasia_requests_finished_total{code="OK",method="Generate"} 1.0' in answer.read()
    assert any(variable in line and "ignored" in line for line in log)
    assert list(folder.iterdir()) == [] if exists else not folder.exists()
