"""Files of several pieces, and resume files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from clients.python.tests.conftest import piece_message
from clients.python.tests.test_cli import failed, fantasia, misused
from fantasia.v1 import generation_pb2 as pb
from fantasia_client import ResumePoint

if TYPE_CHECKING:
    from clients.python.tests.conftest import ScriptedServer


def three_pieces() -> pb.GenerateResponse:
    response = piece_message()
    response.candidates = 16
    for number in (1, 2):
        piece = response.pieces.add()
        piece.CopyFrom(response.pieces[0])
        piece.midi = b"MThd %d" % number
        piece.candidate = number
        piece.nats_per_note_step = number / 2
    return response


def test_several_pieces_have_numbered_files(server: "ScriptedServer", tmp_path: Path) -> None:
    server.script.append(lambda *_: three_pieces())
    options = ["--pieces", "3", "--candidates", "16", "-o", tmp_path / "x.mid", "--plot", tmp_path / "x.svg"]
    result = fantasia(server, "generate", *options)
    assert result.exit_code == 0, result.output
    assert server.requests == [pb.GenerateRequest(pieces=3, candidates=16)]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["x-1.mid", "x-1.svg", "x-2.mid", "x-2.svg", "x-3.mid", "x-3.svg"]
    assert (tmp_path / "x-3.mid").read_bytes() == b"MThd 2"
    assert f"wrote {tmp_path / 'x-2.mid'}" in result.stdout
    assert "candidate 2 of 16, 1.000 nats per note-step" in result.stdout


def test_the_summary_tells_particles_from_independent_candidates(server: "ScriptedServer", midi_path: Path) -> None:
    response = three_pieces()
    response.particles = True
    server.script.append(lambda *_: response)
    result = fantasia(server, "generate", "--candidates", "16", "-o", midi_path)
    assert "candidate 0 of 16 particles, " in result.stdout


def test_the_summary_names_all_meters(server: "ScriptedServer", midi_path: Path) -> None:
    response = piece_message()
    for tick, numerator in ((1440, 2), (1920, 5), (2400, 2)):
        response.pieces[0].meter_changes.add(tick=tick, meter=pb.Meter(numerator=numerator, denominator=4))
    server.script.append(lambda *_: response)
    assert "2.2 bars of 3/4, 2/4 and 5/4, 3 notes" in fantasia(server, "generate", "-o", midi_path).stdout


def test_one_of_one_piece_has_the_name_as_it_is(server: "ScriptedServer", midi_path: Path) -> None:
    result = fantasia(server, "generate", "--pieces", "1", "-o", midi_path, "--json")
    assert [document["output"] for document in json.loads(result.stdout)] == [str(midi_path)]
    assert midi_path.exists()


def test_several_pieces_do_not_fit_on_standard_output(server: "ScriptedServer") -> None:
    misused(fantasia(server, "generate", "--pieces", "2", "-o", "-"), "several pieces", "use a file for -o")
    assert server.requests == []


def test_the_summary_tells_what_became_of_the_given_piece(server: "ScriptedServer", song: Path) -> None:
    response = piece_message()
    response.given.CopyFrom(
        pb.GivenReport(included=True, changed_notes={"off_grid": 2, "extra_voice": 1}, left_out={"percussion": 3})
    )
    server.script.append(lambda *_: response)
    result = fantasia(server, "continue", song, "-o", song.with_name("b.mid"))
    assert "notes that the model does not see as they are: 1 extra_voice, 2 off_grid" in result.stdout
    assert "left out of the given piece: 3 percussion" in result.stdout


def test_a_piece_is_continued_from_a_file(server: "ScriptedServer", tmp_path: Path) -> None:
    message = piece_message()
    message.pieces[0].resume_token = b"token"
    server.script.append(lambda *_: message)
    saved = tmp_path / "a.resume"
    first = fantasia(server, "generate", "--bars", "8", "--seed", "7", "--save-resume", saved, "-o", tmp_path / "a.mid")
    assert first.exit_code == 0, first.output
    assert server.requests[0] == pb.GenerateRequest(bars=8, seed=7, return_resume_token=True)
    second = fantasia(server, "generate", "--resume", saved, "--bars", "16", "-o", tmp_path / "b.mid")
    assert second.exit_code == 0, second.output
    assert server.requests[1] == pb.GenerateRequest(bars=16, resume_token=b"token")


def test_other_options_beside_resume_are_named(server: "ScriptedServer", midi_path: Path) -> None:
    saved = ResumePoint(pb.GenerateRequest(resume_token=b"token").SerializeToString()).save(
        midi_path.with_suffix(".resume")
    )
    result = fantasia(server, "generate", "--resume", saved, "--seed", "7", "--tempo", "90", "-o", midi_path)
    failed(result, "--seed: must not be given beside resume", "--tempo: must not be given beside resume")
    saved.write_bytes(b"\xff")
    failed(fantasia(server, "stream", "--resume", saved), "--resume: is not a resume point")
