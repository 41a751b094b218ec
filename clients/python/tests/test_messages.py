"""Requests that the clients send, and values from the responses."""

import json
import math
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from grpc_health.v1 import health_pb2

from clients.python.tests.conftest import piece_message
from fantasia.v1 import generation_pb2 as pb
from fantasia_client import (
    Capabilities,
    Evaluation,
    FinishReason,
    GivenReport,
    Health,
    Limits,
    Meter,
    MeterChange,
    Note,
    NoteEvaluation,
    Sampling,
    ServerError,
    TempoChange,
    Timing,
    UnavailableModel,
    UnavailableState,
)
from fantasia_client.messages import parse_model, parse_models, parse_unavailable_models

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer


async def test_a_piece_has_all_fields(server: "ScriptedServer", connect: "Connect") -> None:
    piece = await connect(server.address)("generate", bars=2)
    assert piece.midi.startswith(b"MThd")
    assert piece.notes == (Note(0, 480, 72, 80, 0), Note(0, 1440, 48, 70, 1), Note(1440, 1440, 48, 70, 0))
    assert (piece.ticks_per_quarter, piece.length_ticks, piece.token_count) == (480, 2880, 96)
    assert piece.seed == 2**64 - 1
    assert piece.finish_reason is FinishReason.LENGTH
    assert (piece.model, piece.model_digest) == ("chorales", "ab" * 32)
    assert (piece.meter, piece.tempo_bpm, piece.program) == (Meter(3, 4), 90.0, 19)
    assert piece.timing == Timing(0.25, 0.5, 1.5)
    assert piece.bars == 2
    assert piece.duration_seconds == pytest.approx(4.0)


async def test_all_arguments_are_sent(server: "ScriptedServer", connect: "Connect") -> None:
    await connect(server.address)(
        "generate",
        seconds=2.5,
        seed=0,
        model="origin",
        sampling=Sampling(temperature=0.5, top_k=0, top_p=0.75),
        tempo_bpm=120,
        program=0,
        meter="6/8",
    )
    expected = pb.GenerateRequest(
        model="origin",
        seconds=2.5,
        seed=0,
        sampling=pb.Sampling(temperature=0.5, top_k=0, top_p=0.75),
        tempo_bpm=120,
        program=0,
        meter=pb.Meter(numerator=6, denominator=8),
    )
    assert server.requests == [expected]


def full_response() -> pb.GenerateResponse:
    """Two pieces with a value in every field."""
    best = piece_message().pieces[0]
    best.MergeFrom(
        pb.Piece(
            pickup_ticks=480,
            tempo_changes=[pb.TempoChange(tick=960, tempo_bpm=60), pb.TempoChange(tick=9600, tempo_bpm=1)],
            candidate=5,
            nats=100.5,
            nats_per_note_step=0.5,
            given_nats=40.25,
            resume_token=b"token",
            meter_changes=[pb.MeterChange(tick=1440, meter=pb.Meter(numerator=2, denominator=4))],
        )
    )
    best.ClearField("programs")
    best.programs.extend([73, 41])
    other = piece_message().pieces[0]
    other.ClearField("meter")
    response = piece_message()
    response.ClearField("pieces")
    response.pieces.extend([best, other])
    response.candidates = 16
    response.particles = True
    response.given.CopyFrom(
        pb.GivenReport(
            included=True,
            length_ticks=1440,
            changed_notes={"off_grid": 2},
            left_out={"percussion": 3},
            meter_known=True,
            meter_changes=1,
        )
    )
    return response


