"""The commands that ask for pieces, and the requests that they send."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from clients.python.tests.conftest import MIDI, stream_messages
from clients.python.tests.test_cli import failed, fantasia, misused
from fantasia.v1 import generation_pb2 as pb

if TYPE_CHECKING:
    from clients.python.tests.conftest import ScriptedServer


def bars(first: int, last: int, *voices: int) -> pb.Region:
    return pb.Region(bars=pb.BarRange(first=first, last=last), voices=voices)


def test_continue_gives_the_song(server: "ScriptedServer", song: Path, midi_path: Path) -> None:
    result = fantasia(server, "continue", song, "--bars", 8, "--omit-given", "-o", midi_path)
    assert result.exit_code == 0, result.output
    assert server.requests == [pb.GenerateRequest(given=pb.GivenPiece(midi=MIDI), bars=8, omit_given=True)]
    assert midi_path.read_bytes() == MIDI


def test_a_song_is_read_from_standard_input(server: "ScriptedServer", midi_path: Path) -> None:
    result = fantasia(server, "continue", "-", "-o", midi_path, input=MIDI)
    assert result.exit_code == 0, result.output
    assert server.requests == [pb.GenerateRequest(given=pb.GivenPiece(midi=MIDI))]


def test_rewrite_names_the_parts(server: "ScriptedServer", song: Path, midi_path: Path) -> None:
    result = fantasia(server, "rewrite", song, "5-6", "0:voices=1,2", "--seed", "7", "-o", midi_path)
    assert result.exit_code == 0, result.output
    expected = pb.GenerateRequest(given=pb.GivenPiece(midi=MIDI), rewrite=[bars(5, 6), bars(0, 0, 1, 2)], seed=7)
    assert server.requests == [expected]


@pytest.mark.parametrize(("voice", "given", "others"), [((), [0], [1, 2, 3]), (("--voice", "0,3"), [0, 3], [1, 2])])
def test_harmonize_writes_the_other_voices(
    server: "ScriptedServer", song: Path, midi_path: Path, voice: tuple[str, ...], given: list[int], others: list[int]
) -> None:
    result = fantasia(server, "harmonize", song, *voice, "--model", "origin", "-o", midi_path)
    assert result.exit_code == 0, result.output
    assert server.requests == [
        pb.GetModelRequest(name="origin"),
        pb.GenerateRequest(
            model="origin", given=pb.GivenPiece(midi=MIDI, voices=given), rewrite=[pb.Region(voices=others)]
        ),
    ]


def test_a_model_without_voices_cannot_harmonize(server: "ScriptedServer", song: Path, midi_path: Path) -> None:
    model = pb.Model(name="piano", steps_per_quarter=4)
    server.script.append(lambda *_: pb.GetModelResponse(model=model))
    failed(fantasia(server, "harmonize", song, "-o", midi_path), "the model piano has no other voices to write")


# Streams


def test_stream_prints_notes_and_writes_the_piece(server: "ScriptedServer", midi_path: Path) -> None:
    result = fantasia(server, "stream", "--bars", "2", "-o", midi_path)
    assert result.exit_code == 0, result.output
    assert server.requests == [pb.StreamGenerateRequest(request=pb.GenerateRequest(bars=2))]
    assert result.stdout.splitlines()[:4] == [
        "tick 0: pitch 72 for 480 ticks, voice 0",
        "tick 0: pitch 48 for 1440 ticks, voice 1",
        "tick 1440: pitch 48 for 1440 ticks, voice 0",
        f"wrote {midi_path}",
    ]
    assert midi_path.read_bytes() == MIDI


@pytest.mark.parametrize(
    ("options", "late"),
    [
        ((), False),
        (("--candidates", "1"), False),
        (("--candidates", "4"), True),
        (("--given", "SONG"), False),
        (("--given", "SONG", "--rewrite", "5-6"), True),
        (("--given", "SONG", "--rewrite", "5-6", "--candidates", "1"), False),
    ],
)
def test_stream_says_when_all_notes_come_at_the_end(
    server: "ScriptedServer", song: Path, midi_path: Path, options: tuple[str, ...], late: bool
) -> None:
    arguments = [str(song) if option == "SONG" else option for option in options]
    result = fantasia(server, "stream", *arguments, "-o", midi_path)
    assert result.exit_code == 0, result.output
    assert ("all written notes come at the end" in result.stderr) == late
    assert "at the end" not in result.stdout


def test_stream_prints_lines_of_json(server: "ScriptedServer") -> None:
    lines = [json.loads(line) for line in fantasia(server, "stream", "--json").stdout.splitlines()]
    assert [line.get("watermark_ticks") for line in lines] == [480, 1440, 2880, None]
    assert [len(line["notes"]) for line in lines] == [1, 1, 1, 3]
    assert lines[0]["sounding"] == [{"onset_ticks": 0, "duration_ticks": 1440, "pitch": 48, "velocity": 70, "voice": 1}]
    assert lines[3]["bars"] == 2


def test_a_stream_on_standard_output_is_the_midi_alone(server: "ScriptedServer") -> None:
    result = fantasia(server, "stream", "-o", "-")
    assert result.stdout_bytes == MIDI
    assert "tick 0: pitch 72" in result.stderr
    misused(fantasia(server, "stream", "-o", "-", "--json"), "--json writes to standard output too")


def test_a_stream_that_fails_leaves_a_resume_file(server: "ScriptedServer", tmp_path: Path) -> None:
    def fail(request: pb.StreamGenerateRequest, context: grpc.ServicerContext) -> object:
        yield from stream_messages(tokens=request.resume_tokens)[:2]
        context.abort(grpc.StatusCode.INTERNAL, "failed")

    server.script.append(fail)
    saved, output = tmp_path / "a.resume", tmp_path / "a.mid"
    result = fantasia(server, "stream", "--bars", "2", "--save-resume", saved, "-o", output)
    assert (result.exit_code, output.exists()) == (1, False)
    assert fantasia(server, "stream", "--resume", saved, "-o", output).exit_code == 0
    assert server.requests[-1].request == pb.GenerateRequest(bars=2, resume_token=b"token 1")
