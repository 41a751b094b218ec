"""The `fantasia` command as a process: standard output, signals, exit codes."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from clients.python.tests.conftest import MIDI, model_message, piece_message, stream_messages
from fantasia.v1 import generation_pb2 as pb

if TYPE_CHECKING:
    from clients.python.tests.conftest import ScriptedServer

pytestmark = pytest.mark.slow  # each test starts a process

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("GRPC_VERBOSITY", "FANTASIA_SERVER")}


def command(server: "ScriptedServer", *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "fantasia_command", "--server", server.address, *map(str, arguments)]


def run(server: "ScriptedServer", *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """The command in an empty folder, its output in bytes."""
    return subprocess.run(  # noqa: S603
        command(server, *arguments), capture_output=True, check=False, env=ENVIRONMENT, cwd=folder, timeout=60
    )


def shell(server: "ScriptedServer", line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """A line of shell in which `fantasia` is the command."""
    script = f'fantasia() {{ "$PYTHON" -m fantasia_command --server "$SERVER" "$@"; }}; {line}'
    environment = ENVIRONMENT | {"PYTHON": sys.executable, "SERVER": server.address}
    return subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", script], capture_output=True, check=False, env=environment, cwd=folder, timeout=60
    )


def test_a_dash_writes_the_midi_to_standard_output(server: "ScriptedServer", tmp_path: Path) -> None:
    result = run(server, "generate", "-o", "-", folder=tmp_path)
    assert (result.returncode, result.stdout) == (0, MIDI)
    assert b"2 bars of 3/4, 3 notes" in result.stderr
    assert b"wrote standard output" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_outputs_are_not_mixed_on_standard_output(server: "ScriptedServer", tmp_path: Path) -> None:
    result = run(server, "generate", "-o", "/dev/stdout", "--plot", "-", folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"-o and --plot name the same file" in result.stderr
    assert server.requests == []


def test_two_names_of_one_file_are_the_same_file(server: "ScriptedServer", tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"kept")
    (tmp_path / "b.png").hardlink_to(tmp_path / "a.png")
    result = run(server, "generate", "-o", "a.png", "--plot", "b.png", folder=tmp_path)
    assert result.returncode == 2
    assert b"-o and --plot name the same file" in result.stderr
    assert (tmp_path / "a.png").read_bytes() == b"kept"


def test_a_dash_draws_to_standard_output(server: "ScriptedServer", tmp_path: Path) -> None:
    result = run(server, "generate", "-o", "a.mid", "--plot", "-", folder=tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith(b"\x89PNG")
    assert result.stdout.endswith(b"IEND\xaeB`\x82")
    assert b"wrote a.mid" in result.stderr
    assert (tmp_path / "a.mid").read_bytes() == MIDI


def test_a_file_whose_name_starts_with_a_dash_can_be_written(server: "ScriptedServer", tmp_path: Path) -> None:
    result = run(server, "generate", "-o", "./-.mid", "--plot", "./-.svg", folder=tmp_path)
    assert result.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["-.mid", "-.svg"]


@pytest.mark.parametrize("path", ["/dev/stdout", "a.mid"])
def test_a_file_used_as_standard_output_holds_only_the_midi(
    server: "ScriptedServer", tmp_path: Path, path: str
) -> None:
    result = shell(server, f"fantasia generate -o {path} > a.mid", tmp_path)
    assert result.returncode == 0
    assert (tmp_path / "a.mid").read_bytes() == MIDI
    assert b"2 bars" in result.stderr


def test_a_closed_pipe_gives_no_traceback(server: "ScriptedServer", tmp_path: Path) -> None:
    result = shell(
        server, "{ fantasia models; echo $? >&2; } | true; { fantasia generate -o -; echo $? >&2; } | true", tmp_path
    )
    assert result.stdout == b""
    assert set(result.stderr.split()) <= {b"0", b"1"}, result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", ["models", "health", "generate --json", "generate -o -", "generate -o a.mid"])
def test_standard_output_on_a_full_disk_is_one_sentence(
    server: "ScriptedServer", tmp_path: Path, arguments: str
) -> None:
    result = shell(server, f"fantasia {arguments} > /dev/full", tmp_path)
    assert result.returncode == 1
    assert result.stderr == b"Error: cannot write standard output: No space left on device\n"


@contextmanager
def terminal() -> Iterator[int]:
    """The descriptor of a terminal."""
    pty = pytest.importorskip("pty")
    outer, inner = pty.openpty()
    try:
        yield inner
    finally:
        os.close(inner)
        os.close(outer)


def test_bytes_are_not_written_to_a_terminal(server: "ScriptedServer", tmp_path: Path) -> None:
    with terminal() as screen:
        result = subprocess.run(  # noqa: S603
            command(server, "generate", "-o", "-"),
            stdout=screen, stderr=subprocess.PIPE, check=False, env=ENVIRONMENT, cwd=tmp_path, timeout=60,
        )  # fmt: skip
    assert result.returncode == 2
    assert b"standard output is a terminal" in result.stderr
    assert server.requests == []


def test_a_full_disk_is_found_before_the_call(server: "ScriptedServer", tmp_path: Path) -> None:
    result = shell(server, "ulimit -f 0; fantasia generate -o a.mid", tmp_path)
    assert result.returncode == 1
    assert result.stderr == b"Error: cannot write a.mid: File too large\n"
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_no_partial_file(server: "ScriptedServer", tmp_path: Path) -> None:
    server.script.append(lambda *_: piece_message(bytes(2 << 20)))
    result = shell(server, "ulimit -f 1024; fantasia generate -o a.mid", tmp_path)
    assert result.returncode == 1
    assert result.stderr == b"Error: cannot write a.mid: File too large\n"
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("waiting", [False, True], ids=["during a call", "while it waits for a server"])
def test_ctrl_c_has_exit_code_130(server: "ScriptedServer", tmp_path: Path, waiting: bool) -> None:
    server.script.append(server.hang)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        arguments = ["--wait", "--server", f"127.0.0.1:{silent.getsockname()[1]}"] if waiting else []
        process = subprocess.Popen(  # noqa: S603
            [*command(server), *arguments, "generate", "-o", str(tmp_path / "a.mid")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
        )  # fmt: skip
        with process:
            if waiting:
                silent.settimeout(30)
                silent.accept()[0].close()
            else:
                threading.Event().wait(0.05)
                while not server.requests and process.poll() is None:
                    threading.Event().wait(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (out, err) == (b"", b"Error: interrupted\n")
    assert waiting or server.cancelled.wait(10)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_stream_leaves_a_resume_file(server: "ScriptedServer", tmp_path: Path) -> None:
    def respond(request: pb.StreamGenerateRequest, context: grpc.ServicerContext) -> Iterator[object]:
        context.add_callback(server.cancelled.set)
        yield from stream_messages(tokens=request.resume_tokens)[:2]
        server.cancelled.wait(30)

    server.script.append(respond)
    saved = tmp_path / "a.resume"
    options = ["stream", "--bars", "2", "--save-resume", str(saved), "-o", str(tmp_path / "a.mid")]
    with subprocess.Popen(  # noqa: S603
        command(server, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"Error: interrupted\n")
    assert lines[1] == b"tick 0: pitch 48 for 1440 ticks, voice 1\n"
    assert server.cancelled.wait(10)
    assert pb.GenerateRequest.FromString(saved.read_bytes()) == pb.GenerateRequest(bars=2, resume_token=b"token 1")
    assert [path.name for path in tmp_path.iterdir()] == ["a.resume"]


def test_a_wait_without_success_gives_the_cause(server: "ScriptedServer", tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    unreachable = run(server, "--server", address, "--wait", "--timeout", "0.3", "health", folder=tmp_path)
    assert unreachable.returncode == 1
    assert unreachable.stderr.decode() == (
        f"Error: {address} did not answer within 0.3 s: {address} cannot be reached: Connection refused ({address})\n"
    )
    encrypted = run(server, "--tls", "--wait", "--timeout", "0.3", "health", folder=tmp_path)
    assert encrypted.returncode == 1
    assert b"the server does not use TLS, but this client does: turn TLS off\n" in encrypted.stderr


def test_the_help_lists_the_exit_codes(server: "ScriptedServer", tmp_path: Path) -> None:
    text = " ".join(run(server, "--help", folder=tmp_path).stdout.decode().split())
    assert "Exit codes: 0 success, 1 failure (stderr gives the reason), 2 wrong usage, 130 interrupted." in text
    server.script.append(server.fail(grpc.StatusCode.INTERNAL))
    codes = [run(server, *arguments, folder=tmp_path).returncode for arguments in (["models"], ["models"], ["model"])]
    assert codes == [1, 0, 2]


def test_characters_unknown_to_the_terminal_are_replaced(server: "ScriptedServer", tmp_path: Path) -> None:
    from fantasia.v1 import generation_pb2 as pb

    model = model_message()
    model.description = "Ch\u00f4rales \u266b"
    server.script.append(lambda *_: pb.ListModelsResponse(models=[model]))
    result = shell(server, "PYTHONIOENCODING=latin-1; export PYTHONIOENCODING; fantasia models", tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(b"chorales (default): Ch\xf4rales ?\n")
