"""Parses response messages."""

from collections.abc import Iterable
from dataclasses import fields

from grpc_health.v1 import health_pb2

from fantasia.v1 import generation_pb2 as pb
from fantasia_client.errors import ServerError
from fantasia_client.model_info import Capabilities, Limits, ModelInfo, UnavailableModel, UnavailableState
from fantasia_client.request_messages import resume_point
from fantasia_client.types import (
    Evaluation,
    FinishReason,
    Generation,
    GivenReport,
    Health,
    Meter,
    MeterChange,
    Note,
    NoteEvaluation,
    Piece,
    Sampling,
    StreamStart,
    StreamUpdate,
    TempoChange,
    Timing,
)

_FINISH_REASONS = {
    pb.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    pb.FINISH_REASON_END: FinishReason.END,
}
_UNAVAILABLE_STATES = {
    pb.UNAVAILABLE_STATE_LOADING: UnavailableState.LOADING,
    pb.UNAVAILABLE_STATE_REFUSED: UnavailableState.REFUSED,
    pb.UNAVAILABLE_STATE_UNLOADING: UnavailableState.UNLOADING,
}
_HEALTH_STATES = {
    health_pb2.HealthCheckResponse.SERVING: Health.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: Health.NOT_SERVING,
}


def parse_piece(response: pb.GenerateResponse, request: pb.GenerateRequest | None = None) -> Piece:
    """The best piece in a response of `Generate`.

    Raises:
        ServerError: a field has an impossible value.
    """
    return parse_generation(response, request).pieces[0]


def parse_generation(response: pb.GenerateResponse, request: pb.GenerateRequest | None = None) -> Generation:
    """All pieces in a response of `Generate`, the best first.

    Args:
        response: the response.
        request: its request, which resume points hold; None for a default request.

    Raises:
        ServerError: a field has an impossible value.
    """
    _check(len(response.pieces) >= 1, "pieces", list(response.pieces))
    timing = Timing(
        queue_seconds=response.timing.queue_seconds,
        first_token_seconds=response.timing.first_token_seconds,
        total_seconds=response.timing.total_seconds,
    )
    given = _parse_given(response.given) if response.HasField("given") else None
    request = request or pb.GenerateRequest()
    pieces = tuple(_parse_one(message, response, request, given, timing) for message in response.pieces)
    return Generation(pieces, response.candidates, given, timing, response.particles)


def _parse_one(
    message: pb.Piece,
    response: pb.GenerateResponse,
    request: pb.GenerateRequest,
    given: GivenReport | None,
    timing: Timing,
) -> Piece:
    _check(message.ticks_per_quarter >= 1, "ticks_per_quarter", message.ticks_per_quarter)
    _check(message.tempo_bpm > 0, "tempo_bpm", message.tempo_bpm)
    return Piece(
        midi=message.midi,
        notes=_parse_notes(message.notes),
        ticks_per_quarter=message.ticks_per_quarter,
        length_ticks=message.length_ticks,
        seed=message.seed,
        token_count=message.token_count,
        finish_reason=_FINISH_REASONS.get(message.finish_reason, FinishReason.OTHER),
        model=response.model,
        model_digest=response.model_digest,
        model_version=response.model_version,
        meter=_parse_meter(message.meter) if message.HasField("meter") else Meter(),
        tempo_bpm=message.tempo_bpm,
        programs=tuple(message.programs),
        timing=timing,
        meter_known=message.HasField("meter"),
        pickup_ticks=message.pickup_ticks,
        tempo_changes=_parse_tempo_changes(message.tempo_changes),
        candidate=message.candidate,
        particles=response.particles,
        nats=message.nats,
        nats_per_note_step=message.nats_per_note_step,
        given_nats=message.given_nats,
        precision=response.precision,
        given=given,
        resume_token=message.resume_token,
        resume_point=resume_point(request, message.resume_token),
        meter_changes=_parse_meter_changes(message.meter_changes),
    )


def parse_update(message: pb.StreamGenerateResponse, request: pb.GenerateRequest) -> StreamUpdate:
    """One message of `StreamGenerate`.

    Raises:
        ServerError: a field has an impossible value.
    """
    return StreamUpdate(
        watermark_ticks=message.watermark_ticks,
        notes=_parse_notes(message.notes),
        sounding=_parse_notes(message.sounding),
        start=_parse_start(message.start) if message.HasField("start") else None,
        resume_token=message.resume_token,
        generation=parse_generation(message.response, request) if message.HasField("response") else None,
    )


def _parse_start(message: pb.StreamStart) -> StreamStart:
    _check(message.ticks_per_quarter >= 1, "start.ticks_per_quarter", message.ticks_per_quarter)
    return StreamStart(
        ticks_per_quarter=message.ticks_per_quarter,
        seed=message.seed,
        meter=_parse_meter(message.meter) if message.HasField("meter") else Meter(),
        meter_known=message.HasField("meter"),
        pickup_ticks=message.pickup_ticks,
        tempo_bpm=message.tempo_bpm,
        tempo_changes=_parse_tempo_changes(message.tempo_changes),
        programs=tuple(message.programs),
        length_ticks=message.length_ticks,
        meter_changes=_parse_meter_changes(message.meter_changes),
    )


