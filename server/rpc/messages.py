"""The contract's messages, made from what they stand for."""

from collections.abc import Iterable
from typing import Final

from fantasia.v1 import generation_pb2 as pb
from music.invalid import plain_text
from music.score import TICKS_PER_QUARTER, Meter, Note
from server.catalogue import ServedModel
from server.engine.completion import Completion, FinishReason
from server.errors import StartupError

FINISH_REASONS: Final = {
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.END: pb.FINISH_REASON_END,
}


def meter_message(meter: Meter) -> pb.Meter:
    """The meter on the wire."""
    return pb.Meter(numerator=meter.numerator, denominator=meter.denominator)


def add_notes(response: pb.GenerateResponse, notes: Iterable[Note]) -> None:
    """Put the notes on the wire; each is made where it shall be, since a list of them would be copied."""
    add = response.notes.add
    for onset, duration, pitch, velocity, voice in notes:
        add(onset_ticks=onset, duration_ticks=duration, pitch=pitch, velocity=velocity, voice=voice)


def timing_message(completion: Completion) -> pb.Timing:
    """Where the sequence's time went, on the wire."""
    return pb.Timing(
        queue_seconds=completion.queue_seconds,
        first_token_seconds=completion.first_token_seconds,
        total_seconds=completion.total_seconds,
    )


def described(model: ServedModel) -> pb.Model:
    """The model on the wire.

    Raises:
        StartupError: something that its bundle says does not fit.
    """
    try:
        return _model_message(model)
    except (TypeError, ValueError) as error:
        raise StartupError(f"model {model.name} cannot be described to callers: {plain_text(str(error))}") from error


def _model_message(model: ServedModel) -> pb.Model:
    bundle, tokenizer = model.bundle, model.bundle.tokenizer
    return pb.Model(
        name=bundle.name,
        digest=bundle.digest,
        description=bundle.description,
        tokenizer=tokenizer.name,
        voices=tokenizer.parameters.get("voices", 0),
        steps_per_quarter=TICKS_PER_QUARTER // tokenizer.step_ticks,
        max_steps=bundle.max_steps,
        meters=[meter_message(meter) for meter in tokenizer.clock.meters],
        default_sampling=pb.Sampling(
            temperature=bundle.defaults.temperature,
            top_k=bundle.defaults.top_k,
            top_p=bundle.defaults.top_p,
        ),
        default_tempo_bpm=bundle.defaults.tempo_bpm,
        default_program=bundle.defaults.program,
        parameters=bundle.network.parameters,
        provider=model.engine.provider,
        precision=model.engine.precision,
        metrics=bundle.metrics,
    )
