"""What tokenizers check of a task before they plan it: what they can do, and what excludes each other."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from music.composition.plan import WritingCapabilities
from music.composition.task import ChordSpan, Region, WritingTask
from music.errors import ContradictionError, UnsupportedTaskError
from music.harmony import note_name, pitch_class_names
from music.score import Note


def kept_notes(task: WritingTask, step_ticks: int) -> tuple[Note, ...]:
    """The given notes that come back as they are.

    A note begins at the step nearest to its onset. It is replaced if a region of its voice has this step.

    Args:
        task: to write.
        step_ticks: length of a step of the model's grid.
    """
    given = () if task.given is None else task.given.notes
    if not task.regions:
        return given
    spans = {voice: _spans(task, step_ticks, voice) for voice in {note.voice for note in given}}
    last = -(-given_length_ticks(task) // step_ticks) - 1
    return tuple(
        note for note in given if bisect_right(spans[note.voice], min(round(note.onset / step_ticks), last)) % 2 == 0
    )


def region_steps(task: WritingTask, region: Region, step_ticks: int) -> tuple[int, int]:
    """First step of a region and the one after its last; a region up to the end of the given piece has its last step.

    Args:
        task: that the region is part of.
        region: to round to the nearest steps.
        step_ticks: length of a step of the model's grid.

    Returns:
        The steps; the second one is not above the first one if the region has none.
    """
    steps = -(-given_length_ticks(task) // step_ticks)
    start, end = round(region.start_ticks / step_ticks), round(region.end_ticks / step_ticks)
    is_last = task.given is None or region.end_ticks >= task.given.length_ticks
    return max(start, 0), steps if is_last else min(end, steps)


def given_length_ticks(task: WritingTask) -> int:
    """Length of the given piece, the onset of its last note included; 0 if nothing is given."""
    if task.given is None:
        return 0
    last = task.given.notes[-1].onset + 1 if task.given.notes else 0  # notes are sorted by onset
    return max(task.given.length_ticks, last)


def check_supported(task: WritingTask, writing: WritingCapabilities, name: str) -> None:
    """Check a task against what a tokenizer can do, regions excepted.

    Args:
        task: to check.
        writing: what the tokenizer can do.
        name: of the tokenizer.

    Raises:
        UnsupportedTaskError: the tokenizer cannot do it; the error names the field.
    """
    constraints, controls = task.constraints, task.controls
    asked = {
        "given": task.given is not None and not writing.continuation and not task.regions,
        "length": task.length.is_open and not writing.open_length,
        constraints.pitch_field: constraints.pitch_classes is not None and not writing.scale,
        "constraints.chords": bool(constraints.chords) and not writing.chords,
        "constraints.ranges": bool(constraints.ranges) and not writing.ranges,
        "constraints.no_rests": constraints.no_rests and not writing.no_rests,
        "constraints.no_parallels": constraints.no_parallels and not writing.no_parallels,
        "constraints.natural_ending": constraints.natural_ending and not writing.natural_ending,
        "controls.density": controls.density != 1 and not writing.density,
        "controls.voice_densities": bool(controls.voice_densities) and not writing.voice_densities,
    }
    for field, unsupported in asked.items():
        if unsupported:
            raise UnsupportedTaskError(field, f"models with the tokenizer {name} cannot do this")


def check_consistent(task: WritingTask, ranges: Sequence[tuple[int, int]], kept: Sequence[Note]) -> None:
    """Check that no two parts of a task exclude each other, as far as that does not depend on the tokens.

    Args:
        task: to check.
        ranges: lowest and highest pitch of each voice of the model.
        kept: given notes that come back as they are.

    Raises:
        ContradictionError: two parts do; the error names the field and the bar.
    """
    length = given_length_ticks(task)
    if task.length.max_ticks < max(length, 1):
        raise ContradictionError("length", f"{task.length.max_ticks} ticks are less than the given piece has, {length}")
    if task.length.is_open and task.length.min_ticks > task.length.max_ticks:
        least, most = task.length.min_ticks, task.length.max_ticks
        raise ContradictionError("length", f"the least, {least} ticks, is above the most, {most} ticks")
    _check_regions(task, length, len(ranges))
    for field, voices in (
        ("constraints.ranges", task.constraints.ranges),
        ("controls.voice_densities", task.controls.voice_densities),
    ):
        unknown = [voice for voice in voices if not 0 <= voice < len(ranges)]
        if unknown:
            raise ContradictionError(field, f"voice {unknown[0]} is unknown; {_voices_text(len(ranges))}")
    for field, densities in (
        ("controls.density", [task.controls.density]),
        ("controls.voice_densities", task.controls.voice_densities.values()),
    ):
        if not all(0 < density < math.inf for density in densities):
            raise ContradictionError(field, "a density is a number above 0")
    _check_given_pitches(task, kept)
    for voice, (lowest, highest) in enumerate(ranges):
        _check_voice(task, voice, lowest, highest, is_lowest=0 < voice == len(ranges) - 1)


def is_written(task: WritingTask, voice: int, start_ticks: int, end_ticks: int) -> bool:
    """Whether notes of the voice are written somewhere between two ticks."""
    if max(start_ticks, given_length_ticks(task)) < end_ticks:
        return True
    return start_ticks < end_ticks and any(
        region.start_ticks < end_ticks
        and start_ticks < region.end_ticks
        and (region.voices is None or voice in region.voices)
        for region in task.regions
    )


def _spans(task: WritingTask, step_ticks: int, voice: int) -> list[int]:
    """The steps at which a voice's rewritten parts begin and end by turns, ascending."""
    own = (region for region in task.regions if region.voices is None or voice in region.voices)
    steps: list[int] = []
    for start, end in sorted(region_steps(task, region, step_ticks) for region in own):
        if start >= end:
            continue
        if steps and start <= steps[-1]:
            steps[-1] = max(steps[-1], end)
        else:
            steps += [start, end]
    return steps


