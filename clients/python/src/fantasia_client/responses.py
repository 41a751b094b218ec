"""Reads the messages that the server sends."""

from fantasia.v1 import generation_pb2 as pb
from fantasia_client.errors import ServerError
from fantasia_client.meter import Meter
from fantasia_client.model import ModelInfo
from fantasia_client.piece import FinishReason, Note, Piece, Timing
from fantasia_client.sampling import Sampling

_FINISH_REASONS = {
    pb.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    pb.FINISH_REASON_END: FinishReason.END,
}


def piece_from(message: pb.GenerateResponse) -> Piece:
    """The piece in an answer to `Generate`.

    Raises:
        ServerError: the answer makes no sense, as of something that is not Fantasia.
    """
    _check(message.ticks_per_quarter >= 1, "ticks_per_quarter", message.ticks_per_quarter)
    _check(message.tempo_bpm > 0, "tempo_bpm", message.tempo_bpm)
    return Piece(
        midi=message.midi,
        notes=tuple(
            Note(note.onset_ticks, note.duration_ticks, note.pitch, note.velocity, note.voice) for note in message.notes
        ),
        ticks_per_quarter=message.ticks_per_quarter,
        length_ticks=message.length_ticks,
        seed=message.seed,
        token_count=message.token_count,
        finish_reason=_FINISH_REASONS.get(message.finish_reason, FinishReason.OTHER),
        model=message.model,
        model_digest=message.model_digest,
        meter=_meter_from(message.meter),
        tempo_bpm=message.tempo_bpm,
        program=message.program,
        timing=Timing(
            queue_seconds=message.timing.queue_seconds,
            first_token_seconds=message.timing.first_token_seconds,
            total_seconds=message.timing.total_seconds,
        ),
    )


def models_from(message: pb.ListModelsResponse) -> tuple[ModelInfo, ...]:
    """The models in an answer to `ListModels`, the default one first.

    Raises:
        ServerError: the answer makes no sense.
    """
    return tuple(map(model_from, message.models))


def model_from(message: pb.Model) -> ModelInfo:
    """One model.

    Raises:
        ServerError: the answer makes no sense.
    """
    _check(message.steps_per_quarter >= 1, "steps_per_quarter", message.steps_per_quarter)
    return ModelInfo(
        name=message.name,
        digest=message.digest,
        description=message.description,
        tokenizer=message.tokenizer,
        voices=message.voices,
        steps_per_quarter=message.steps_per_quarter,
        max_steps=message.max_steps,
        meters=tuple(map(_meter_from, message.meters)),
        default_sampling=_sampling_from(message.default_sampling),
        default_tempo_bpm=message.default_tempo_bpm,
        default_program=message.default_program,
        parameters=message.parameters,
        provider=message.provider,
        metrics=dict(message.metrics),
        precision=message.precision,
    )


def _meter_from(message: pb.Meter) -> Meter:
    meter = Meter(message.numerator, message.denominator)
    _check(min(message.numerator, message.denominator) >= 1, "meter", meter)
    return meter


def _sampling_from(message: pb.Sampling) -> Sampling:
    return Sampling(
        # Seven digits are all that a float field holds: 0.9 comes back as 0.9, not 0.8999999762.
        temperature=float(f"{message.temperature:.7g}") if message.HasField("temperature") else None,
        top_k=message.top_k if message.HasField("top_k") else None,
        top_p=float(f"{message.top_p:.7g}") if message.HasField("top_p") else None,
    )


def _check(sound: bool, field: str, value: object) -> None:
    if not sound:
        raise ServerError(f"the server's answer makes no sense: its {field} is {value}")
