"""Text that the `fantasia` command prints about pieces and models."""

from collections.abc import Mapping
from dataclasses import asdict

from fantasia_client.model_info import ModelInfo, UnavailableModel
from fantasia_client.output import Output
from fantasia_client.types import Evaluation, FinishReason, Meter, Note, Piece


def piece_summary(piece: Piece, output: Output | None, plot: Output | None, *, candidates: int = 1) -> str:
    """A few lines about a piece.

    Args:
        piece: generated piece.
        output: where its MIDI file was written.
        plot: where its piano roll was written.
        candidates: number of candidates, of which this is one.
    """
    length = f"{piece.bars:g} bar" + ("" if piece.bars == 1 else "s")
    end = ", ended by the model" if piece.finish_reason is FinishReason.END else ""
    timing = piece.timing
    lines = [f"wrote {output}"] if output else []
    lines += [f"drew {plot}"] if plot else []
    lines += [
        f"{length} of {_meters(piece)}, {len(piece.notes)} notes, "
        f"{piece.duration_seconds:.1f} s at {piece.tempo_bpm:g} bpm{end}",
        f"model {_label(piece.model, piece.model_version)} ({piece.model_digest[:12]}), seed {piece.seed}",
    ]
    if candidates > 1:
        kind = " particles" if piece.particles else ""
        nats = f"{piece.nats_per_note_step:.3f} nats per note-step"
        lines.append(f"candidate {piece.candidate} of {candidates}{kind}, {nats}")
    if piece.given:
        lines += _changes(piece.given.changed_notes, piece.given.left_out)
    lines.append(
        f"{piece.token_count} tokens in {timing.total_seconds:.3f} s "
        f"(queue {timing.queue_seconds:.3f} s, first token {timing.first_token_seconds:.3f} s)"
    )
    return "\n".join(lines)


def _meters(piece: Piece) -> str:
    """All time signatures of a piece, in the order in which they come first."""
    *others, last = dict.fromkeys(str(each) for each in (piece.meter, *(to.meter for to in piece.meter_changes)))
    return f"{', '.join(others)} and {last}" if others else last


def evaluation_summary(name: str, evaluation: Evaluation) -> str:
    """A line about an evaluated piece, and lines about what the model does not see of it.

    Args:
        name: name of the file.
        evaluation: its evaluation.
    """
    line = (
        f"{name}: {evaluation.nats_per_note_step:.3f} nats per note-step, "
        f"{evaluation.nats:.1f} nats, {len(evaluation.notes)} notes, {evaluation.token_count} tokens"
    )
    changes = _changes(evaluation.changed_notes, evaluation.left_out)
    return "\n".join([line, *(f"  {change}" for change in changes)])


def note_summary(note: Note) -> str:
    """A line about a note of a stream."""
    return f"tick {note.onset_ticks}: pitch {note.pitch} for {note.duration_ticks} ticks, voice {note.voice}"


def _changes(changed_notes: Mapping[str, int], left_out: Mapping[str, int]) -> list[str]:
    """Lines about what a model does not see of a given piece."""
    counts = {"notes that the model does not see as they are": changed_notes, "left out of the given piece": left_out}
    return [
        f"{what}: {', '.join(f'{count} {name}' for name, count in sorted(by_name.items()))}"
        for what, by_name in counts.items()
        if by_name
    ]


def unavailable_summary(model: UnavailableModel) -> str:
    """A line about a version that takes no calls."""
    return f"{_label(model.name, model.version)} ({model.state.value})" + (f": {model.reason}" if model.reason else "")


def _label(name: str, version: int) -> str:
    """Name and version of a model, as `--model` takes them."""
    return f"{name}:{version}" if version else name


def model_summary(model: ModelInfo, *, default: bool) -> str:
    """A few lines about a model; `default` marks the server's default model."""
    sampling = model.default_sampling
    precision = f" in {model.precision}" if model.precision else ""
    facts = {
        "tokenizer": f"{model.tokenizer}, {model.steps_per_quarter} steps per quarter note"
        + (f", {model.voices} voice{'s' if model.voices > 1 else ''}" if model.voices else ""),
        "meters": ", ".join(map(str, model.meters)),
        "maximum length": f"{model.max_steps} steps, {model.max_bars()} bars of {(model.meters or (Meter(),))[0]}",
        "ranges": ", ".join(f"{low}-{high}" for low, high in model.ranges.values()),
        "can": ", ".join(name.replace("_", " ") for name, value in asdict(model.capabilities).items() if value is True),
        "defaults": f"temperature {sampling.temperature}, top-k {sampling.top_k}, top-p {sampling.top_p}, "
        f"{model.default_tempo_bpm:g} bpm, program {model.default_program}",
        "network": f"{model.parameters:,} parameters{precision} on {model.provider}",
        "digest": model.digest,
    } | {name: f"{value:g}" for name, value in sorted(model.metrics.items())}
    facts = {name: fact for name, fact in facts.items() if fact}
    width = max(map(len, facts)) + 2
    lines = [
        f"{_label(model.name, model.version)}{' (default)' if default else ''}: {model.description}",
        *(f"  {key:<{width}}{value}" for key, value in facts.items()),
    ]
    return "\n".join(lines)
