"""What the `fantasia` command says in words."""

from fantasia_client.meter import Meter
from fantasia_client.model import ModelInfo
from fantasia_client.output import Output
from fantasia_client.piece import FinishReason, Piece


def report(piece: Piece, output: Output | None, plot: Output | None) -> str:
    """The piece, for people.

    Args:
        piece: what came.
        output: where its MIDI file went.
        plot: where its piano roll went.
    """
    length = f"{piece.bars:g} bar" + ("" if piece.bars == 1 else "s")
    end = ", where the model ended it" if piece.finish_reason is FinishReason.END else ""
    timing = piece.timing
    lines = [f"wrote {output}"] if output else []
    lines += [f"drew {plot}"] if plot else []
    lines += [
        f"{length} of {piece.meter}, {len(piece.notes)} notes, "
        f"{piece.duration_seconds:.1f} s at {piece.tempo_bpm:g} bpm{end}",
        f"model {piece.model} ({piece.model_digest[:12]}), seed {piece.seed}",
        f"{piece.token_count} tokens in {timing.total_seconds:.3f} s "
        f"(queue {timing.queue_seconds:.3f} s, first token {timing.first_token_seconds:.3f} s)",
    ]
    return "\n".join(lines)


def describe(model: ModelInfo, *, default: bool) -> str:
    """The model, for people; `default` marks the one that answers calls which name none."""
    sampling = model.default_sampling
    precision = f" in {model.precision}" if model.precision else ""
    facts = {
        "tokenizer": f"{model.tokenizer}, {model.steps_per_quarter} steps a quarter note"
        + (f", {model.voices} voices" if model.voices else ""),
        "meters": ", ".join(map(str, model.meters)),
        "longest": f"{model.max_steps} steps, {model.max_bars()} bars of {(model.meters or (Meter(),))[0]}",
        "defaults": f"temperature {sampling.temperature}, top-k {sampling.top_k}, top-p {sampling.top_p}, "
        f"{model.default_tempo_bpm:g} bpm, program {model.default_program}",
        "network": f"{model.parameters:,} parameters{precision} on {model.provider}",
        "digest": model.digest,
    } | {name: f"{value:g}" for name, value in sorted(model.metrics.items())}
    width = max(map(len, facts)) + 2
    lines = [
        f"{model.name}{' (default)' if default else ''}: {model.description}",
        *(f"  {key:<{width}}{value}" for key, value in facts.items()),
    ]
    return "\n".join(lines)
