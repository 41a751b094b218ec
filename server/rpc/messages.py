"""Builds messages of the contract from domain objects."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Final, Protocol

from fantasia.v1 import generation_pb2 as pb
from music.errors import plain_text
from music.score import TICKS_PER_QUARTER, Meter, MeterChange, Note, TempoChange
from server.catalogue import ServedModel, UnavailableModel, UnavailableState
from server.engine.completion import Completion, FinishReason
from server.errors import StartupError
from server.rpc.generation_spec import ModelTerms

FINISH_REASONS: Final = {
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.END: pb.FINISH_REASON_END,
}

UNAVAILABLE_STATES: Final = {
    UnavailableState.LOADING: pb.UNAVAILABLE_STATE_LOADING,
    UnavailableState.REFUSED: pb.UNAVAILABLE_STATE_REFUSED,
    UnavailableState.UNLOADING: pb.UNAVAILABLE_STATE_UNLOADING,
}


def meter_message(meter: Meter) -> pb.Meter:
    """The message for a meter."""
    return pb.Meter(numerator=meter.numerator, denominator=meter.denominator)


class NoteMessages(Protocol):
    """A repeated field of notes."""

    def add(self) -> pb.Note:
        """Append a note, and return it."""


class TempoMessages(Protocol):
    """A repeated field of tempo changes."""

    def add(self, *, tick: int, tempo_bpm: float) -> pb.TempoChange:
        """Append a tempo change."""


class MeterMessages(Protocol):
    """A repeated field of meter changes."""

    def add(self, *, tick: int, meter: pb.Meter) -> pb.MeterChange:
        """Append a meter change."""


def add_meter_changes(messages: MeterMessages, changes: Iterable[MeterChange]) -> None:
    """Append the meter changes to a field."""
    for change in changes:
        messages.add(tick=change.tick, meter=meter_message(change.meter))


def add_tempo_changes(messages: TempoMessages, changes: Iterable[TempoChange]) -> None:
    """Append the tempo changes to a field."""
    for change in changes:
        messages.add(tick=change.tick, tempo_bpm=change.bpm)


def add_notes(messages: NoteMessages, notes: Iterable[Note]) -> None:
    """Append the notes to a field, one by one, since protobuf would copy a list of messages.

    Setting the fields of a message takes less time than passing them to `add`.
    """
    add = messages.add
    for onset, duration, pitch, velocity, voice in notes:
        note = add()
        note.onset_ticks, note.duration_ticks = onset, duration
        note.pitch, note.velocity, note.voice = pitch, velocity, voice


def timing_message(completion: Completion) -> pb.Timing:
    """The message for the times of a finished sequence."""
    return pb.Timing(
        queue_seconds=completion.queue_seconds,
        first_token_seconds=completion.first_token_seconds,
        total_seconds=completion.total_seconds,
    )


def unavailable_message(model: UnavailableModel) -> pb.UnavailableModel:
    """The message for a version that takes no calls."""
    return pb.UnavailableModel(
        name=plain_text(model.name),
        version=model.version,
        state=UNAVAILABLE_STATES[model.state],
        reason=plain_text(model.reason),
    )


def model_message(model: ServedModel, terms: ModelTerms) -> pb.Model:
    """The message that describes a model and its terms to callers.

    Raises:
        StartupError: a value of the bundle does not fit into its field.
    """
    try:
        return _build_model(model, terms)
    except (TypeError, ValueError) as error:
        raise StartupError(f"model {model.name} cannot be described to callers: {plain_text(str(error))}") from error


def _build_model(model: ServedModel, terms: ModelTerms) -> pb.Model:
    bundle, tokenizer = model.bundle, model.bundle.tokenizer
    return pb.Model(
        name=bundle.name,
        version=model.version,
        digest=bundle.digest,
        description=bundle.description,
        tokenizer=tokenizer.name,
        voices=tokenizer.parameters.get("voices", 0),
        steps_per_quarter=TICKS_PER_QUARTER // tokenizer.step_ticks,
        max_steps=bundle.max_steps,
        meters=[meter_message(meter) for meter in tokenizer.positions.meters],
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
        ranges=[
            pb.VoiceRange(voice=voice, lowest=lowest, highest=highest)
            for voice, (lowest, highest) in enumerate(tokenizer.ranges)
        ],
        capabilities=pb.Capabilities(
            **asdict(tokenizer.writing),
            evaluation=model.scorer is not None,
            default_candidates=terms.default_candidates,
        ),
        limits=pb.Limits(
            max_given_bytes=terms.limits.given_bytes,
            max_given_notes=terms.limits.given_notes,
            max_given_bars=terms.limits.given_bars,
            max_given_tracks=terms.limits.given_tracks,
            max_candidates=terms.limits.candidates,
            max_candidate_steps=terms.limits.candidate_steps,
            max_evaluated_pieces=terms.limits.evaluated_pieces,
            max_evaluated_steps=terms.limits.evaluated_steps,
        ),
    )