async def test_several_pieces_have_all_fields(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(lambda *_: full_response())
    generation = await connect(server.address)("generate_many", 2, bars=2)
    assert (generation.candidates, generation.timing) == (16, Timing(0.25, 0.5, 1.5))
    assert generation.particles
    assert generation.given == GivenReport(
        True, 1440, {"off_grid": 2}, {"percussion": 3}, meter_known=True, meter_changes=1
    )
    best, other = generation.pieces
    assert (best.pickup_ticks, best.candidate, best.particles, best.precision) == (480, 5, True, "float32")
    assert (best.nats, best.nats_per_note_step, best.given_nats) == (100.5, 0.5, 40.25)
    assert best.tempo_changes == (TempoChange(960, 60.0), TempoChange(9600, 1.0))
    assert (best.programs, best.program) == ((73, 41), 73)
    assert best.given == other.given == generation.given
    assert best.resume_token == b"token"
    assert best.resume_point is not None
    assert (best.meter, best.meter_known) == (Meter(3, 4), True)
    assert (other.meter, other.meter_known) == (Meter(4, 4), False)  # as in MIDI
    assert (best.meter_changes, other.meter_changes) == ((MeterChange(1440, Meter(2, 4)),), ())
    assert best.bars == 1 + 1440 / 960
    # 960 ticks at 90 bpm, then 1920 at 60; the last change comes after the end.
    assert best.duration_seconds == pytest.approx(2 * 60 / 90 + 4)


async def test_the_best_of_several_pieces_is_returned(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(lambda *_: full_response())
    piece = await connect(server.address)("generate", candidates=16)
    assert piece.candidate == 5
    document = json.loads(json.dumps(piece.to_dict()))
    assert document["given"]["changed_notes"] == {"off_grid": 2}
    assert document["tempo_changes"][0] == {"tick": 960, "tempo_bpm": 60.0}
    assert document["meter_changes"] == [{"tick": 1440, "meter": "2/4"}]
    assert not {"midi", "resume_token", "resume_point"} & set(document)


async def test_a_response_without_a_piece_is_a_server_error(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(lambda *_: pb.GenerateResponse())
    with pytest.raises(ServerError, match=r"pieces is \[\]"):
        await connect(server.address)("generate")


async def test_pieces_are_evaluated(server: "ScriptedServer", connect: "Connect") -> None:
    client = connect(server.address)
    evaluations = await client("evaluate", [b"MThd", (Note(0, 480, 60),)], model="origin")
    expected = Evaluation(
        nats=12.5,
        nats_per_note_step=0.25,
        token_count=50,
        notes=(NoteEvaluation(Note(0, 480, 60), 3.5),),
        changed_notes={"off_grid": 1},
        left_out={"percussion": 2},
    )
    assert evaluations == (expected, expected)
    assert json.loads(json.dumps(evaluations[0].to_dict()))["notes"][0]["nats"] == 3.5
    assert (server.requests[0].model, len(server.requests[0].pieces)) == ("origin", 2)


@pytest.mark.parametrize("length", [{"bars": 3}, {"steps": 48}, {"seconds": 9.0}])
async def test_every_length_has_its_field(
    server: "ScriptedServer", connect: "Connect", length: dict[str, float]
) -> None:
    await connect(server.address)("generate", **length)
    ((name, value),) = length.items()
    assert server.requests[0].WhichOneof("length") == name
    assert getattr(server.requests[0], name) == value


@pytest.mark.parametrize("length", [{"bars": 0}, {"steps": 0}, {"seconds": 0.0}])
async def test_zero_is_sent(server: "ScriptedServer", connect: "Connect", length: dict[str, float]) -> None:
    await connect(server.address)("generate", **length)
    assert server.requests[0].WhichOneof("length") == next(iter(length))


async def test_missing_arguments_leave_fields_unset(server: "ScriptedServer", connect: "Connect") -> None:
    await connect(server.address)("generate", sampling=Sampling(top_k=5))
    request = server.requests[0]
    assert request.WhichOneof("length") is None
    unset = ("seed", "tempo_bpm", "program", "meter")
    assert not any(request.HasField(name) for name in unset)
    assert request.sampling == pb.Sampling(top_k=5)


async def test_an_unknown_finish_reason_is_other(server: "ScriptedServer", connect: "Connect") -> None:
    message = piece_message()
    message.pieces[0].finish_reason = 77  # type: ignore[assignment]
    server.script.append(lambda *_: message)
    piece = await connect(server.address)("generate")
    assert piece.finish_reason is FinishReason.OTHER


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("ticks_per_quarter", 0, "ticks_per_quarter is 0"),
        ("tempo_bpm", 0, r"tempo_bpm is 0\.0"),
        ("tempo_bpm", math.nan, "tempo_bpm is nan"),
        ("meter", pb.Meter(numerator=3), "meter is 3/0"),
    ],
)
async def test_an_invalid_piece_is_a_server_error(
    server: "ScriptedServer", connect: "Connect", field: str, value: object, words: str
) -> None:
    message = piece_message()
    message.pieces[0].ClearField(field)  # type: ignore[arg-type]
    message.pieces[0].MergeFrom(pb.Piece(**{field: value}))  # type: ignore[arg-type]
    server.script.append(lambda *_: message)
    with pytest.raises(ServerError, match=f"the server sent an invalid response: {words}"):
        await connect(server.address)("generate")


async def test_an_invalid_model_is_a_server_error(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(lambda *_: pb.ListModelsResponse(models=[pb.Model(name="chorales")]))
    with pytest.raises(ServerError, match="steps_per_quarter is 0"):
        await connect(server.address)("list_models")


async def test_models_are_listed_in_the_servers_order(server: "ScriptedServer", connect: "Connect") -> None:
    models = await connect(server.address)("list_models")
    assert [model.name for model in models] == ["chorales", "origin"]
    first = models[0]
    assert first.default_sampling == Sampling(0.9, 0, 0.95)
    assert first.meters == (Meter(4, 4), Meter(3, 4))
    assert first.metrics == {"test_nats_per_token": 0.47}
    assert (first.parameters, first.provider) == (1234567, "CPUExecutionProvider")
    assert (first.max_bars(), first.max_bars(Meter(3, 4))) == (32, 42)
    assert first.ranges == {0: (60, 81), 1: (55, 76), 2: (50, 71), 3: (45, 66)}
    assert first.capabilities == Capabilities(continuation=True, rewrite_voices=True, default_candidates=16)
    assert first.limits == Limits(max_candidates=64, max_evaluated_pieces=100, max_evaluated_steps=1000)
    document = json.loads(json.dumps(first.to_dict()))
    assert document["meters"] == ["4/4", "3/4"]
    assert document["ranges"][3] == {"voice": 3, "lowest": 45, "highest": 66}
    assert document["limits"]["max_candidates"] == 64


async def test_one_model_is_described(server: "ScriptedServer", connect: "Connect") -> None:
    client = connect(server.address)
    assert (await client("get_model", "origin")).name == "origin"
    assert (await client("get_model")).name == "chorales"
    assert [request.name for request in server.requests] == ["origin", ""]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("SERVING", Health.SERVING), ("NOT_SERVING", Health.NOT_SERVING), ("SERVICE_UNKNOWN", Health.UNKNOWN)],
)
async def test_health_is_the_state_of_the_server(
    server: "ScriptedServer", connect: "Connect", state: str, expected: Health
) -> None:
    server.set_health(health_pb2.HealthCheckResponse.ServingStatus.Value(state))
    assert await connect(server.address)("health") is expected


