"""Every field of a request, from the arguments of the clients."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clients.python.tests.conftest import MIDI, piece_message
from fantasia.v1 import generation_pb2 as pb
from fantasia_client import (
    Chord,
    Constraints,
    Controls,
    GenerateOptions,
    GivenPiece,
    InvalidRequestError,
    Meter,
    Note,
    Region,
    ResumePoint,
    VelocityShape,
)
from fantasia_client.messages import parse_piece
from fantasia_client.request_messages import (
    build_evaluate_request,
    build_generate_request,
    build_get_model_request,
    build_stream_request,
)

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer

MELODY = (Note(0, 480, 60), Note(480, 480, 62, velocity=90, voice=1))
NOTES = [
    pb.Note(onset_ticks=0, duration_ticks=480, pitch=60, velocity=80, voice=0),
    pb.Note(onset_ticks=480, duration_ticks=480, pitch=62, velocity=90, voice=1),
]


def chords(*symbols: str, **fields: Any) -> pb.ChordProgression:
    return pb.ChordProgression(
        chords=[pb.Chord(symbol=symbol, length=1) for symbol in symbols], unit=pb.CHORD_UNIT_BAR, **fields
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"given": MIDI}, {"given": pb.GivenPiece(midi=MIDI)}),
        ({"given": MELODY}, {"given": pb.GivenPiece(notes=pb.NoteList(notes=NOTES))}),
        ({"given": list(MELODY)}, {"given": pb.GivenPiece(notes=pb.NoteList(notes=NOTES))}),
        ({"given": GivenPiece(MIDI, voices=[3])}, {"given": pb.GivenPiece(midi=MIDI, voices=[3])}),
        (
            {"given": GivenPiece(MELODY, (0, 2), 96, length_ticks=999, pickup_ticks=48, meter="3/4", tempo_bpm=70)},
            {
                "given": pb.GivenPiece(
                    notes=pb.NoteList(
                        notes=NOTES,
                        ticks_per_quarter=96,
                        length_ticks=999,
                        pickup_ticks=48,
                        meter=pb.Meter(numerator=3, denominator=4),
                        tempo_bpm=70,
                    ),
                    voices=[0, 2],
                )
            },
        ),
        ({"rewrite": [Region(bars=(5, 6))]}, {"rewrite": [pb.Region(bars=pb.BarRange(first=5, last=6))]}),
        ({"rewrite": Region(bars=0)}, {"rewrite": [pb.Region(bars=pb.BarRange(first=0, last=0))]}),
        (
            {"rewrite": [Region(ticks=(0, 960), voices=(1, 2)), Region(voices=[3])]},
            {"rewrite": [pb.Region(ticks=pb.TickRange(start=0, end=960), voices=[1, 2]), pb.Region(voices=[3])]},
        ),
        ({"min_bars": 4}, {"open": pb.OpenLength(min_bars=4)}),
        ({"max_bars": 8}, {"open": pb.OpenLength(max_bars=8)}),
        ({"min_bars": 4, "max_bars": 8}, {"open": pb.OpenLength(min_bars=4, max_bars=8)}),
        ({"constraints": Constraints(scale="A minor")}, {"constraints": pb.Constraints(scale="A minor")}),
        (
            {"constraints": Constraints(pitch_classes={0, 2, 4})},
            {"constraints": pb.Constraints(pitch_classes=pb.PitchClasses(values=[0, 2, 4]))},
        ),
        (
            {"constraints": Constraints(chords="Am F  C G")},
            {"constraints": pb.Constraints(chords=chords("Am", "F", "C", "G"))},
        ),
        (
            {"constraints": Constraints(chords=["Am7", "F/A"], first_chord_bar=2, repeat_chords=False)},
            {"constraints": pb.Constraints(chords=chords("Am7", "F/A", first_bar=2, once=True))},
        ),
        (
            {"constraints": Constraints(chords=[Chord("C", 3), (0, 4, 7), Chord((2, 5), 2)], chord_unit="beat")},
            {
                "constraints": pb.Constraints(
                    chords=pb.ChordProgression(
                        chords=[
                            pb.Chord(symbol="C", length=3),
                            pb.Chord(pitch_classes=pb.PitchClasses(values=[0, 4, 7]), length=1),
                            pb.Chord(pitch_classes=pb.PitchClasses(values=[2, 5]), length=2),
                        ],
                        unit=pb.CHORD_UNIT_BEAT,
                    )
                )
            },
        ),
        (
            {"constraints": Constraints(ranges={0: (60, 76), 3: (40, 60)})},
            {
                "constraints": pb.Constraints(
                    ranges=[
                        pb.VoiceRange(voice=0, lowest=60, highest=76),
                        pb.VoiceRange(voice=3, lowest=40, highest=60),
                    ]
                )
            },
        ),
        ({"constraints": Constraints(no_rests=True)}, {"constraints": pb.Constraints(no_rests=True)}),
        ({"constraints": Constraints(no_parallels=True)}, {"constraints": pb.Constraints(no_parallels=True)}),
        ({"constraints": Constraints(natural_ending=True)}, {"constraints": pb.Constraints(natural_ending=True)}),
        ({"controls": Controls(1.5)}, {"controls": pb.Controls(density=1.5)}),
        (
            {"controls": Controls(voice_densities={3: 0.5})},
            {"controls": pb.Controls(voice_densities=[pb.VoiceDensity(voice=3, density=0.5)])},
        ),
        ({"candidates": 16}, {"candidates": 16}),
        ({"candidate": 0}, {"candidate": 0}),
        ({"voice_programs": (73, 41)}, {"voice_programs": [73, 41]}),
        (
            {"velocity_shape": VelocityShape(70, 12, 6, phrase_bars=4, swell=-9)},
            {
                "velocity_shape": pb.VelocityShape(
                    velocity=70, downbeat_accent=12, beat_accent=6, phrase_bars=4, swell=-9
                )
            },
        ),
        ({"transposition": -3}, {"transposition": -3}),
        ({"omit_given": True}, {"omit_given": True}),
        ({"return_resume_token": True}, {"return_resume_token": True}),
        ({"resume": b"token", "bars": 9}, {"resume_token": b"token", "bars": 9}),
    ],
)
def test_an_argument_becomes_its_field(options: GenerateOptions, expected: dict[str, Any]) -> None:
    assert build_generate_request(options) == pb.GenerateRequest(**expected)


def test_a_length_in_a_chord_string_follows_the_symbol() -> None:
    constraints = Constraints(chords="Am*2 F G*12")
    progression = build_generate_request({"constraints": constraints}).constraints.chords
    assert [(chord.symbol, chord.length) for chord in progression.chords] == [("Am", 2), ("F", 1), ("G", 12)]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_read(kind: Callable[[Path], str | Path], midi_path: Path) -> None:
    midi_path.write_bytes(b"MThd and more")
    assert build_generate_request({"given": kind(midi_path)}).given.midi == b"MThd and more"
    with pytest.raises(FileNotFoundError):
        build_generate_request({"given": kind(midi_path.with_name("no.mid"))})


def test_a_generated_piece_keeps_its_voices() -> None:
    message = piece_message()
    ordered = parse_piece(message)  # voice 0 is higher on the average
    assert build_generate_request({"given": ordered}).given == pb.GivenPiece(midi=MIDI)
    for note in message.pieces[0].notes:
        note.voice = 3 - note.voice
    crossing = parse_piece(message)  # the server finds voice 3 first
    assert build_generate_request({"given": crossing}).given == pb.GivenPiece(midi=MIDI, voices=[3, 2])
    chosen = GivenPiece(crossing, voices=[1, 0])
    assert build_generate_request({"given": chosen}).given == pb.GivenPiece(midi=MIDI, voices=[0, 1])
    melody = build_generate_request({"given": GivenPiece(ordered, voices=[2])}).given
    assert melody == pb.GivenPiece(midi=MIDI, voices=[2])
    with pytest.raises(InvalidRequestError, match=r"given.voices: must name all voices: .* order is 3, 2"):
        build_generate_request({"given": GivenPiece(crossing, voices=[2])})


def test_several_pieces_have_candidates_of_their_own() -> None:
    assert build_generate_request({}, pieces=3) == pb.GenerateRequest(pieces=3, candidates=3)
    assert build_generate_request({"candidates": 8}, pieces=3) == pb.GenerateRequest(pieces=3, candidates=8)
    request = build_generate_request({"given": MIDI}, pieces=3)
    assert (request.pieces, request.candidates) == (3, 3), "a continued piece"
    request = build_generate_request({"given": MIDI, "rewrite": Region(bars=1)}, pieces=3)
    assert (request.pieces, request.candidates) == (3, 0), "the model's default"


@pytest.mark.parametrize(
    ("options", "violation"),
    [
        ({"given": 5}, "given: must be MIDI bytes, the path of a MIDI file, a Piece, a sequence of Note, or a Given"),
        ({"given": [1]}, "given.notes[0]: must be a Note, not 1"),
        ({"given": [Note(0, 1, None)]}, "given.notes[0].pitch: must be an integer, not None"),  # type: ignore[arg-type]
        ({"given": GivenPiece(MIDI, tempo_bpm=9)}, "given.tempo_bpm: is for notes only"),
        ({"given": GivenPiece(MIDI, voices=["S"])}, "given.voices[0]: must be an integer, not 'S'"),  # type: ignore[list-item]
        ({"given": GivenPiece(MELODY, meter="waltz")}, "given.notes.meter: a meter is written like 3/4"),
        ({"rewrite": "5-6"}, "rewrite: must be a sequence of Region, not '5-6'"),
        ({"rewrite": [(5, 6)]}, "rewrite[0]: must be a Region, not (5, 6)"),
        ({"rewrite": Region(bars=1, ticks=(0, 1))}, "rewrite[0]: must have bars or ticks, not both"),
        ({"rewrite": Region(bars="5")}, "rewrite[0].bars: must be an integer, not '5'"),  # type: ignore[arg-type]
        ({"rewrite": Region(bars=(5, 6, 7))}, "rewrite[0].bars: must be two integers"),  # type: ignore[arg-type]
        ({"rewrite": Region(ticks=5)}, "rewrite[0].ticks: must be two integers"),  # type: ignore[arg-type]
        ({"rewrite": Region(voices=3)}, "rewrite[0].voices: must be a sequence of integers, not 3"),  # type: ignore[arg-type]
        ({"bars": 8, "max_bars": 9}, "length: give only one of bars, max_bars"),
        ({"steps": 8, "min_bars": 1, "max_bars": 9}, "length: give only one of steps, min_bars, max_bars"),
        ({"min_bars": 1.5}, "min_bars: must be an integer, not 1.5"),
        ({"constraints": "A minor"}, "constraints: must be a Constraints, not 'A minor'"),
        ({"constraints": Constraints(scale=5)}, "constraints.scale: must be a string, not 5"),  # type: ignore[arg-type]
        (
            {"constraints": Constraints(scale="C major", pitch_classes=[0])},
            "constraints: must have scale or pitch_classes, not both",
        ),
        ({"constraints": Constraints(pitch_classes=[0.5])}, "constraints.pitch_classes[0]: must be an integer"),  # type: ignore[list-item]
        ({"constraints": Constraints(chords=7)}, "constraints.chords.chords: must be a sequence of chords, not 7"),  # type: ignore[arg-type]
        ({"constraints": Constraints(chords=[0])}, "constraints.chords.chords[0].pitch_classes: must be a sequence"),  # type: ignore[list-item]
        ({"constraints": Constraints(chords=[Chord("C", None)])}, "constraints.chords.chords[0].length"),  # type: ignore[arg-type]
        ({"constraints": Constraints(chords="C", chord_unit="step")}, "constraints.chord_unit: must be 'bar' or"),  # type: ignore[arg-type]
        ({"constraints": Constraints(ranges=[(60, 76)])}, "constraints.ranges: must be a mapping of voices"),  # type: ignore[arg-type]
        ({"constraints": Constraints(ranges={"S": (60, 76)})}, "constraints.ranges['S']: must be"),  # type: ignore[dict-item]
        ({"constraints": Constraints(ranges={0: 60})}, "constraints.ranges[0]: must be two integers"),  # type: ignore[dict-item]
        ({"constraints": Constraints(no_rests=1)}, "constraints.no_rests: must be True or False, not 1"),  # type: ignore[arg-type]
        ({"controls": 1.5}, "controls: must be a Controls, not 1.5"),
        ({"controls": Controls("much")}, "controls.density: must be a number, not 'much'"),  # type: ignore[arg-type]
        ({"controls": Controls(voice_densities={0: "x"})}, "controls.voice_densities[0]: must be a number"),  # type: ignore[dict-item]
        ({"candidates": "many"}, "candidates: must be an integer, not 'many'"),
        ({"candidate": 2**31}, "candidate: 2147483648 does not fit the field"),
        ({"voice_programs": 5}, "voice_programs: must be a sequence of integers, not 5"),
        ({"velocity_shape": 80}, "velocity_shape: must be a VelocityShape, not 80"),
        ({"velocity_shape": VelocityShape(swell=0.5)}, "velocity_shape.swell: must be an integer, not 0.5"),  # type: ignore[arg-type]
        ({"transposition": "up"}, "transposition: must be an integer, not 'up'"),
        ({"omit_given": "yes"}, "omit_given: must be True or False, not 'yes'"),
        ({"return_resume_token": 1}, "return_resume_token: must be True or False, not 1"),
        ({"resume": "token"}, "resume: must be a Piece, a ResumePoint or bytes, not 'token'"),
        ({"resume": ResumePoint(b"\xff")}, "resume: is not a resume point, or was changed"),
        ({"resume": parse_piece(piece_message())}, "resume: the piece has no resume token: set return_resume_token"),
        ({"resume": ResumePoint(b""), "seed": 7}, "seed: must not be given beside resume"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_name(options: Any, violation: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        build_generate_request(options)
    assert violation in str(caught.value)
    assert len(caught.value.violations) == 1


def test_all_violations_are_reported_together() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        build_generate_request({"candidates": "x", "rewrite": [1, Region(), 2]})  # type: ignore[typeddict-item, list-item]
    assert [violation.field for violation in caught.value.violations] == ["candidates", "rewrite[0]", "rewrite[2]"]


async def test_an_unknown_argument_is_refused(server: "ScriptedServer", connect: "Connect") -> None:
    client = connect(server.address)
    for method in ("generate", "generate_many", "stream"):
        with pytest.raises(TypeError, match=rf"{method}\(\) got an unexpected keyword argument 'bar'"):
            await client(method, *([2] if method == "generate_many" else []), bar=8)
    assert server.requests == []


async def test_the_clients_send_the_fields(server: "ScriptedServer", connect: "Connect") -> None:
    options: GenerateOptions = {
        "given": MELODY,
        "rewrite": [Region(bars=(5, 6))],
        "constraints": Constraints(scale="A minor", chords="Am F C G"),
        "candidates": 16,
        "timeout_seconds": 20,
        "wait_for_ready": True,
    }
    client = connect(server.address)
    await client("generate", **options)
    await client("generate_many", 4, **options)
    await client.updates(**options)
    request = build_generate_request(options)
    many = build_generate_request(options, pieces=4)
    assert server.requests == [request, many, pb.StreamGenerateRequest(request=request)]
    assert (request.candidates, request.constraints.scale, many.pieces) == (16, "A minor", 4)


# Continuing a piece


async def test_a_piece_is_continued_with_the_fields_of_its_request(
    server: "ScriptedServer", connect: "Connect", tmp_path: Path
) -> None:
    message = piece_message()
    message.pieces[0].resume_token = b"token"
    server.script.extend([lambda *_: message] * 3)
    client = connect(server.address)
    options: GenerateOptions = {"given": MIDI, "model": "origin", "bars": 8, "transposition": 2}
    piece = await client("generate", **options, seed=7, candidates=16, return_resume_token=True)
    assert piece.resume_token == b"token"
    expected = build_generate_request(options)
    expected.resume_token = b"token"

    saved = ResumePoint.load(piece.resume_point.save(tmp_path / "piece.resume"))
    assert saved == piece.resume_point
    for resume in (piece, saved):
        again = await client("generate", resume=resume)  # up to the same length
        assert server.requests[-1] == expected
        assert again.resume_point == saved
    longer = build_generate_request({"resume": piece, "max_bars": 32, "return_resume_token": True})
    expected.open.max_bars = 32
    expected.return_resume_token = True
    assert longer == expected


async def test_a_piece_without_a_token_has_no_resume_point(server: "ScriptedServer", connect: "Connect") -> None:
    piece = await connect(server.address)("generate")
    assert (piece.resume_token, piece.resume_point) == (b"", None)


# Other requests


def test_a_stream_has_resume_tokens_if_asked_for() -> None:
    assert build_stream_request({"bars": 2}) == pb.StreamGenerateRequest(request=pb.GenerateRequest(bars=2))
    assert build_stream_request({"return_resume_token": True}) == pb.StreamGenerateRequest(
        request=pb.GenerateRequest(return_resume_token=True), resume_tokens=True
    )


def test_a_version_of_a_model_is_part_of_each_request() -> None:
    assert build_generate_request({"model": "piano", "model_version": 2}).model_version == 2
    assert build_evaluate_request([MIDI], "piano", 2).model_version == 2
    assert build_get_model_request("piano", 2) == pb.GetModelRequest(name="piano", version=2)
    assert build_get_model_request(None, None) == pb.GetModelRequest()
    for wrong in ("2", 2.5, 2**63):
        with pytest.raises(InvalidRequestError, match="model_version"):
            build_generate_request({"model_version": wrong})  # type: ignore[typeddict-item]


def test_pieces_to_evaluate_are_those_that_can_be_given(midi_path: Path) -> None:
    midi_path.write_bytes(b"MThd file")
    request = build_evaluate_request([MIDI, str(midi_path), MELODY, GivenPiece(MELODY, meter=Meter(2, 2))], "origin")
    assert request == pb.EvaluateRequest(
        model="origin",
        pieces=[
            pb.GivenPiece(midi=MIDI),
            pb.GivenPiece(midi=b"MThd file"),
            pb.GivenPiece(notes=pb.NoteList(notes=NOTES)),
            pb.GivenPiece(notes=pb.NoteList(notes=NOTES, meter=pb.Meter(numerator=2, denominator=2))),
        ],
    )


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (MIDI, "pieces: must be a sequence of pieces"),
        ("a.mid", "pieces: must be a sequence of pieces"),
        ([MIDI, 5], r"pieces\[1\]: must be MIDI bytes"),
    ],
)
def test_wrong_pieces_to_evaluate_are_refused(pieces: object, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        build_evaluate_request(pieces, None)
