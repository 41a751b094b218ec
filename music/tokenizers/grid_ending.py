"""The natural ending of a grid: its place, and the pitches of its chord."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import SAMPLED
from music.composition.task import WritingTask
from music.errors import ContradictionError
from music.harmony import pitch_class_names
from music.score import TICKS_PER_QUARTER, Meter
from music.tokenizers.grid_given import GivenGrid
from music.tokenizers.grid_vocabulary import FIRST_PITCH, HOLD, REST
from music.tokenizers.grid_voicing import STILL, ChordGoal, Triad, VoicingSearch

if TYPE_CHECKING:
    from music.tokenizers.grid import GridTokenizer

FIELD: Final = "constraints.natural_ending"


@dataclass(frozen=True, slots=True, eq=False)
class Ending:
    """The last chord of a piece, of which at least one voice is written."""

    step: int
    """The step at which all voices strike; they hold to the end."""
    pitches: NDArray[np.bool_]
    """(voices, pitches): pitches that a voice may have in the chord."""
    goals: tuple[ChordGoal, ...]
    """What the chord becomes: the first one that is possible. Empty for a model with one voice."""


def ending_grid_ticks(meter: Meter | None) -> int:
    """Distance of the places in a bar at which the last chord may begin: a beat of the meter, but at least a quarter.

    An unknown meter has quarters.
    """
    return TICKS_PER_QUARTER if meter is None else max(TICKS_PER_QUARTER, meter.beat_ticks)


def plan_ending(
    tokenizer: "GridTokenizer",
    task: WritingTask,
    given: GivenGrid,
    harmony: NDArray[np.int64],
    pitches: NDArray[np.bool_],
) -> Ending | None:
    """The natural ending of a task; None if it is not asked for, or the last chord is completely given.

    Args:
        tokenizer: of the piece.
        task: to write.
        given: its given part.
        harmony: (steps,), index into `pitches`.
        pitches: (harmonies, voices, pitches): what the other constraints leave to each voice.

    Raises:
        ContradictionError: the length is open, the piece is too short, or no chord fits.
    """
    if not task.constraints.natural_ending:
        return None
    if task.length.is_open:
        raise ContradictionError(FIELD, "the length must be fixed, not left to the model")
    step = _ending_step(tokenizer, task, given)
    written = [voice for voice in range(tokenizer.voices) if given.forced[-1, voice] == SAMPLED]
    for voice in written:
        if not (given.sampled & ~given.tail)[step:, voice].all():
            raise _contradiction(tokenizer, task, step, f"voice {voice} is partly given")
    allowed: NDArray[np.bool_] = pitches[np.unique(harmony[step:])].min(axis=0)
    known = {voice: int(given.forced[step, voice]) for voice in range(tokenizer.voices) if voice not in written}
    tonic = task.constraints.tonic
    if tokenizer.voices == 1:
        goals: tuple[ChordGoal, ...] = ()
        if tonic is not None:
            allowed &= (np.arange(allowed.shape[1]) + tokenizer.lowest_pitch) % 12 == tonic
        is_possible = bool(allowed.any()) and all(allowed[0, token - FIRST_PITCH] for token in known.values())
    else:
        goals = _goals(tokenizer, tonic, len(written))
        open_voices = {voice: (FIRST_PITCH + np.flatnonzero(allowed[voice])).tolist() for voice in written}
        is_possible = VoicingSearch(STILL, tokenizer.vocabulary_size - 1, goals[-1]).is_possible(known, open_voices)
    if not is_possible:
        on = "" if tonic is None else f" on {pitch_class_names([tonic])}"
        wanted = f"note{on}" if tokenizer.voices == 1 else f"triad{on} in root position"
        raise _contradiction(tokenizer, task, step, f"given notes, ranges, scale and chords leave no {wanted}")
    return Ending(step, allowed, goals) if written else None


def _goals(tokenizer: "GridTokenizer", tonic: int | None, written: int) -> tuple[ChordGoal, ...]:
    """The chords to aim at, the best first: if possible all three tones, else root and third (of two voices: the root).

    A chord that is completely given may be any part of a triad above its root.
    """
    roots = range(12) if tonic is None else (tonic,)
    triads = tuple(Triad.of(root, is_major=is_major) for root in roots for is_major in (True, False))
    needed = [1] if not written else [2, 1] if tokenizer.voices == 2 else [3, 2]
    offset = tokenizer.lowest_pitch - FIRST_PITCH
    return tuple(ChordGoal(triads, count, offset, tokenizer.voices - 1) for count in needed)


def _ending_step(tokenizer: "GridTokenizer", task: WritingTask, given: GivenGrid) -> int:
    """The step of the last chord: where all given voices strike their last notes, else the last possible place."""
    steps, quarter = len(given.forced), tokenizer.steps_per_quarter
    given_voices = [voice for voice in range(tokenizer.voices) if given.forced[-1, voice] != SAMPLED]
    if not given_voices:
        for step in range(steps - quarter, -1, -1):
            if _may_begin_at(tokenizer, task, step):
                return step
        raise ContradictionError(FIELD, "the piece is too short: no beat is left that can be held for a quarter note")
    onsets = {voice: int(np.flatnonzero(given.forced[:, voice] != HOLD)[-1]) for voice in given_voices}
    first, last = min(onsets.values()), max(onsets.values())
    for voice, onset in onsets.items():
        if given.forced[onset, voice] == REST:
            raise _contradiction(tokenizer, task, onset, f"voice {voice} is given and silent at the end")
    if first != last:
        raise _contradiction(tokenizer, task, last, "the given voices do not strike it together")
    if steps - last < quarter:
        raise _contradiction(tokenizer, task, last, "the given notes last less than a quarter note")
    return last


def _may_begin_at(tokenizer: "GridTokenizer", task: WritingTask, step: int) -> bool:
    ticks = tokenizer.step_ticks
    pickup = round(task.attributes.pickup_ticks / ticks) * ticks
    meter = task.attributes.meter
    bar_ticks = TICKS_PER_QUARTER if meter is None else meter.bar_ticks
    return (step * ticks - pickup) % bar_ticks % ending_grid_ticks(meter) == 0


def _contradiction(tokenizer: "GridTokenizer", task: WritingTask, step: int, problem: str) -> ContradictionError:
    bar = task.bar_at(step * tokenizer.step_ticks)
    return ContradictionError(FIELD, f"no last chord can begin in bar {bar}: {problem}")
