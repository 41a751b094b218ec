"""Reads the regions of a given piece that are written anew."""

from collections.abc import Sequence
from typing import Final

from fantasia.v1 import generation_pb2 as pb
from music.bar_lines import BarLines
from music.composition.plan import WritingCapabilities
from music.composition.task import Region
from server.rpc.validation import RequestValidator

MAX_REGIONS: Final = 256
UNSUPPORTED: Final = "is not supported by this model"


def read_regions(
    messages: Sequence[pb.Region],
    *,
    bar_lines: BarLines | None,
    length_ticks: int | None,
    step_ticks: int,
    voices: int,
    writing: WritingCapabilities,
    validator: RequestValidator,
) -> tuple[Region, ...]:
    """Read `GenerateRequest.rewrite`.

    If the given piece or the meter is not valid (None), the regions are checked as far as possible without it.

    Args:
        messages: the regions.
        bar_lines: of the given piece.
        length_ticks: of the given piece, a whole number of steps.
        step_ticks: length of a step of the model's grid.
        voices: number of voices of the model.
        writing: what the model supports.
        validator: collects the violations.

    Returns:
        The valid regions, on the grid; none without bar lines or length.
    """
    if len(messages) > MAX_REGIONS:
        validator.refuse("rewrite", f"has {len(messages):,} regions; at most {MAX_REGIONS} are allowed")
    regions = []
    for index, message in enumerate(messages[:MAX_REGIONS]):
        field = f"rewrite[{index}]"
        span = _span(message, field, bar_lines, length_ticks, step_ticks, validator)
        chosen = read_voices(message.voices, f"{field}.voices", voices, validator)
        if span is None or chosen is None or bar_lines is None or length_ticks is None:
            continue
        region = Region(*span, frozenset(chosen) if 0 < len(chosen) < voices else None)
        if _is_supported(region, field, bar_lines, length_ticks, step_ticks, writing, validator):
            regions.append(region)
    return tuple(regions)


def read_voices(asked: Sequence[int], field: str, voices: int, validator: RequestValidator) -> Sequence[int] | None:
    """Voices of the model, each once; None if they are not valid."""
    valid = [validator.in_range(f"{field}[{i}]", voice, 0, voices - 1) for i, voice in enumerate(asked[: voices + 1])]
    if len(set(asked)) < len(asked):
        valid.append(validator.refuse(field, "must name each voice once"))
    return asked if all(valid) else None


def _span(
    message: pb.Region,
    field: str,
    bar_lines: BarLines | None,
    length_ticks: int | None,
    step_ticks: int,
    validator: RequestValidator,
) -> tuple[int, int] | None:
    """First tick and end of a region, on the grid; None if it is not valid, or the length or the bar lines are None."""
    match message.WhichOneof("span"):
        case "bars":
            first, last = message.bars.first, message.bars.last
            if bar_lines is None or length_ticks is None:
                is_first = validator.at_least(f"{field}.bars.first", first, 0)
                validator.at_least(f"{field}.bars.last", last, first if is_first else 0)
                return None
            low, high = bar_lines.first_bar, bar_lines.last_bar(length_ticks)
            is_first = validator.in_range(f"{field}.bars.first", first, low, high)
            is_last = validator.in_range(f"{field}.bars.last", last, first if is_first else low, high)
            if not (is_first and is_last):
                return None
            start, end = bar_lines.start(first), bar_lines.start(last + 1)
        case "ticks":
            start, end = message.ticks.start, message.ticks.end
            if length_ticks is None:
                is_start = validator.at_least(f"{field}.ticks.start", start, 0)
                validator.at_least(f"{field}.ticks.end", end, start + 1 if is_start else 1)
                return None
            is_start = validator.in_range(f"{field}.ticks.start", start, 0, length_ticks - step_ticks)
            is_end = validator.in_range(f"{field}.ticks.end", end, start + 1 if is_start else 1, length_ticks)
            if not (is_start and is_end):
                return None
        case _:
            return None if length_ticks is None else (0, length_ticks)
    start, end = (min(round(tick / step_ticks) * step_ticks, length_ticks) for tick in (start, end))
    if end <= start:
        validator.refuse(field, f"must have at least one step of the model's grid, {step_ticks} ticks")
        return None
    return start, end


def _is_supported(
    region: Region,
    field: str,
    bar_lines: BarLines,
    length_ticks: int,
    step_ticks: int,
    writing: WritingCapabilities,
    validator: RequestValidator,
) -> bool:
    if region.voices is None:
        if not writing.rewrite_bars:
            return validator.refuse(field, UNSUPPORTED)
    elif not writing.rewrite_voices:
        return validator.refuse(f"{field}.voices", UNSUPPORTED)
    lines = {0, length_ticks}
    for tick in (region.start_ticks, region.end_ticks):
        line = bar_lines.start(bar_lines.bar_at(tick))
        on_line = tick in lines or tick == round(line / step_ticks) * step_ticks
        if not on_line and not writing.rewrite_ticks:
            return validator.refuse(field, "must begin and end with a bar; this model supports no other regions")
    return True