def parse_evaluations(response: pb.EvaluateResponse) -> tuple[Evaluation, ...]:
    """The evaluations in a response of `Evaluate`, in the order of the pieces."""
    return tuple(
        Evaluation(
            nats=message.nats,
            nats_per_note_step=message.nats_per_note_step,
            token_count=message.token_count,
            notes=tuple(NoteEvaluation(_parse_note(item.note), item.nats) for item in message.notes),
            changed_notes=dict(message.changed_notes),
            left_out=dict(message.left_out),
        )
        for message in response.evaluations
    )


def parse_models(message: pb.ListModelsResponse) -> tuple[ModelInfo, ...]:
    """The models in a response of `ListModels`, the default model first.

    Raises:
        ServerError: a field has an impossible value.
    """
    return tuple(map(parse_model, message.models))


def parse_unavailable_models(message: pb.ListModelsResponse) -> tuple[UnavailableModel, ...]:
    """The versions that take no calls, in a response of `ListModels`."""
    return tuple(
        UnavailableModel(
            item.name, item.version, _UNAVAILABLE_STATES.get(item.state, UnavailableState.OTHER), item.reason
        )
        for item in message.unavailable
    )


def parse_model(message: pb.Model) -> ModelInfo:
    """One model of a response.

    Raises:
        ServerError: a field has an impossible value.
    """
    _check(message.steps_per_quarter >= 1, "steps_per_quarter", message.steps_per_quarter)
    return ModelInfo(
        name=message.name,
        version=message.version,
        default_version=message.default_version or not message.version,
        digest=message.digest,
        description=message.description,
        tokenizer=message.tokenizer,
        voices=message.voices,
        steps_per_quarter=message.steps_per_quarter,
        max_steps=message.max_steps,
        meters=tuple(map(_parse_meter, message.meters)),
        default_sampling=_parse_sampling(message.default_sampling),
        default_tempo_bpm=message.default_tempo_bpm,
        default_program=message.default_program,
        parameters=message.parameters,
        provider=message.provider,
        metrics=dict(message.metrics),
        precision=message.precision,
        ranges={item.voice: (item.lowest, item.highest) for item in message.ranges},
        capabilities=Capabilities(
            **{item.name: getattr(message.capabilities, item.name) for item in fields(Capabilities)}
        ),
        limits=Limits(**{item.name: getattr(message.limits, item.name) for item in fields(Limits)}),
    )


def parse_health(message: health_pb2.HealthCheckResponse) -> Health:
    """The state in a response of `Check`."""
    return _HEALTH_STATES.get(message.status, Health.UNKNOWN)


def _parse_given(message: pb.GivenReport) -> GivenReport:
    return GivenReport(
        included=message.included,
        length_ticks=message.length_ticks,
        changed_notes=dict(message.changed_notes),
        left_out=dict(message.left_out),
        meter_known=message.meter_known,
        meter_changes=message.meter_changes,
    )


def _parse_notes(messages: Iterable[pb.Note]) -> tuple[Note, ...]:
    return tuple(map(_parse_note, messages))


def _parse_note(note: pb.Note) -> Note:
    return Note(note.onset_ticks, note.duration_ticks, note.pitch, note.velocity, note.voice)


def _parse_tempo_changes(messages: Iterable[pb.TempoChange]) -> tuple[TempoChange, ...]:
    for change in messages:
        _check(change.tempo_bpm > 0, "tempo_changes", change.tempo_bpm)
    return tuple(TempoChange(change.tick, change.tempo_bpm) for change in messages)


def _parse_meter_changes(messages: Iterable[pb.MeterChange]) -> tuple[MeterChange, ...]:
    return tuple(MeterChange(change.tick, _parse_meter(change.meter)) for change in messages)


def _parse_meter(message: pb.Meter) -> Meter:
    meter = Meter(message.numerator, message.denominator)
    _check(min(message.numerator, message.denominator) >= 1, "meter", meter)
    return meter


def _parse_sampling(message: pb.Sampling) -> Sampling:
    return Sampling(
        # A float field holds seven digits. Without rounding, 0.9 would come back as 0.8999999762.
        temperature=float(f"{message.temperature:.7g}") if message.HasField("temperature") else None,
        top_k=message.top_k if message.HasField("top_k") else None,
        top_p=float(f"{message.top_p:.7g}") if message.HasField("top_p") else None,
    )


def _check(valid: bool, field: str, value: object) -> None:
    if not valid:
        raise ServerError(f"the server sent an invalid response: {field} is {value}")
