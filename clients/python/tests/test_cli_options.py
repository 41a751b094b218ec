"""Options of requests, and errors that name them."""

from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure

from clients.python.tests.conftest import MIDI
from clients.python.tests.test_cli import failed, fantasia, misused
from fantasia.v1 import generation_pb2 as pb

if TYPE_CHECKING:
    from clients.python.tests.conftest import ScriptedServer


def bars(first: int, last: int, *voices: int) -> pb.Region:
    return pb.Region(bars=pb.BarRange(first=first, last=last), voices=voices)


def test_every_option_reaches_the_server(server: "ScriptedServer", song: Path, midi_path: Path) -> None:
    options = f"--given {song} --given-voices 3,0 --rewrite 5-6 --rewrite 9:voices=1,2,3 --rewrite all:voices=0"
    options += " --rewrite ticks=480-960 --min-bars 2 --max-bars 12 --pitch-classes 0,4,7 --chords Am*2,F"
    options += " --chord-unit beat --first-chord-bar 2 --chords-once --range 0:60-76 --range 3:40-60 --no-rests"
    options += " --no-parallels --natural-ending --density 1.5 --voice-density 3:.5 --candidates 16 --candidate 0"
    options += " --transpose -3 --voice-programs 73,41 --velocity 70 --downbeat-accent 12 --beat-accent 6"
    options += " --phrase-bars 4 --swell -9 --omit-given"
    words = [word.replace(",F", " F") if word == "Am*2,F" else word for word in options.split()]
    result = fantasia(server, "generate", *words, "-o", midi_path)
    assert result.exit_code == 0, result.output
    expected = pb.GenerateRequest(
        given=pb.GivenPiece(midi=MIDI, voices=[3, 0]),
        rewrite=[
            bars(5, 6),
            bars(9, 9, 1, 2, 3),
            pb.Region(voices=[0]),
            pb.Region(ticks=pb.TickRange(start=480, end=960)),
        ],
        open=pb.OpenLength(min_bars=2, max_bars=12),
        constraints=pb.Constraints(
            pitch_classes=pb.PitchClasses(values=[0, 4, 7]),
            chords=pb.ChordProgression(
                chords=[pb.Chord(symbol="Am", length=2), pb.Chord(symbol="F", length=1)],
                unit=pb.CHORD_UNIT_BEAT,
                first_bar=2,
                once=True,
            ),
            ranges=[
                pb.VoiceRange(voice=0, lowest=60, highest=76),
                pb.VoiceRange(voice=3, lowest=40, highest=60),
            ],
            no_rests=True,
            no_parallels=True,
            natural_ending=True,
        ),
        controls=pb.Controls(density=1.5, voice_densities=[pb.VoiceDensity(voice=3, density=0.5)]),
        candidates=16,
        candidate=0,
        transposition=-3,
        voice_programs=[73, 41],
        velocity_shape=pb.VelocityShape(velocity=70, downbeat_accent=12, beat_accent=6, phrase_bars=4, swell=-9),
        omit_given=True,
    )
    assert server.requests == [expected]


def test_a_scale_is_one_option(server: "ScriptedServer") -> None:
    assert fantasia(server, "generate", "--scale", "A minor", "--json").exit_code == 0
    assert server.requests == [pb.GenerateRequest(constraints=pb.Constraints(scale="A minor"))]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--phrase-bars", "0"], pb.GenerateRequest(velocity_shape=pb.VelocityShape())),
        (["--density", "0"], pb.GenerateRequest(controls=pb.Controls())),
        (["--temperature", "0"], pb.GenerateRequest(sampling=pb.Sampling(temperature=0))),
        (["--max-bars", "0"], pb.GenerateRequest(open=pb.OpenLength())),
        (["--candidate", "0"], pb.GenerateRequest(candidate=0)),
    ],
)
def test_zero_is_a_value(server: "ScriptedServer", options: list[str], expected: pb.GenerateRequest) -> None:
    assert fantasia(server, "generate", *options, "--json").exit_code == 0
    assert server.requests == [expected]


# Errors name the option


@pytest.mark.parametrize(
    ("command", "field", "sentence"),
    [
        ("generate", "bars", "--bars: must be other"),
        ("generate", "constraints.scale", "--scale: must be other"),
        ("generate", "constraints.chords.unit", "--chords: constraints.chords.unit: must be other"),
        ("generate", "constraints.ranges[0].lowest", "--range: constraints.ranges[0].lowest: must be other"),
        ("generate", "sampling.top_p", "--top-p: must be other"),
        ("generate", "controls.voice_densities[0]", "--voice-density: controls.voice_densities[0]: must be other"),
        ("generate", "velocity_shape.swell", "--swell: must be other"),
        ("generate", "open.max_bars", "--max-bars: must be other"),
        ("generate", "rewrite[0].bars.last", "--rewrite: rewrite[0].bars.last: must be other"),
        ("generate", "given.midi", "--given: given.midi: must be other"),
        ("generate", "given.voices[0]", "--given-voices: given.voices[0]: must be other"),
        ("generate", "resume_token", "--resume: resume_token: must be other"),
        ("generate", "model_version", "--model: model_version: must be other"),
        ("generate", "transposition", "--transpose: must be other"),
        ("generate", "tempo_bpm", "--tempo: must be other"),
        ("generate", "something", "something: must be other"),
        ("generate", "", "must be other"),
        ("continue", "given.midi", "SONG: given.midi: must be other"),
        ("stream", "seed", "--seed: must be other"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_option(
    server: "ScriptedServer", song: Path, command: str, field: str, sentence: str
) -> None:
    violation = BadRequest.FieldViolation(field=field, description="must be other")
    server.script.append(
        server.fail(grpc.StatusCode.INVALID_ARGUMENT, "wrong", BadRequest(field_violations=[violation]))
    )
    result = fantasia(server, command, *([song] if command == "continue" else []), "--json")
    failed(result)
    assert result.stderr == f"Error: {sentence}\n"


def test_constraints_without_a_way_out_name_the_option(server: "ScriptedServer", midi_path: Path) -> None:
    violation = PreconditionFailure.Violation(subject="constraints.no_parallels", description="left no token in bar 3")
    failure = PreconditionFailure(violations=[violation])
    server.script.append(server.fail(grpc.StatusCode.FAILED_PRECONDITION, "failed", failure))
    result = fantasia(server, "generate", "--no-parallels", "-o", midi_path)
    failed(result, "Error: --no-parallels: left no token in bar 3")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["generate", "--rewrite", "6-", "--json"], "written like 5, 5-6, 5-6:voices=1,2"),
        (["generate", "--rewrite", "5:voices=", "--json"], "written like"),
        (["generate", "--range", "60-76", "--json"], "written like 0:60-76, not '60-76'"),
        (["generate", "--voice-density", "3", "--json"], "written like 3:0.5"),
        (["generate", "--voice-programs", "1,,2", "--json"], "written like 3 or 0,2,4"),
        (["generate", "--chord-unit", "step", "--json"], "'bar', 'beat'"),
        (["generate", "--bars", "1", "--max-bars", "2", "--json"], "Give only one of --bars"),
        (["generate", "--pieces", "0", "--json"], "--pieces"),
        (["generate", "--given", "/no/such/file", "--json"], "No such file"),
        (["continue"], "SONG"),
        (["rewrite", "--json", __file__], "BARS"),
        (["evaluate"], "FILE"),
        (["harmonize", __file__], "-o FILE"),
    ],
)
def test_wrong_usage_has_exit_code_2(args: list[str], words: str) -> None:
    misused(fantasia(None, *args), words)
