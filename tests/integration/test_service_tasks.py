"""Every kind of request, on the shipped models: what is given comes back, what is asked for is obeyed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
import pytest_asyncio

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.harmony import parse_chord, parse_scale
from music.midi import read_midi, write_midi
from music.score import Meter, MeterChange, Note, Score
from server.app import App
from server.engine.snapshot import Snapshot
from server.rpc.resume_token import ResumePoint
from server.settings import Settings

Stub: TypeAlias = "pb_grpc.GenerationServiceAsyncStub"  # known to type checkers only
BAR = 1920
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app() -> AsyncIterator[App]:
    settings = Settings(port=0, metrics_port=0, models=Path("models"), provider="cpu", precision="float32")
    async with App(settings) as app:
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(app: App) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(app.address) as channel:
        yield pb_grpc.GenerationServiceStub(channel)


async def composed(stub: Stub, **fields: object) -> pb.Piece:
    request = pb.GenerateRequest(bars=4, seed=11, **fields)  # type: ignore[arg-type]
    return (await stub.Generate(request)).pieces[0]


def in_voices(piece: pb.Piece, *voices: int) -> list[pb.Note]:
    return [note for note in piece.notes if note.voice in voices]


def given_notes(piece: pb.Piece, notes: list[pb.Note] | None = None) -> pb.GivenPiece:
    return pb.GivenPiece(
        notes=pb.NoteList(notes=notes or piece.notes, length_ticks=piece.length_ticks, meter=piece.meter)
    )


async def test_a_primer_is_continued(stub: Stub) -> None:
    primer = await composed(stub)
    for given in (pb.GivenPiece(midi=primer.midi), given_notes(primer)):
        response = await stub.Generate(pb.GenerateRequest(given=given, bars=2, seed=3))
        (piece,) = response.pieces

        assert [note for note in piece.notes if note.onset_ticks < 4 * BAR] == list(primer.notes)
        assert piece.length_ticks == 6 * BAR
        assert (response.given.included, response.given.length_ticks) == (True, 4 * BAR)
        assert response.given.meter_known
        assert not response.given.changed_notes
        assert piece.token_count == 2 * 16 * 4

        alone = (await stub.Generate(pb.GenerateRequest(given=given, bars=2, seed=3, omit_given=True))).pieces[0]
        assert alone.length_ticks == 2 * BAR
        added = [note for note in piece.notes if note.onset_ticks >= 4 * BAR]
        for note in added:
            note.onset_ticks -= 4 * BAR
        assert list(alone.notes) == added
        assert read_midi(alone.midi).length_ticks == 2 * BAR


@pytest.mark.parametrize("model", ["chorales", "folk"])
async def test_the_meters_of_a_given_piece_stay_where_they_are(stub: Stub, model: str) -> None:
    # A quarter, two bars of 3/4, and a bar of 6/8.
    notes = tuple(Note(onset, 480, 60 + onset % 7) for onset in range(0, 4800, 480))
    score = Score(notes, 4800, Meter(3, 4), 480, meter_changes=(MeterChange(3360, Meter(6, 8)),))
    given = pb.GivenPiece(midi=write_midi(score))
    changes = [pb.MeterChange(tick=3360, meter=pb.Meter(numerator=6, denominator=8))]

    request = pb.GenerateRequest(model=model, given=given, bars=2, seed=3)
    response = await stub.Generate(request)
    (piece,) = response.pieces
    assert (piece.length_ticks, piece.pickup_ticks, piece.meter.numerator) == (4800 + 2 * 1440, 480, 3)
    assert list(piece.meter_changes) == changes
    again = read_midi(piece.midi)
    assert (again.meter, again.pickup_ticks, again.meter_changes) == (score.meter, 480, score.meter_changes)
    assert response.given.meter_changes == 1
    assert "meter_changes" not in response.given.left_out
    async for message in stub.StreamGenerate(pb.StreamGenerateRequest(request=request)):
        if message.HasField("start"):
            assert list(message.start.meter_changes) == changes

    request.omit_given = True
    (added,) = (await stub.Generate(request)).pieces
    assert (added.length_ticks, added.pickup_ticks, added.meter.numerator) == (2 * 1440, 0, 6)
    assert not added.meter_changes

    rewrite = [pb.Region(bars=pb.BarRange(first=3, last=3))]
    (last_bar,) = (await stub.Generate(pb.GenerateRequest(model=model, given=given, rewrite=rewrite, seed=3))).pieces
    kept = [note.pitch for note in last_bar.notes if note.onset_ticks < 3360]
    assert kept == [note.pitch for note in notes if note.onset < 3360]
    assert list(last_bar.meter_changes) == changes


async def test_bars_are_infilled(stub: Stub) -> None:
    whole = await composed(stub)
    rewrite = [pb.Region(bars=pb.BarRange(first=2, last=3))]
    request = pb.GenerateRequest(given=given_notes(whole), rewrite=rewrite, candidates=4, pieces=4, seed=5)
    response = await stub.Generate(request)

    def outside(piece: pb.Piece) -> list[pb.Note]:
        return [note for note in piece.notes if not BAR <= note.onset_ticks < 3 * BAR]

    assert len(response.pieces) == response.candidates == 4
    for piece in response.pieces:
        assert outside(piece) == outside(whole)
        assert piece.length_ticks == 4 * BAR
    ranks = [piece.given_nats for piece in response.pieces]
    assert ranks == sorted(ranks)
    assert ranks[0] < ranks[-1]
    assert sorted(piece.candidate for piece in response.pieces) == [0, 1, 2, 3]
    third = response.pieces[2]
    request = pb.GenerateRequest(
        given=given_notes(whole), rewrite=rewrite, candidates=4, candidate=third.candidate, seed=5
    )
    assert list((await stub.Generate(request)).pieces) == [third]


async def test_copies_are_returned_only_if_there_are_not_enough_different_pieces(stub: Stub) -> None:
    request = pb.GenerateRequest(
        given=given_notes(await composed(stub)), rewrite=[pb.Region(voices=[3])], candidates=32, pieces=32, seed=1
    )
    everything = (await stub.Generate(request)).pieces
    different = len({piece.midi for piece in everything})
    assert 2 < different < 32
    assert sorted(piece.candidate for piece in everything) == list(range(32))

    for count in (2, different, different + 1):
        request.pieces = count
        pieces = (await stub.Generate(request)).pieces
        assert len(pieces) == count
        assert len({piece.midi for piece in pieces}) == min(count, different)
        places = [list(everything).index(piece) for piece in pieces]
        assert places[0] == 0
        assert places == sorted(places)


async def test_a_melody_is_harmonised(stub: Stub) -> None:
    soprano = in_voices(await composed(stub), 0)
    given = pb.GivenPiece(notes=pb.NoteList(notes=soprano, length_ticks=4 * BAR))
    response = await stub.Generate(
        pb.GenerateRequest(given=given, rewrite=[pb.Region(voices=[1, 2, 3])], candidates=8, seed=2)
    )
    (piece,) = response.pieces

    assert in_voices(piece, 0) == soprano
    assert {note.voice for note in piece.notes} == {0, 1, 2, 3}
    assert 0 < piece.given_nats < piece.nats


async def test_constraints_are_obeyed(stub: Stub) -> None:
    chords = ["Am", "F", "C", "G/B"]
    constraints = pb.Constraints(
        scale="A minor",
        chords=pb.ChordProgression(chords=[pb.Chord(symbol=symbol) for symbol in chords]),
        ranges=[pb.VoiceRange(voice=0, lowest=60, highest=72)],
        no_rests=True,
        no_parallels=True,
    )
    piece = await composed(stub, constraints=constraints)

    tones = [parse_chord(symbol).pitch_classes for symbol in chords]
    for note in piece.notes:
        assert note.pitch % 12 in parse_scale("A minor").pitch_classes
        for tick in range(note.onset_ticks, note.onset_ticks + note.duration_ticks, 120):
            assert note.pitch % 12 in tones[tick // BAR]
    assert all(60 <= note.pitch <= 72 for note in in_voices(piece, 0))
    assert sum(note.duration_ticks for note in piece.notes) == 4 * 4 * BAR


async def test_candidates_are_independent_pieces_with_seeds_of_their_own(stub: Stub) -> None:
    response = await stub.Generate(pb.GenerateRequest(bars=2, candidates=5, pieces=3, seed=9))

    assert len(response.pieces) == 3
    for piece in response.pieces:
        again = (await stub.Generate(pb.GenerateRequest(bars=2, seed=piece.seed))).pieces[0]
        assert again.midi == piece.midi
        assert again.nats == piece.nats
    best = (await stub.Generate(pb.GenerateRequest(bars=2, candidates=5, seed=9))).pieces
    assert list(best) == list(response.pieces[:1])


@pytest.mark.parametrize("seed", [None, 9])
async def test_any_piece_of_several_comes_back(stub: Stub, seed: int | None) -> None:
    given = given_notes(await composed(stub))
    soprano = pb.GivenPiece(midi=(await composed(stub)).midi, voices=[0, 1, 2, 3])
    requests = {
        "new": (pb.GenerateRequest(bars=2), False),
        "continued": (pb.GenerateRequest(bars=2, given=given), False),
        "all rewritten": (pb.GenerateRequest(given=given, rewrite=[pb.Region()]), False),
        "infilled": (pb.GenerateRequest(given=given, rewrite=[pb.Region(bars=pb.BarRange(first=2, last=3))]), True),
        "harmonised": (pb.GenerateRequest(given=soprano, rewrite=[pb.Region(voices=[1, 2, 3])]), True),
    }
    for name, (request, particles) in requests.items():
        many = pb.GenerateRequest(seed=seed, candidates=4, pieces=3)
        many.MergeFrom(request)
        response = await stub.Generate(many)

        assert response.particles == particles, name
        assert len({piece.seed for piece in response.pieces}) == (1 if particles else 3), name
        for piece in response.pieces:
            again = pb.GenerateRequest(seed=piece.seed, candidates=1)
            if particles:
                assert seed in (None, piece.seed)
                again = pb.GenerateRequest(seed=piece.seed, candidates=response.candidates, candidate=piece.candidate)
            again.MergeFrom(request)
            (found,) = (await stub.Generate(again)).pieces
            assert (found.midi, found.nats) == (piece.midi, piece.nats), name


async def test_the_default_number_of_particles_comes_back(stub: Stub) -> None:
    given = given_notes(await composed(stub))
    request = pb.GenerateRequest(given=given, rewrite=[pb.Region(bars=pb.BarRange(first=4, last=4), voices=[1])])
    response = await stub.Generate(request)
    (piece,) = response.pieces
    assert response.particles
    assert response.candidates == 64

    request.seed, request.candidate, request.candidates = piece.seed, piece.candidate, response.candidates
    assert (await stub.Generate(request)).pieces[0].midi == piece.midi


async def test_output_fields(stub: Stub) -> None:
    plain = await composed(stub)
    shape = pb.VelocityShape(velocity=60, downbeat_accent=30, beat_accent=10)
    piece = await composed(
        stub, transposition=-5, voice_programs=[40, 41], program=42, velocity_shape=shape, tempo_bpm=72.0
    )

    assert [note.pitch + 5 for note in piece.notes] == [note.pitch for note in plain.notes]
    assert list(piece.programs) == [40, 41, 42, 42]
    assert {note.velocity for note in piece.notes if note.onset_ticks % BAR == 0} == {90}
    assert piece.tempo_bpm == 72.0
    score = read_midi(piece.midi)
    assert sorted(score.program_of(voice) for voice in range(4)) == [40, 41, 42, 42]


@pytest.mark.parametrize("model", ["chorales", "folk"])
async def test_a_stream_brings_every_note_once_and_ends_with_the_response(stub: Stub, model: str) -> None:
    melody = (await stub.Generate(pb.GenerateRequest(model=model, bars=2, seed=1))).pieces[0]
    requests = [
        pb.GenerateRequest(model=model, bars=4, seed=3),
        pb.GenerateRequest(model=model, seed=4, open=pb.OpenLength(max_bars=4)),
        pb.GenerateRequest(model=model, bars=2, seed=3, given=given_notes(melody), transposition=2),
        pb.GenerateRequest(model=model, bars=2, seed=3, given=given_notes(melody), omit_given=True),
        pb.GenerateRequest(model=model, bars=2, seed=3, candidates=3),
        pb.GenerateRequest(
            model=model,
            seed=3,
            candidates=1,
            given=given_notes(melody),
            rewrite=[pb.Region(bars=pb.BarRange(first=1, last=1))],
        ),
    ]
    for request in requests:
        unary = await stub.Generate(request)
        messages = [m async for m in stub.StreamGenerate(pb.StreamGenerateRequest(request=request))]

        first, last = messages[0], messages[-1]
        assert first.HasField("start")
        assert first.start.seed == request.seed
        assert not any(message.HasField("start") for message in messages[1:])
        assert [message.HasField("response") for message in messages] == [False] * (len(messages) - 1) + [True]
        unary.timing.CopyFrom(last.response.timing)
        assert last.response == unary
        notes = [note for message in messages for note in message.notes]
        in_order = sorted(notes, key=lambda note: (note.onset_ticks, note.voice, note.pitch))
        assert in_order == sorted(unary.pieces[0].notes, key=lambda note: (note.onset_ticks, note.voice, note.pitch))
        watermark = 0
        for message in messages:
            for note in message.notes:
                assert note.onset_ticks + note.duration_ticks >= watermark
            assert message.watermark_ticks >= watermark
            watermark = message.watermark_ticks
            assert all(note.onset_ticks + note.duration_ticks >= watermark for note in message.sounding)
        assert watermark == unary.pieces[0].length_ticks


async def resumed_in_every_way(stub: Stub, request: pb.GenerateRequest, shorter: pb.GenerateRequest) -> None:
    """A stream cut at each message goes on to the whole piece, and a finished shorter piece to the same length."""
    whole = (await stub.Generate(request)).pieces[0]
    part = (await stub.Generate(shorter)).pieces[0]
    tokens = []
    call = stub.StreamGenerate(pb.StreamGenerateRequest(request=request, resume_tokens=True))
    async for message in call:
        tokens.append(message.resume_token)
    for token in {token for token in tokens if token}:
        assert len(token) <= 16 << 10
        piece = (await stub.Generate(resuming(request, token))).pieces[0]
        piece.candidate = whole.candidate
        assert piece == whole
    assert len(tokens) > 1
    longer = (await stub.Generate(resuming(request, part.resume_token))).pieces[0]
    assert longer.length_ticks == whole.length_ticks
    begun = [(note.onset_ticks, note.pitch) for note in longer.notes if note.onset_ticks < part.length_ticks]
    assert begun == [(note.onset_ticks, note.pitch) for note in part.notes]


def resuming(request: pb.GenerateRequest, token: bytes) -> pb.GenerateRequest:
    """The request, as it continues a piece."""
    again = pb.GenerateRequest()
    again.CopyFrom(request)
    again.ClearField("seed")
    again.candidates = 0
    again.resume_token = token
    return again


@pytest.mark.parametrize("model", ["chorales", "folk"])
async def test_pieces_are_resumed(stub: Stub, model: str) -> None:
    melody = (await stub.Generate(pb.GenerateRequest(model=model, bars=2, seed=1))).pieces[0]
    await resumed_in_every_way(
        stub,
        pb.GenerateRequest(model=model, bars=4, seed=3),
        pb.GenerateRequest(model=model, bars=2, seed=3, return_resume_token=True),
    )
    await resumed_in_every_way(
        stub,
        pb.GenerateRequest(model=model, bars=4, seed=3, given=given_notes(melody)),
        pb.GenerateRequest(model=model, bars=1, seed=3, given=given_notes(melody), return_resume_token=True),
    )
    constraints = pb.Constraints(scale="A minor", no_rests=True)
    await resumed_in_every_way(
        stub,
        pb.GenerateRequest(model=model, bars=3, seed=3, constraints=constraints),
        pb.GenerateRequest(model=model, steps=33, seed=3, constraints=constraints, return_resume_token=True),
    )
    rewrite = [pb.Region(bars=pb.BarRange(first=2, last=2))]
    await resumed_in_every_way(
        stub,
        pb.GenerateRequest(model=model, bars=2, seed=3, candidates=1, given=given_notes(melody), rewrite=rewrite),
        pb.GenerateRequest(
            model=model, seed=3, candidates=1, given=given_notes(melody), rewrite=rewrite, return_resume_token=True
        ),
    )


@pytest.mark.parametrize("model", ["chorales", "folk"])
async def test_a_piece_whose_state_is_older_than_its_tokens_is_resumed(
    stub: Stub, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind: list[int] = []
    unchanged = ResumePoint.snapshot

    def snapshot(point: ResumePoint, *arguments: Any) -> Snapshot:
        found = unchanged(point, *arguments)
        behind.append(len(found.tokens) - found.state_tokens)
        return found

    monkeypatch.setattr(ResumePoint, "snapshot", snapshot)
    for seed in range(8):  # the end token comes at any step of a chunk
        whole = pb.GenerateRequest(model=model, open=pb.OpenLength(max_bars=24), seed=seed, return_resume_token=True)
        (ended,) = (await stub.Generate(whole)).pieces
        again = pb.GenerateRequest(resume_token=ended.resume_token)
        again.MergeFrom(whole)
        (piece,) = (await stub.Generate(again)).pieces
        piece.resume_token = ended.resume_token
        assert piece == ended
    assert max(behind) > 0
