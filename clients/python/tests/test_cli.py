import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from click.testing import CliRunner, Result
from google.rpc.error_details_pb2 import BadRequest
from grpc_health.v1 import health_pb2

from clients.python.tests.conftest import model_message
from fantasia.v1 import generation_pb2 as pb
from fantasia_client.cli import main

if TYPE_CHECKING:
    from clients.python.tests.conftest import ScriptedServer


def fantasia(server: "ScriptedServer | None", *args: object, input: bytes | None = None, **env: str | None) -> Result:
    where = [] if server is None else ["--server", server.address]
    return CliRunner().invoke(main, [*where, *map(str, args)], input=input, env={"FANTASIA_SERVER": None, **env})


def failed(result: Result, *words: str) -> None:
    """The command exited with code 1 and one sentence on stderr."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def misused(result: Result, *words: str) -> None:
    """The command exited with code 2 and printed its usage."""
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    for word in words:
        assert word in result.stderr


def test_generate_writes_the_midi_file_and_a_summary(server: "ScriptedServer", midi_path: Path) -> None:
    result = fantasia(server, "generate", "--bars", "8", "--seed", "7", "-o", midi_path)
    assert result.exit_code == 0, result.output
    assert midi_path.read_bytes().startswith(b"MThd")
    assert server.requests == [pb.GenerateRequest(bars=8, seed=7)]
    assert result.stderr == ""
    for words in (
        f"wrote {midi_path}",
        "2 bars of 3/4, 3 notes, 4.0 s at 90 bpm",
        f"model chorales (abababababab), seed {2**64 - 1}",
        "96 tokens in 1.500 s (queue 0.250 s, first token 0.500 s)",
    ):
        assert words in result.stdout


def test_every_option_reaches_the_server(server: "ScriptedServer", midi_path: Path) -> None:
    options = "--seconds 2.5 --model origin --temperature 0.5 --top-k 3 --top-p 0.75 --tempo 120"
    options += " --program 19 --meter 3/4 --seed 18446744073709551615"
    result = fantasia(server, "generate", *options.split(), "-o", midi_path)
    assert result.exit_code == 0, result.output
    expected = pb.GenerateRequest(
        model="origin",
        seconds=2.5,
        seed=2**64 - 1,
        sampling=pb.Sampling(temperature=0.5, top_k=3, top_p=0.75),
        tempo_bpm=120,
        program=19,
        meter=pb.Meter(numerator=3, denominator=4),
    )
    assert server.requests == [expected]


def test_json_is_the_only_output_on_stdout(server: "ScriptedServer", midi_path: Path) -> None:
    result = fantasia(server, "generate", "--steps", "24", "-o", midi_path, "--json")
    document = json.loads(result.stdout)
    assert document["output"] == str(midi_path)
    assert document["plot"] is None
    assert document["seed"] == 2**64 - 1
    assert len(document["notes"]) == 3


def test_a_piano_roll_is_drawn(server: "ScriptedServer", midi_path: Path) -> None:
    png = midi_path.with_suffix(".png")
    result = fantasia(server, "generate", "-o", midi_path, "--plot", png)
    assert result.exit_code == 0, result.output
    assert f"drew {png}" in result.stdout
    assert png.read_bytes().startswith(b"\x89PNG")


def test_models_are_listed(server: "ScriptedServer") -> None:
    result = fantasia(server, "models")
    assert result.exit_code == 0
    assert result.stdout.startswith("chorales (default): Four-voice chorales.")
    assert result.stdout.count("(default)") == 1
    for words in (
        "origin:",
        "4 voices",
        "4/4, 3/4",
        "512 steps, 32 bars",
        "1,234,567",
        "temperature 0.9",
        "60-81, 55-76",
        "continuation, rewrite voices",
    ):
        assert words in result.stdout
    documents = json.loads(fantasia(server, "models", "--json").stdout)
    assert [(document["name"], document["default"]) for document in documents] == [
        ("chorales", True),
        ("origin", False),
    ]


def test_pieces_are_evaluated(server: "ScriptedServer", tmp_path: Path) -> None:
    files = [tmp_path / "a.mid", tmp_path / "b.mid"]
    for file in files:
        file.write_bytes(file.name.encode())
    result = fantasia(server, "evaluate", *files, "--model", "origin")
    assert result.exit_code == 0, result.output
    pieces = [pb.GivenPiece(midi=b"a.mid"), pb.GivenPiece(midi=b"b.mid")]
    assert server.requests == [pb.EvaluateRequest(model="origin", pieces=pieces)]
    assert result.stdout.splitlines() == [
        line
        for file in files
        for line in (
            f"{file}: 0.250 nats per note-step, 12.5 nats, 1 notes, 50 tokens",
            "  notes that the model does not see as they are: 1 off_grid",
            "  left out of the given piece: 2 percussion",
        )
    ]
    documents = json.loads(fantasia(server, "evaluate", *files, "--json").stdout)
    assert [(document["file"], document["nats"]) for document in documents] == [(str(file), 12.5) for file in files]


def test_a_refused_file_is_named(server: "ScriptedServer", midi_path: Path) -> None:
    midi_path.write_bytes(b"no MIDI")
    violation = BadRequest.FieldViolation(field="pieces[0].midi", description="cannot be read")
    refusal = BadRequest(field_violations=[violation])
    server.script.append(server.fail(grpc.StatusCode.INVALID_ARGUMENT, "wrong", refusal))
    failed(fantasia(server, "evaluate", midi_path), f"Error: {midi_path}: cannot be read")


def test_versions_that_take_no_calls_are_listed_after_the_models(server: "ScriptedServer") -> None:
    refused = pb.UnavailableModel(name="piano", version=3, state=pb.UNAVAILABLE_STATE_REFUSED, reason="no weights")
    model = model_message("piano")
    model.version = 2
    for _ in range(2):
        server.script.append(lambda *_: pb.ListModelsResponse(models=[model], unavailable=[refused]))
    text = fantasia(server, "models").stdout
    assert text.startswith("piano:2 (default): ")
    assert text.endswith("\n\npiano:3 (refused): no weights\n")


@pytest.mark.parametrize(
    ("choice", "model", "version"),
    [((), "", 0), (("--model", "piano"), "piano", 0), (("--model", "piano:2"), "piano", 2)],
)
def test_the_option_model_names_a_model_or_a_version(
    server: "ScriptedServer", midi_path: Path, choice: tuple[str, ...], model: str, version: int
) -> None:
    midi_path.write_bytes(b"MThd file")
    for command in (("generate", "--bars", "1", "--json"), ("harmonize", midi_path, "--json"), ("evaluate", midi_path)):
        assert fantasia(server, *command, *choice).exit_code == 0, command
    generated, described, harmonized, evaluated = server.requests
    assert {(each.model, each.model_version) for each in (generated, harmonized, evaluated)} == {(model, version)}
    assert (described.name, described.version) == (model, version)


@pytest.mark.parametrize("name", ["piano:", "piano:0", "piano:x", "piano:1:2", "piano:01", "piano:" + "1" * 19])
def test_a_version_that_is_no_number_is_refused(server: "ScriptedServer", name: str) -> None:
    result = fantasia(server, "generate", "--bars", "1", "--json", "--model", name)
    assert result.exit_code == 2
    assert "it is written like piano or piano:2" in result.stderr


def test_a_server_without_models_is_reported(server: "ScriptedServer") -> None:
    server.script.append(lambda *_: pb.ListModelsResponse())
    assert "not loaded a model" in fantasia(server, "models").stdout


def test_health_has_an_exit_code(server: "ScriptedServer") -> None:
    result = fantasia(server, "health")
    assert (result.exit_code, result.stdout) == (0, f"{server.address} is ready: SERVING\n")
    server.set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
    failed(fantasia(server, "health"), "is not ready", "NOT_SERVING")


def test_the_server_is_read_from_the_environment(server: "ScriptedServer") -> None:
    result = fantasia(None, "models", FANTASIA_SERVER=server.address)
    assert result.exit_code == 0


def test_an_invalid_address_in_the_environment_has_exit_code_2() -> None:
    result = fantasia(None, "models", FANTASIA_SERVER="http://localhost:50051")
    misused(result, "FANTASIA_SERVER", "write localhost:50051")


def test_the_default_port_is_called() -> None:
    failed(fantasia(None, "--server", "127.0.0.3", "health"), "127.0.0.3:50051 cannot be reached")


@pytest.mark.parametrize("command", [["health"], ["models"], ["generate", "--json"]])
def test_an_unreachable_server_is_one_sentence(command: list[str]) -> None:
    failed(fantasia(None, "--server", "localhost:1", *command), "localhost:1 cannot be reached")


def test_an_invalid_request_is_one_sentence(server: "ScriptedServer", midi_path: Path) -> None:
    violation = BadRequest.FieldViolation(field="bars", description="must be 1 to 64, not -1")
    refusal = BadRequest(field_violations=[violation])
    server.script.append(server.fail(grpc.StatusCode.INVALID_ARGUMENT, "wrong", refusal))
    failed(fantasia(server, "generate", "--bars", "-1", "-o", midi_path), "Error: --bars: must be 1 to 64, not -1")
    assert not midi_path.exists()


def test_a_deadline_is_one_sentence(server: "ScriptedServer", midi_path: Path) -> None:
    server.script.append(server.hang)
    failed(fantasia(server, "--timeout", "0.2", "generate", "-o", midi_path), "did not answer within 0.2 s")


def test_wait_ends_at_the_timeout(midi_path: Path) -> None:
    result = fantasia(None, "--server", "localhost:1", "--wait", "--timeout", "0.2", "models")
    failed(result, "did not answer within 0.2 s")


@pytest.mark.parametrize("option", ["-o", "--plot"])
@pytest.mark.parametrize("place", ["directory", "missing", "file", "long", "loop"])
def test_an_unwritable_path_is_found_before_the_call(
    server: "ScriptedServer", tmp_path: Path, option: str, place: str
) -> None:
    (tmp_path / "a.png").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    path = {
        "directory": tmp_path / "a.png",
        "missing": tmp_path / "no" / "a.png",
        "file": tmp_path / "file" / "a.png",
        "loop": tmp_path / "loop.png",
        "long": tmp_path / ("a" * 300 + ".png"),
    }[place]
    failed(fantasia(server, "generate", option, path), f"cannot write {path}: ")
    assert server.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_found_before_the_call(server: "ScriptedServer", tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    failed(fantasia(server, "generate", "-o", tmp_path / "a.mid"), "Permission denied")
    assert server.requests == []


def test_a_failed_call_changes_no_files(server: "ScriptedServer", tmp_path: Path) -> None:
    old, new, link = tmp_path / "old.mid", tmp_path / "new.png", tmp_path / "link.mid"
    old.write_bytes(b"old")
    link.symlink_to(tmp_path / "nowhere.mid")
    server.script.extend([server.fail(grpc.StatusCode.INTERNAL)] * 2)
    failed(fantasia(server, "generate", "-o", old, "--plot", new))
    failed(fantasia(server, "generate", "-o", link))
    assert old.read_bytes() == b"old"
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.mid", "old.mid"]


def test_a_full_device_is_one_sentence(server: "ScriptedServer") -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    failed(fantasia(server, "generate", "-o", "/dev/full"), "cannot write /dev/full: No space left on device")


def test_missing_matplotlib_is_found_before_the_call(
    server: "ScriptedServer", midi_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fantasia_client

    monkeypatch.delitem(sys.modules, "fantasia_client.piano_roll", raising=False)
    monkeypatch.delattr(fantasia_client, "piano_roll", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    result = fantasia(server, "generate", "-o", midi_path, "--plot", midi_path.with_suffix(".png"))
    failed(result, "fantasia-client[plot]")
    assert server.requests == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["generate"], "-o FILE, --plot FILE and --json"),
        (["generate", "--bars", "1", "--steps", "2", "--json"], "--bars, --steps, --seconds and --min-bars"),
        (["generate", "--bars", "many", "--json"], "not a valid integer"),
        (["generate", "--seed", "-1", "--json"], "--seed"),
        (["generate", "--meter", "waltz", "--json"], "written like 3/4"),
        (["generate", "--plot", "a.gif"], ".png, .svg, .pdf"),
        (["generate", "-o", "a.png", "--plot", "./a.png"], "the same file"),
        (["generate", "-o", "-", "--plot", "-"], "the same file"),
        (["generate", "-o", "-", "--json"], "--json writes to standard output too"),
        (["--timeout", "0", "models"], "at least 0.01"),
        (["--timeout", "1e-9", "health"], "at least 0.01"),
        (["--timeout", "nan", "models"], "at least 0.01"),
        (["--server", " ", "models"], "localhost:50051"),
        (["--server", "http://localhost:50051", "models"], "must not begin with http://: write localhost:50051"),
        (["--server", "localhost:70000", "models"], "1 to 65535"),
        (["--ca", str(Path(__file__).with_name("test_types.py")), "models"], "contains no PEM data"),
        (["compose"], "No such command"),
    ],
)
def test_wrong_usage_has_exit_code_2(args: list[str], words: str) -> None:
    misused(fantasia(None, *args), words)


def test_the_command_prints_no_log_of_grpc(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    command = [sys.executable, "-m", "fantasia_command", "--ca", str(authority), "--server", "localhost:1", "health"]
    env = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=env)  # noqa: S603
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: localhost:1 cannot be reached")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "start"), [("a.wav", b"RIFF"), ("a.musicxml", b"<?xml"), ("a.PNG", b"\x89PNG"), ("a.midi", b"MThd")]
)
def test_the_suffix_of_the_output_selects_the_format(
    server: "ScriptedServer", tmp_path: Path, name: str, start: bytes
) -> None:
    path = tmp_path / name
    result = fantasia(server, "generate", "-o", path)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, f"wrote {path}")
    assert path.read_bytes().startswith(start)


def test_an_unknown_suffix_of_the_output_is_refused_before_the_call(server: "ScriptedServer", tmp_path: Path) -> None:
    result = fantasia(server, "generate", "-o", tmp_path / "a.mp3")
    assert result.exit_code == 2
    assert "the suffix of -o must be one of .mid, .midi, .wav, .musicxml, .png, .svg, .pdf, not " in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert not server.requests


def test_an_invalid_soundfont_fails_and_leaves_the_file(
    server: "ScriptedServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font, path = tmp_path / "a.sf2", tmp_path / "a.wav"
    font.write_bytes(b"not a font")
    path.write_bytes(b"before")
    failed(fantasia(server, "generate", "-o", path, "--soundfont", font), "cannot render the piece with", "a.sf2")
    monkeypatch.setenv("FANTASIA_SOUNDFONT", str(font))
    failed(fantasia(server, "generate", "-o", path), "cannot render the piece with", "a.sf2")
    assert path.read_bytes() == b"before"
    assert fantasia(server, "generate", "-o", tmp_path / "a.mid").exit_code == 0


def test_a_missing_soundfont_is_wrong_usage(server: "ScriptedServer", tmp_path: Path) -> None:
    result = fantasia(server, "generate", "-o", tmp_path / "a.wav", "--soundfont", tmp_path / "a.sf2")
    assert result.exit_code == 2
    assert "--soundfont" in result.stderr