def test_every_capability_and_limit_of_the_contract_is_known() -> None:
    for kind, message in ((Capabilities, pb.Capabilities), (Limits, pb.Limits)):
        assert [field.name for field in fields(kind)] == [field.name for field in message.DESCRIPTOR.fields]


def test_versions_and_what_is_not_available_are_read() -> None:
    response = pb.ListModelsResponse(
        models=[pb.Model(name="piano", version=2, default_version=True, steps_per_quarter=4)],
        unavailable=[
            pb.UnavailableModel(name="piano", version=3, state=pb.UNAVAILABLE_STATE_REFUSED, reason="no weights"),
            pb.UnavailableModel(name="piano", version=1, state=pb.UNAVAILABLE_STATE_UNLOADING),
            pb.UnavailableModel(name="piano", version=4, state=17),  # type: ignore[arg-type]  # of a newer server
        ],
    )
    (model,) = parse_models(response)
    assert (model.version, model.default_version) == (2, True)
    refused, unloading, other = parse_unavailable_models(response)
    assert refused == UnavailableModel("piano", 3, UnavailableState.REFUSED, "no weights")
    assert (unloading.state, unloading.reason, other.state) == (UnavailableState.UNLOADING, "", UnavailableState.OTHER)
    old = parse_model(pb.Model(name="piano", steps_per_quarter=4))
    assert (old.version, old.default_version) == (0, True), "an older server has one version"
