"""The tables of an evaluation."""

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Final

import numpy as np

from report import Table
from training.evaluation.features import FEATURES
from training.evaluation.form import WINDOW_BARS
from training.evaluation.record import Baseline, Endings, EvaluationRecord, Likelihood, Sweep, TwoSampleTest
from training.evaluation.two_sample import TREES

FEATURE_LABELS: Final = {feature.name: feature.label for feature in FEATURES}
_FAULT_LABELS: Final = {
    "parallel_fifths": "parallel fifths",
    "parallel_octaves": "parallel octaves and unisons",
    "crossings": "crossed voices",
    "out_of_range": "out of the voice's range",
}
FORM_LABELS: Final = {
    "in_scale": f"notes in the best major scale of their {WINDOW_BARS} bars",
    "returning_bars": "bars that equal an earlier one",
}
_SHOWN_PERCENTILES: Final = (10, 50, 90)
_SWEEP_FEATURES: Final = ("pitch_class_transition", "interval", "note_length")
_SWEEP_POINTS: Final = 12


def as_text(evaluation: EvaluationRecord) -> str:
    """The evaluation as text for a terminal."""
    parts = ["\n".join(heading(evaluation)), *(table.as_text() for table in tables(evaluation))]
    if evaluation.remarks:
        parts.append("\n".join(evaluation.remarks))
    return "\n\n".join(parts) + "\n"


def heading(evaluation: EvaluationRecord) -> list[str]:
    """Lines that say what was evaluated on what."""
    pieces = ", ".join(f"{count} {side}" for side, count in evaluation.pieces.items())
    return [
        f"{evaluation.model} {evaluation.digest[:12]}, {evaluation.date}",
        f"{evaluation.corpus}: {pieces}; held out: {evaluation.split}",
        f"{evaluation.samples} samples at {evaluation.sampling}, seeds from {evaluation.seed}; "
        f"distances between sets of {evaluation.pieces_per_set} pieces",
    ]


def summary_table(evaluations: Iterable[EvaluationRecord]) -> Table:
    """The main figures of several bundles."""
    rows = []
    for evaluation in evaluations:
        likelihood, worst = evaluation.likelihood, max(evaluation.ratios, key=lambda row: row.ratio)
        ngram = next(row.nats_per_note_step for row in evaluation.baselines if row.nats_per_note_step is not None)
        memorised = max((row.share_above for row in evaluation.memorisation), default=0.0)
        rows.append(
            (
                evaluation.model,
                f"{likelihood.nats_per_note_step:.3f}",
                f"{ngram:.3f}",
                _percent(likelihood.onset_accuracy),
                f"{worst.ratio:.1f} ({FEATURE_LABELS.get(worst.feature, worst.feature)})",
                "" if evaluation.two_sample is None else f"{mean(evaluation.two_sample.generated):.1%}",
                f"{evaluation.repetition.share_above:.1%}",
                f"{memorised:.1%}",
            )
        )
    header = (
        "model",
        "nats per note-step",
        "those of the 8-gram",
        "onset accuracy",
        "largest ratio of distances",
        "two-sample test",
        "repetition",
        "memorisation",
    )
    return Table(header, rows)


def tables(evaluation: EvaluationRecord) -> list[Table]:
    """Every table of the evaluation."""
    found = [likelihood_table(evaluation.likelihood, evaluation.baselines)]
    if evaluation.likelihood.bits_per_second_by_piece:
        found.append(_bits(evaluation.likelihood))
    found.append(_ratios(evaluation))
    if evaluation.two_sample is not None:
        found.append(_two_sample(evaluation.two_sample))
    if evaluation.form:
        found.append(_form(evaluation))
    if evaluation.faults:
        found.append(_faults(evaluation))
    if evaluation.endings is not None:
        found.append(_endings(evaluation.endings))
    found += [_memorisation(evaluation), _repetition(evaluation)]
    if evaluation.sweep:
        found.append(_sweep(evaluation.sweep))
    return found


def likelihood_table(likelihood: Likelihood, baselines: Sequence[Baseline]) -> Table:
    """The model and the baselines on held-out pieces."""
    per_note = likelihood.nats_per_note
    steps_per_note = None if per_note is None else per_note / likelihood.nats_per_note_step
    model = (
        "the model",
        likelihood.nats_per_note_step,
        likelihood.accuracy,
        likelihood.onset_accuracy,
        likelihood.pitch_accuracy,
    )
    others = ((row.name, row.nats_per_note_step, row.accuracy, row.onset_accuracy, None) for row in baselines)
    return Table(
        ("", "nats per note-step", "nats per note", "accuracy", "onsets only", "which onset"),
        [
            (
                name,
                "" if nats is None else f"{nats:.4f}",
                "" if nats is None or steps_per_note is None else f"{nats * steps_per_note:.3f}",
                _percent(accuracy),
                _percent(onsets),
                _percent(pitches),
            )
            for name, nats, accuracy, onsets, pitches in (model, *others)
        ],
        title=f"Likelihood of {likelihood.pieces} pieces: {likelihood.tokens} tokens, {likelihood.onsets} onsets",
    )


