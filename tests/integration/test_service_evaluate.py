"""`Evaluate` on the shipped models measures what training measures."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status.rpc_status import from_call

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.bundle import load_bundle
from music.midi import read_midi, write_midi
from music.score import Meter, MeterChange, Note, Score
from server.app import App
from server.catalogue import ServedModel
from server.errors import WorkLimitError
from server.rpc.evaluation import Evaluations
from server.rpc.request_limits import RequestLimits
from tests.integration.serving import serving
from tests.integration.statuses import rich_status
from training.evaluation.likelihood import MeterMode, evaluate_pieces


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving("--provider", "cpu", "--max-evaluated-steps", "1000") as (address, _):
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("model", ["chorales", "folk"])
def test_it_equals_the_evaluation_of_training(address: str, model: str) -> None:
    bundle = load_bundle(Path("models") / model)
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        made = [stub.Generate(pb.GenerateRequest(model=model, bars=2 + seed, seed=seed)).pieces[0] for seed in range(4)]
        given = [pb.GivenPiece(midi=piece.midi) for piece in made[:3]]
        notes = pb.NoteList(notes=made[3].notes, length_ticks=made[3].length_ticks, meter=made[3].meter)
        given.append(pb.GivenPiece(notes=notes))
        response = stub.Evaluate(pb.EvaluateRequest(model=model, pieces=given))

    assert (response.model, response.model_digest) == (model, bundle.digest)
    for piece, found in zip(made, response.evaluations, strict=True):
        expected = evaluate_pieces(bundle, [read_midi(piece.midi)], MeterMode.GIVEN, threads=1)
        assert found.nats == pytest.approx(expected.nats, rel=1e-4)
        assert found.nats_per_note_step == pytest.approx(expected.nats_per_note_step, abs=1e-4)
        assert found.token_count == expected.tokens
        assert len(found.notes) == len(piece.notes)
        assert [each.note.pitch for each in found.notes] == [note.pitch for note in piece.notes]
        assert 0 < sum(each.nats for each in found.notes) < found.nats
        assert not found.changed_notes


def test_a_meter_that_changes_is_unknown_and_counted(address: str) -> None:
    score = Score(tuple(Note(onset, 480, 62) for onset in range(0, 4800, 480)), 4800, Meter(3, 4))
    several = replace(score, meter_changes=(MeterChange(2880, Meter(4, 4)),))
    pieces = [pb.GivenPiece(midi=write_midi(each)) for each in (score, several, replace(score, meter=None))]
    with grpc.insecure_channel(address) as channel:
        request = pb.EvaluateRequest(pieces=pieces)
        found = pb_grpc.GenerationServiceStub(channel).Evaluate(request).evaluations

    assert found[1].nats == found[2].nats != found[0].nats
    assert [each.left_out for each in found] == [{}, {"meter_changes": 1}, {}]


def test_each_piece_has_errors_of_its_own(address: str) -> None:
    note = pb.Note(duration_ticks=480, pitch=60)
    good = pb.GivenPiece(notes=pb.NoteList(notes=[note]))
    too_low = pb.GivenPiece(notes=pb.NoteList(notes=[pb.Note(duration_ticks=480, pitch=200)]))
    long = pb.GivenPiece(notes=pb.NoteList(notes=[note], length_ticks=1000 * 120))
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)

        def violations(pieces: list[pb.GivenPiece]) -> dict[str, str]:
            with pytest.raises(grpc.RpcError) as caught:
                stub.Evaluate(pb.EvaluateRequest(pieces=pieces))
            status, bad_request = from_call(caught.value), BadRequest()
            assert status.details[0].Unpack(bad_request)
            return {each.field: each.description for each in bad_request.field_violations}

        assert violations([]) == {"pieces": "must be 1 to 100 pieces, not 0"}
        assert violations([good] * 101) == {"pieces": "must be 1 to 100 pieces, not 101"}
        assert violations([good, too_low, pb.GivenPiece(midi=b"x")]) == {
            "pieces[1].notes.notes[0].pitch": "must be 0 to 127, not 200",
            "pieces[2].midi": "cannot be read: not a MIDI file: it looks like text",
        }
        assert violations([long, good]) == {"pieces": "must have at most 1,000 steps of 120 ticks together"}


async def test_a_model_without_a_scoring_graph_supports_no_evaluation(
    app: App, stub: "pb_grpc.GenerationServiceAsyncStub"
) -> None:
    code, status = await rich_status(stub.Evaluate(pb.EvaluateRequest(pieces=[pb.GivenPiece()])))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.message == "model has no scoring graph, so it supports no evaluation"
    assert not (await stub.GetModel(pb.GetModelRequest())).model.capabilities.evaluation


async def test_calls_of_a_model_wait_for_each_other(app: App) -> None:
    model: ServedModel = next(iter(app._catalogue))
    evaluations = Evaluations(model, RequestLimits())
    go = threading.Event()
    first = asyncio.ensure_future(evaluations._work.run(go.wait))
    await asyncio.sleep(0)
    request = pb.EvaluateRequest(pieces=[pb.GivenPiece()])
    waiting = [asyncio.ensure_future(evaluations.evaluate(request)) for _ in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(WorkLimitError, match="8 requests wait for evaluation"):
        await evaluations.evaluate(request)
    go.set()
    await asyncio.gather(first, *waiting, return_exceptions=True)
    evaluations.close()
