from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.fuzz.facts import ModelFacts
from bench.fuzz.oracle import answer_problems, evaluation_problems
from fantasia.v1 import generation_pb2 as pb
from music.score import Note
from tests.unit.bench.fuzz.answers import BASS, SOPRANO, answer, note_message


def harmonising() -> pb.GenerateRequest:
    """The soprano is given, the bass is written."""
    notes = pb.NoteList(notes=map(note_message, SOPRANO), meter=pb.Meter(numerator=4, denominator=4), tempo_bpm=100.0)
    return pb.GenerateRequest(
        given=pb.GivenPiece(notes=notes), rewrite=[pb.Region(voices=[1])], seed=5, candidates=1, model="duet"
    )


def test_a_right_answer_has_no_problem(duet: ModelFacts) -> None:
    request = harmonising()
    constraints = request.constraints
    constraints.scale, constraints.no_rests, constraints.no_parallels = "C major", True, True
    for symbol in ("C", "G", "C"):
        constraints.chords.chords.add(symbol=symbol, length=2 if symbol == "C" and not constraints.chords.chords else 1)
    constraints.chords.unit = pb.CHORD_UNIT_BEAT
    constraints.ranges.add(voice=1, lowest=48, highest=55)

    assert answer_problems(request, answer(SOPRANO + BASS), duet) == []


CHANGES: list[tuple[str, Callable[[pb.GenerateResponse], object]]] = [
    ("given notes are missing", lambda a: a.pieces[0].notes[0].__setattr__("pitch", 71)),
    ("given notes are missing", lambda a: a.pieces[0].notes.pop(0)),
    ("given notes are missing", lambda a: a.pieces[0].notes[0].__setattr__("velocity", 80)),
    ("written outside the regions", lambda a: a.pieces[0].notes[1].__setattr__("voice", 0)),
    ("off the grid", lambda a: a.pieces[0].notes[1].__setattr__("onset_ticks", 1)),
    ("out of range", lambda a: a.pieces[0].notes[1].__setattr__("pitch", 61)),
    ("another velocity", lambda a: a.pieces[0].notes[1].__setattr__("velocity", 81)),
    ("voice that the model does not have", lambda a: a.pieces[0].notes[1].__setattr__("voice", 2)),
    ("lasts longer than the piece", lambda a: a.pieces[0].notes[-1].__setattr__("duration_ticks", 481)),
    ("2040 ticks instead of 1920", lambda a: a.pieces[0].__setattr__("length_ticks", 2040)),
    ("not sorted", lambda a: a.pieces[0].notes.reverse()),
    ("nats are", lambda a: a.pieces[0].__setattr__("nats", float("nan"))),
    ("the tempo is", lambda a: a.pieces[0].__setattr__("tempo_bpm", 99.0)),
    ("the meter is another one", lambda a: a.pieces[0].ClearField("meter")),
    ("a resume token is missing, or too much", lambda a: a.pieces[0].__setattr__("resume_token", b"x")),
    ("ended by itself", lambda a: a.pieces[0].__setattr__("finish_reason", pb.FINISH_REASON_END)),
    ("the seed is another one", lambda a: a.pieces[0].__setattr__("seed", 6)),
    ("the digest is another one", lambda a: a.__setattr__("model_digest", "e" * 64)),
    ("2 candidates", lambda a: a.__setattr__("candidates", 2)),
    ("there are no pieces", lambda a: a.pieces.pop()),
    ("report of the given piece is missing", lambda a: a.ClearField("given")),
    ("a candidate has no such number", lambda a: a.pieces[0].__setattr__("candidate", 1)),
]  # fmt: skip


@pytest.mark.parametrize(("problem", "change"), CHANGES)
def test_a_wrong_answer_is_found(
    problem: str, change: Callable[[pb.GenerateResponse], object], duet: ModelFacts
) -> None:
    wrong = answer(SOPRANO + BASS)
    change(wrong)
    found = answer_problems(harmonising(), wrong, duet)

    assert any(problem in each for each in found), found


@pytest.mark.parametrize(
    ("problem", "constraints"),
    [
        ("out of the scale", pb.Constraints(scale="Eb minor")),
        ("out of the scale", pb.Constraints(pitch_classes=pb.PitchClasses(values=[0]))),
        ("out of range", pb.Constraints(ranges=[pb.VoiceRange(voice=1, lowest=48, highest=54)])),
        ("no tone of chord 0", pb.Constraints(chords=pb.ChordProgression(chords=[pb.Chord(symbol="F")]))),
        ("not the bass of chord 0", pb.Constraints(chords=pb.ChordProgression(chords=[pb.Chord(symbol="C/E")]))),
    ],
)
def test_a_broken_constraint_is_found(problem: str, constraints: pb.Constraints, duet: ModelFacts) -> None:
    request = harmonising()
    request.constraints.CopyFrom(constraints)
    found = answer_problems(request, answer(SOPRANO + BASS), duet)

    assert any(problem in each for each in found), found


def test_a_rest_is_found(duet: ModelFacts) -> None:
    request = harmonising()
    request.constraints.no_rests = True

    assert answer_problems(request, answer(SOPRANO + BASS[1:]), duet) == ["candidate 0: voice 1 rests at tick 0"]


def test_parallels_are_found(duet: ModelFacts) -> None:
    request = harmonising()
    request.constraints.no_parallels = True
    octaves = [note._replace(pitch=note.pitch - 24, velocity=80, voice=1) for note in SOPRANO]

    assert answer_problems(request, answer(SOPRANO + octaves), duet) == [
        "candidate 0: voices 0 and 1 make parallels at tick 480"
    ]