def _bits(likelihood: Likelihood) -> Table:
    pieces = np.percentile(likelihood.bits_per_second_by_piece, _SHOWN_PERCENTILES)
    values = (likelihood.bits_per_second or 0.0, *pieces.tolist())
    low, _, high = _SHOWN_PERCENTILES
    return Table(
        ("", "all pieces together", f"{low} % of the pieces below", "median piece", f"{high} % below"),
        [("bits per second", *(f"{value:.2f}" for value in values))],
        title="Bits per second of music",
    )


def _two_sample(test: TwoSampleTest) -> Table:
    return Table(
        ("held-out pieces and", "accuracy", "by seed"),
        [
            (name, f"{mean(accuracies):.1%}", " ".join(f"{accuracy:.1%}" for accuracy in accuracies))
            for name, accuracies in (("training pieces", test.training), ("generated pieces", test.generated))
        ],
        title=f"Two-sample test: random forests of {TREES} trees, {test.pieces} pieces of each set",
    )


def _form(evaluation: EvaluationRecord) -> Table:
    return Table(
        ("", "generated", "95 % interval", "training", "held out"),
        [
            (
                FORM_LABELS[row.measure],
                f"{row.generated:.1%}",
                f"{row.low:.1%} to {row.high:.1%}",
                f"{row.training:.1%}",
                f"{row.held_out:.1%}",
            )
            for row in evaluation.form
        ],
        title="Form",
    )


def _ratios(evaluation: EvaluationRecord) -> Table:
    return Table(
        ("", "generated", "training", "ratio", "95 % interval"),
        [
            (
                FEATURE_LABELS.get(row.feature, row.feature),
                f"{row.generated:.4f}",
                f"{row.training:.4f}",
                f"{row.ratio:.2f}",
                f"{row.low:.2f} to {row.high:.2f}",
            )
            for row in evaluation.ratios
        ],
        title="Distance to held-out music",
    )


def _faults(evaluation: EvaluationRecord) -> Table:
    return Table(
        ("", "generated", "95 % interval", "real", "training", "held out"),
        [
            (
                _FAULT_LABELS.get(row.fault, row.fault),
                f"{row.generated:.3f}",
                f"{row.low:.3f} to {row.high:.3f}",
                f"{row.real:.3f}",
                f"{row.training:.3f}",
                f"{row.held_out:.3f}",
            )
            for row in evaluation.faults
        ],
        title="Voice-leading faults per 100 steps",
    )


def _endings(endings: Endings) -> Table:
    shares = {f"{bars} bars": share for bars, share in endings.by_bars.items()}
    shares |= {"open": endings.open_length, "held out": endings.held_out}
    return Table(
        ("", *shares),
        [("close", *(f"{share:.1%}" for share in shares.values()))],
        title=(
            f"Endings: {endings.pieces} generated pieces of each length, in {', '.join(endings.meters)}; "
            f"{endings.shorter:.1%} are shorter than requested"
        ),
    )


def _memorisation(evaluation: EvaluationRecord) -> Table:
    return Table(
        ("", "median", "longest", "held-out median", "held-out longest", "bound", "above it"),
        [
            (
                row.view,
                f"{row.median:.0f}",
                str(row.longest),
                f"{row.held_out_median:.0f}",
                str(row.held_out_longest),
                f"{row.bound:.1f}",
                f"{row.share_above:.2%}",
            )
            for row in evaluation.memorisation
        ],
        title="Memorisation: longest match with the training music in any key, in onsets",
    )


def _repetition(evaluation: EvaluationRecord) -> Table:
    repetition = evaluation.repetition
    shares = zip(repetition.temperatures, repetition.share_above_by_temperature, strict=True)
    return Table(
        ("", "of the samples"),
        [
            *((f"temperature {temperature:g}", f"{share:.2%}") for temperature, share in shares),
            ("all", f"{repetition.share_above:.2%}"),
        ],
        title=(
            f"Repetition: one token more than {repetition.bound:.1f} times in a row, in {repetition.samples} samples "
            f"(longest {repetition.longest})"
        ),
    )


def _sweep(sweep: Sweep) -> Table:
    faults = tuple(sweep.points[0].faults)
    points = sorted(sweep.points, key=lambda point: point.excess)
    rows = [
        (
            str(point.sampling),
            f"{point.excess:.3f}",
            *(f"{point.ratios[name]:.2f}" for name in _SWEEP_FEATURES),
            *(f"{point.faults[fault]:.2f}" for fault in faults),
            f"{point.repetition_share:.1%}",
            f"{point.memorisation_share:.1%}",
        )
        for point in points[:_SWEEP_POINTS]
    ]
    return Table(
        (
            "sampling",
            "excess",
            *(FEATURE_LABELS[name] for name in _SWEEP_FEATURES),
            *(_FAULT_LABELS.get(fault, fault) for fault in faults),
            "repetition",
            "memorisation",
        ),
        rows,
        title=(
            f"Sampling sweep: the {len(rows)} best of {len(points)} points, {sweep.samples} samples each of "
            f"{sweep.digest[:12]}, against validation; chosen: {sweep.best}"
        ),
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
