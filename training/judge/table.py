"""A judgement for people: as text for a terminal, as Markdown for a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from training.judge.features import FEATURES
from training.judge.judgement import BaselineRow, Judgement, Likelihood, Sweep

_WORDS: Final = {feature.name: feature.words for feature in FEATURES}
_FAULT_WORDS: Final = {
    "parallel_fifths": "parallel fifths",
    "parallel_octaves": "parallel octaves and unisons",
    "crossings": "crossed voices",
    "out_of_range": "out of the voice's range",
}
_SHOWN_POINTS: Final = 12


@dataclass(frozen=True, slots=True)
class Section:
    """One table."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def as_text(judgement: Judgement) -> str:
    """The judgement in lines for a terminal."""
    parts = ["\n".join(_setting(judgement)), *map(section_text, _sections(judgement))]
    if judgement.left_out:
        parts.append("\n".join(judgement.left_out))
    return "\n\n".join(parts) + "\n"


def section_text(section: Section) -> str:
    """One table in lines for a terminal."""
    lines = [section.header, *section.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells))
        for cells in ([*zip(line, widths, strict=True)] for line in lines)
    ]
    return "\n".join([section.title, *aligned])


def as_markdown(judgement: Judgement) -> str:
    """The judgement as paragraphs and tables."""
    parts = ["  \n".join(_setting(judgement))]
    for section in _sections(judgement):
        rule = (":---", *("---:",) * (len(section.header) - 1))
        lines = [section.header, rule, *section.rows]
        parts.append("\n".join([f"**{section.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)]))
    parts += judgement.left_out
    return "\n\n".join(parts) + "\n"


def _setting(judgement: Judgement) -> list[str]:
    pieces = ", ".join(f"{count} {side}" for side, count in judgement.pieces.items())
    return [
        f"{judgement.model} {judgement.digest[:12]}, {judgement.date}",
        f"{judgement.corpus}: {pieces}; held out: {judgement.split}",
        f"{judgement.samples} samples at {judgement.sampling}, seeds from {judgement.seed}; "
        f"distances between {judgement.matched} pieces and {judgement.matched}",
    ]


def _sections(judgement: Judgement) -> list[Section]:
    sections = [likelihood_section(judgement.likelihood, judgement.baselines), _ratios(judgement)]
    if judgement.faults:
        sections.append(_faults(judgement))
    sections += [_copying(judgement), _collapse(judgement)]
    if judgement.sweep:
        sections.append(_sweep(judgement.sweep))
    return sections


def likelihood_section(likelihood: Likelihood, baselines: Sequence[BaselineRow]) -> Section:
    """What a model makes of held-out pieces, beside what baselines make of them."""
    own = ("the model", likelihood.nats_per_note_step, likelihood.accuracy, likelihood.onset_accuracy)
    others = ((row.name, row.nats_per_note_step, row.accuracy, row.onset_accuracy) for row in baselines)
    rows = tuple(
        (name, _number(nats, 4), _percent(all_), _percent(onsets)) for name, nats, all_, onsets in (own, *others)
    )
    title = f"Likelihood of {likelihood.pieces} pieces, {likelihood.tokens} tokens, {likelihood.onsets} of them onsets"
    return Section(title, ("", "nats per note-step", "accuracy", "onsets only"), rows)


def _ratios(judgement: Judgement) -> Section:
    rows = tuple(
        (
            _WORDS.get(row.feature, row.feature),
            f"{row.generated:.4f}",
            f"{row.real:.4f}",
            f"{row.ratio:.2f}",
            f"{row.low:.2f} to {row.high:.2f}",
        )
        for row in judgement.ratios
    )
    return Section("Distance to held-out music", ("", "generated", "training", "ratio", "95 % interval"), rows)


def _faults(judgement: Judgement) -> Section:
    rows = tuple(
        (
            _FAULT_WORDS.get(row.fault, row.fault),
            f"{row.generated:.3f}",
            f"{row.low:.3f} to {row.high:.3f}",
            f"{row.real:.3f}",
            f"{row.training:.3f}",
            f"{row.held_out:.3f}",
        )
        for row in judgement.faults
    )
    header = ("", "generated", "95 % interval", "real", "training", "held out")
    return Section("Voice leading, per 100 steps", header, rows)


def _copying(judgement: Judgement) -> Section:
    rows = tuple(
        (
            row.view,
            f"{row.median:.0f}",
            str(row.longest),
            f"{row.real_median:.0f}",
            str(row.real_longest),
            f"{row.bound:.1f}",
            f"{row.share:.2%}",
        )
        for row in judgement.copying
    )
    header = ("", "median", "longest", "held-out median", "held-out longest", "bound", "past it")
    return Section("Longest match with the training music, in onsets, in any key", header, rows)


def _collapse(judgement: Judgement) -> Section:
    collapse = judgement.collapse
    by_temperature = zip(collapse.temperatures, collapse.share_by_temperature, strict=True)
    rows = (
        *((f"temperature {heat:g}", f"{share:.2%}") for heat, share in by_temperature),
        ("all", f"{collapse.share:.2%}"),
    )
    title = (
        f"Collapse: one token more than {collapse.bound:.1f} times in a row, in {collapse.samples} samples "
        f"(longest {collapse.longest})"
    )
    return Section(title, ("", "of the samples"), rows)


def _sweep(sweep: Sweep) -> Section:
    faults = tuple(sweep.points[0].faults)
    points = sorted(sweep.points, key=lambda point: point.excess)
    rows = tuple(
        (
            str(point.sampling),
            f"{point.excess:.3f}",
            *(f"{point.ratios[name]:.2f}" for name in ("pitch_class_transition", "interval", "note_length")),
            *(f"{point.faults[fault]:.2f}" for fault in faults),
            f"{point.collapse_share:.1%}",
            f"{point.copying_share:.1%}",
        )
        for point in points[:_SHOWN_POINTS]
    )
    header = (
        "sampling",
        "excess",
        *(_WORDS[name] for name in ("pitch_class_transition", "interval", "note_length")),
        *(_FAULT_WORDS.get(fault, fault) for fault in faults),
        "collapse",
        "copying",
    )
    title = (
        f"Sampling: the {len(rows)} best of {len(points)} settings, {sweep.samples} samples each of "
        f"{sweep.digest[:12]}, against validation; chosen: {sweep.best}"
    )
    return Section(title, header, rows)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
