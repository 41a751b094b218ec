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

    assert response.length_ticks == 8 * 4 * 480
    assert response.token_count == 8 * 16 * 4
    assert response.finish_reason == pb.FINISH_REASON_LENGTH
    assert response.seed == 7
    assert (response.model, response.model_digest) == ("quartet", "d" * 64)
    assert response.ticks_per_quarter == 480
    assert response.meter == pb.Meter(numerator=4, denominator=4)
    assert (response.tempo_bpm, response.program) == (96.0, 19)
    assert 0 <= response.timing.queue_seconds <= response.timing.first_token_seconds
    assert response.timing.first_token_seconds <= response.timing.total_seconds < 30


async def test_the_midi_says_what_the_notes_say(stub: Stub) -> None:
    response = await stub.Generate(
        pb.GenerateRequest(bars=4, seed=1, tempo_bpm=120, program=6, meter=pb.Meter(numerator=3, denominator=4))
    )
    score = read_midi(response.midi)

    notes = [Note(n.onset_ticks, n.duration_ticks, n.pitch, n.velocity, n.voice) for n in response.notes]
    assert len(notes) > 10
    assert notes == sorted(notes, key=lambda note: (note.onset, note.voice))
    # Reading orders the voices by pitch, so voices are compared as sets.
    assert {note._replace(voice=0) for note in score.notes} == {note._replace(voice=0) for note in notes}
    assert score.length_ticks == response.length_ticks == 4 * 3 * 480
    assert (score.meter, score.tempo_bpm, score.program) == (Meter(3, 4), 120.0, 6)


async def test_without_a_length_the_model_ends_the_piece(stub: Stub) -> None:
    response = await stub.Generate(pb.GenerateRequest(seed=3))

    assert response.finish_reason == pb.FINISH_REASON_END
    steps = response.length_ticks // 120
    assert response.token_count == steps * 4 + 1
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
async def test_a_length_asked_for_is_kept_exactly(stub: Stub, request_: pb.GenerateRequest, steps: int) -> None:
    response = await stub.Generate(request_)

    assert response.length_ticks == steps * 120
    assert response.finish_reason == pb.FINISH_REASON_LENGTH


async def test_the_same_request_gives_the_same_bytes_alone_and_in_company(stub: Stub) -> None:
    request = pb.GenerateRequest(bars=4, seed=7)
    alone = await stub.Generate(request)
    others = [stub.Generate(pb.GenerateRequest(bars=bars, seed=bars)) for bars in range(1, 5)]
    together = await asyncio.gather(stub.Generate(request), *others)

    assert together[0].midi == alone.midi
    assert together[0].notes == alone.notes
    assert len({response.midi for response in together}) == 5


async def test_a_seed_is_drawn_where_none_is_given_and_can_be_used_again(stub: Stub) -> None:
    first, second = await asyncio.gather(*(stub.Generate(pb.GenerateRequest(bars=1)) for _ in range(2)))
    again = await stub.Generate(pb.GenerateRequest(bars=1, seed=first.seed))

    assert first.seed != second.seed
    assert again.midi == first.midi


async def test_seed_zero_is_a_seed(stub: Stub) -> None:
    assert (await stub.Generate(pb.GenerateRequest(bars=1, seed=0))).seed == 0
    assert (await stub.Generate(pb.GenerateRequest(bars=1, seed=2**64 - 1))).seed == 2**64 - 1


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