def _voices_text(count: int) -> str:
    return "the model has only voice 0" if count == 1 else f"the model has voices 0 to {count - 1}"


def _check_regions(task: WritingTask, length: int, voices: int) -> None:
    for index, region in enumerate(task.regions):
        field = f"rewrite[{index}]"
        if task.given is None:
            raise ContradictionError(field, "no piece is given")
        if not 0 <= region.start_ticks < region.end_ticks:
            raise ContradictionError(field, f"ends at tick {region.end_ticks}, not after {region.start_ticks}")
        if region.start_ticks >= length:
            bar, last = (task.bar_at(ticks) for ticks in (region.start_ticks, length - 1))
            raise ContradictionError(field, f"begins in bar {bar}, after the given piece, which ends in bar {last}")
        unknown = sorted(voice for voice in region.voices or () if not 0 <= voice < voices)
        if unknown:
            raise ContradictionError(field, f"voice {unknown[0]} is unknown; {_voices_text(voices)}")
        if region.voices is not None and not region.voices:
            raise ContradictionError(field, "names no voice")


def _check_given_pitches(task: WritingTask, kept: Sequence[Note]) -> None:
    allowed = task.constraints.pitch_classes
    if allowed is None:
        return
    for note in kept:
        if note.pitch % 12 not in allowed:
            bar = task.bar_at(note.onset)
            raise ContradictionError(
                task.constraints.pitch_field,
                f"the given note {note_name(note.pitch)} in bar {bar} has none of the pitches "
                f"{pitch_class_names(allowed)}",
            )


def _check_voice(task: WritingTask, voice: int, lowest: int, highest: int, *, is_lowest: bool) -> None:
    """Check that the model's range, the asked range, the scale and every chord leave the voice a pitch.

    Args:
        task: to check.
        voice: to check.
        lowest: its lowest pitch in the model.
        highest: its highest pitch in the model.
        is_lowest: whether it is the lowest of several voices, which has the basses of the chords.
    """
    constraints = task.constraints
    low, high = constraints.ranges.get(voice, (lowest, highest))
    pitches = range(max(low, lowest), min(high, highest) + 1)
    if not pitches:
        raise ContradictionError(
            "constraints.ranges",
            f"voice {voice} has the range {note_name(lowest)} to {note_name(highest)} in this model, and "
            f"{note_name(low)} to {note_name(high)} is asked for",
        )
    if not is_written(task, voice, 0, task.length.max_ticks):
        return
    in_scale = [p for p in pitches if constraints.pitch_classes is None or p % 12 in constraints.pitch_classes]
    if not in_scale:
        raise ContradictionError(
            constraints.pitch_field,
            f"voice {voice} has no pitch of {pitch_class_names(constraints.pitch_classes or ())} between "
            f"{note_name(pitches[0])} and {note_name(pitches[-1])}",
        )
    pitch_classes = {pitch % 12 for pitch in in_scale}
    for chord in constraints.chords:
        tones = chord.pitch_classes if chord.bass is None or not is_lowest else frozenset({chord.bass})
        if pitch_classes.isdisjoint(tones) and is_written(
            task, voice, chord.start_ticks, min(chord.end_ticks, task.length.max_ticks)
        ):
            raise ContradictionError(
                chord.field,
                f"scale and range leave voice {voice} no tone of the chord {_chord_text(chord)} in bar "
                f"{task.bar_at(max(chord.start_ticks, 0))}: none of {pitch_class_names(tones)}",
            )


def _chord_text(chord: ChordSpan) -> str:
    return chord.name or pitch_class_names(chord.pitch_classes)