@pytest.mark.parametrize(
    ("last", "is_natural"),
    [
        ([(1440, 480, 64), (1440, 480, 48)], True),
        ([(1440, 480, 64), (1440, 480, 52)], False),  # E in the bass
        ([(1440, 480, 65), (1440, 480, 48)], False),  # no triad
        ([(1440, 480, 64), (1680, 240, 48)], False),  # not together
        ([(1680, 240, 64), (1680, 240, 48)], False),  # too short
        ([(1440, 480, 64)], False),  # one voice only
    ],
)
def test_endings(last: list[tuple[int, int, int]], is_natural: bool, duet: ModelFacts) -> None:
    request = pb.GenerateRequest(model="duet", bars=1, seed=5)
    request.constraints.natural_ending, request.constraints.scale = True, "C major"
    notes = [Note(onset, duration, pitch, 80, voice) for voice, (onset, duration, pitch) in enumerate(last)]
    response = answer(notes)
    response.ClearField("given")
    found = answer_problems(request, response, duet)

    assert (found == []) == is_natural, found


@pytest.mark.parametrize(
    ("length", "ticks", "problem"),
    [
        (pb.GenerateRequest(steps=4), 1920 + 480, ""),
        (pb.GenerateRequest(steps=5), 1920 + 480, "instead of 2520"),
        (pb.GenerateRequest(bars=1), 2 * 1920, ""),
        (pb.GenerateRequest(seconds=0.3), 1920 + 240, ""),
        (pb.GenerateRequest(seconds=0.31), 1920 + 240, "instead of 2280"),
        (pb.GenerateRequest(open=pb.OpenLength(max_bars=1)), 1920 + 480, ""),
        (pb.GenerateRequest(open=pb.OpenLength(max_bars=1)), 1920 + 1921, "not 0 to 3840"),
        (pb.GenerateRequest(open=pb.OpenLength(min_bars=1, max_bars=2)), 1920 + 480, "not 3840 to 5760"),
        (pb.GenerateRequest(), 1920 + 64 * 120, ""),
        (pb.GenerateRequest(), 1920 + 65 * 120, "not 0 to 9600"),
    ],
)
def test_lengths_of_continued_pieces(length: pb.GenerateRequest, ticks: int, problem: str, duet: ModelFacts) -> None:
    request = harmonising()
    request.ClearField("rewrite")
    request.MergeFrom(length)
    added = Note(1920, 120, 70, 80, 0)
    found = answer_problems(request, answer([*SOPRANO, added], ticks), duet)

    assert found == [] if not problem else any(problem in each for each in found), found


def test_what_is_left_out_of_a_piece_counts_from_its_start(duet: ModelFacts) -> None:
    request = harmonising()
    request.ClearField("rewrite")
    request.omit_given, request.steps, request.transposition = True, 4, 2
    response = answer([Note(0, 480, 82, 80, 0)], 480)
    response.given.included = False

    assert answer_problems(request, response, duet) == []
    assert answer_problems(request, answer([Note(0, 480, 83, 80, 0)], 480), duet) != []


def test_a_midi_file_with_other_notes_is_found(duet: ModelFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.fuzz.oracle._MIDI_EVERY", 1)
    right = answer(SOPRANO + BASS)
    assert answer_problems(harmonising(), right, duet) == []
    right.pieces[0].midi = answer(SOPRANO + BASS[1:]).pieces[0].midi
    assert "the MIDI file has other notes" in answer_problems(harmonising(), right, duet)[0]
    right.pieces[0].midi = b"MThd"
    assert "mido does not read the MIDI file" in answer_problems(harmonising(), right, duet)[0]


def test_evaluations(duet: ModelFacts) -> None:
    request = pb.EvaluateRequest(model="duet", pieces=[harmonising().given])
    evaluation = pb.Evaluation(nats=8.0, nats_per_note_step=0.5, token_count=33)
    evaluation.notes.extend(pb.NoteEvaluation(note=note_message(note), nats=2.0) for note in SOPRANO)
    response = pb.EvaluateResponse(evaluations=[evaluation], model="duet", model_digest="d" * 64)

    assert evaluation_problems(request, response, duet) == []
    response.evaluations[0].nats = 7.0
    assert evaluation_problems(request, response, duet) == ["pieces[0]: notes have more nats than the piece"]
    del response.evaluations[:]
    assert evaluation_problems(request, response, duet) == ["0 evaluations of 1 pieces"]


@pytest.mark.parametrize(
    ("tokenizer", "differ", "found"), [("events", True, False), ("events", False, True), ("grid", True, True)]
)
def test_velocities_are_the_models_where_it_follows_a_given_piece_with_dynamics(
    tokenizer: str, differ: bool, found: bool, duet: ModelFacts
) -> None:
    message = pb.Model()
    message.CopyFrom(duet.message)
    message.tokenizer = tokenizer
    soprano = [note._replace(velocity=note.velocity + index * differ) for index, note in enumerate(SOPRANO)]
    request = harmonising()
    request.given.notes.ClearField("notes")
    request.given.notes.notes.extend(map(note_message, soprano))
    loud = [note._replace(velocity=101) for note in BASS]
    problems = answer_problems(request, answer([*soprano, *loud]), replace(duet, message=message))
    assert any("another velocity" in problem for problem in problems) is found, problems
