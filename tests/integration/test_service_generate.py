"""`Generate` over a real socket, with the real engine."""

import asyncio
from typing import TypeAlias

import pytest

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.midi import read_midi
from music.score import Meter, Note

Stub: TypeAlias = "pb_grpc.GenerationServiceAsyncStub"  # known to type checkers only


async def test_a_piece_of_eight_bars(stub: Stub) -> None:
    response = await stub.Generate(pb.GenerateRequest(bars=8, seed=7))
    (piece,) = response.pieces

    assert piece.length_ticks == 8 * 4 * 480
    assert piece.token_count == 8 * 16 * 4
    assert piece.finish_reason == pb.FINISH_REASON_LENGTH
    assert piece.seed == 7
    assert (response.model, response.model_digest, response.candidates) == ("quartet", "d" * 64, 1)
    assert piece.ticks_per_quarter == 480
    assert piece.meter == pb.Meter(numerator=4, denominator=4)
    assert (piece.tempo_bpm, list(piece.programs)) == (96.0, [19] * 4)
    assert 0 <= response.timing.queue_seconds <= response.timing.first_token_seconds
    assert response.timing.first_token_seconds <= response.timing.total_seconds < 30


async def test_the_midi_equals_the_notes(stub: Stub) -> None:
    response = await stub.Generate(
        pb.GenerateRequest(bars=4, seed=1, tempo_bpm=120, program=6, meter=pb.Meter(numerator=3, denominator=4))
    )
    piece = response.pieces[0]
    score = read_midi(piece.midi)

    notes = [Note(n.onset_ticks, n.duration_ticks, n.pitch, n.velocity, n.voice) for n in piece.notes]
    assert len(notes) > 10
    assert notes == sorted(notes, key=lambda note: (note.onset, note.voice))
    # Reading orders the voices by pitch, so voices are compared as sets.
    assert {note._replace(voice=0) for note in score.notes} == {note._replace(voice=0) for note in notes}
    assert score.length_ticks == piece.length_ticks == 4 * 3 * 480
    assert (score.meter, score.tempo_bpm, score.program) == (Meter(3, 4), 120.0, 6)


async def test_without_a_length_the_model_ends_the_piece(stub: Stub) -> None:
    piece = (await stub.Generate(pb.GenerateRequest(seed=3))).pieces[0]

    assert piece.finish_reason == pb.FINISH_REASON_END
    steps = piece.length_ticks // 120
    assert piece.token_count == steps * 4 + 1
    assert 1 <= steps < 512


@pytest.mark.parametrize(
    ("request_", "steps"),
    [
        (pb.GenerateRequest(steps=1), 1),
        (pb.GenerateRequest(steps=512), 512),
        (pb.GenerateRequest(bars=32), 512),
        (pb.GenerateRequest(seconds=1.0, tempo_bpm=60), 4),
        (pb.GenerateRequest(seconds=1.01, tempo_bpm=60), 5),
        (pb.GenerateRequest(seconds=1e-9, tempo_bpm=60), 1),
        (pb.GenerateRequest(seconds=128.0, tempo_bpm=60), 512),
    ],
)
async def test_a_requested_length_is_exact(stub: Stub, request_: pb.GenerateRequest, steps: int) -> None:
    piece = (await stub.Generate(request_)).pieces[0]

    assert piece.length_ticks == steps * 120
    assert piece.finish_reason == pb.FINISH_REASON_LENGTH


async def test_the_same_request_gives_the_same_bytes_alone_and_with_others(stub: Stub) -> None:
    request = pb.GenerateRequest(bars=4, seed=7)
    alone = await stub.Generate(request)
    others = [stub.Generate(pb.GenerateRequest(bars=bars, seed=bars)) for bars in range(1, 5)]
    together = await asyncio.gather(stub.Generate(request), *others)

    assert together[0].pieces == alone.pieces
    assert len({response.pieces[0].midi for response in together}) == 5


async def test_a_drawn_seed_can_be_used_again(stub: Stub) -> None:
    first, second = await asyncio.gather(*(stub.Generate(pb.GenerateRequest(bars=1)) for _ in range(2)))
    again = await stub.Generate(pb.GenerateRequest(bars=1, seed=first.pieces[0].seed))

    assert first.pieces[0].seed != second.pieces[0].seed
    assert again.pieces == first.pieces


async def test_seed_zero_is_a_seed(stub: Stub) -> None:
    assert (await stub.Generate(pb.GenerateRequest(bars=1, seed=0))).pieces[0].seed == 0
    assert (await stub.Generate(pb.GenerateRequest(bars=1, seed=2**64 - 1))).pieces[0].seed == 2**64 - 1


async def test_models_are_listed_and_described(stub: Stub) -> None:
    (model,) = (await stub.ListModels(pb.ListModelsRequest())).models

    assert model.name == "quartet"
    assert model.digest == "d" * 64
    assert (model.tokenizer, model.voices, model.steps_per_quarter, model.max_steps) == ("grid", 4, 4, 512)
    assert [(meter.numerator, meter.denominator) for meter in model.meters] == [(4, 4), (3, 4)]
    assert model.default_sampling.temperature == pytest.approx(0.9)
    assert (model.default_sampling.top_k, model.default_tempo_bpm, model.default_program) == (20, 96.0, 19)
    assert (model.parameters, model.provider) == (1234, "ArithmeticProvider")
    assert dict(model.metrics) == {"test_nats_per_token": 0.5}
    for name in ("", "quartet"):
        assert (await stub.GetModel(pb.GetModelRequest(name=name))).model == model
