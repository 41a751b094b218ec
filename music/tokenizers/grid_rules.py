"""What the constraints of a task leave to each sampled token of a grid, as far as the other tokens do not decide it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from music.composition.task import WritingTask
from music.errors import ContradictionError
from music.grammar import FORBIDDEN
from music.tokenizers.grid_ending import Ending
from music.tokenizers.grid_given import GivenGrid
from music.tokenizers.grid_vocabulary import END, FIRST_PITCH, HOLD, REST

if TYPE_CHECKING:
    from music.tokenizers.grid import GridTokenizer

NEVER: Final = 0
ALWAYS: Final = 1
DEPENDS: Final = 2
"""The values of `GridRules.hold`. `DEPENDS`: only a pitch that the step allows is held."""


@dataclass(frozen=True, slots=True, eq=False)
class GridRules:
    """The rules of each step and voice. They matter where the token is sampled."""

    pitches: NDArray[np.bool_]
    """(harmonies, voices, pitches): pitches that the scale, a chord and the range leave to a voice."""
    harmony: NDArray[np.int64]
    """(steps,): index into `pitches`."""
    hold: NDArray[np.int8]
    """(steps, voices): whether a note may be held into the step: `NEVER`, `ALWAYS` or `DEPENDS`."""
    onset: NDArray[np.bool_]
    """(steps, voices): whether a note may begin."""
    rest: NDArray[np.bool_]
    """(steps, voices): whether the voice may be silent."""
    spare_rest: NDArray[np.bool_]
    """(steps, voices): whether the voice may be silent if it cannot hold its note."""
    end: NDArray[np.bool_]
    """(steps,): whether the piece may end before the step."""


def grid_rules(
    tokenizer: "GridTokenizer",
    task: WritingTask,
    given: GivenGrid,
    harmony: NDArray[np.int64],
    pitches: NDArray[np.bool_],
    ending: Ending | None,
) -> GridRules:
    """The rules of a task with these `harmonies` and this ending."""
    steps, voices = given.forced.shape
    if ending is not None:
        harmony = harmony.copy()
        harmony[ending.step :] = len(pitches)
        pitches = np.concatenate((pitches, ending.pitches[None]))
    hold = _holds(pitches, harmony)
    sounds = (given.forced != REST) & ~given.sampled
    hold[1:][sounds[:-1]] = NEVER  # given notes do not become longer
    no_rests = task.constraints.no_rests
    rest = np.full((steps, voices), not no_rests)
    if no_rests:
        hold[given.tail & (hold == ALWAYS)] = DEPENDS
    onset = ~given.tail
    end = np.ones(steps, np.bool_)
    if task.length.is_open:
        end = np.arange(steps) * tokenizer.step_ticks >= max(task.length.min_ticks, given.steps * tokenizer.step_ticks)
    if ending is not None:
        hold[ending.step], hold[ending.step + 1 :] = NEVER, ALWAYS
        onset[ending.step + 1 :] = rest[ending.step :] = False
    return GridRules(pitches, harmony, hold, onset, rest, rest | given.tail, end)


def bias_rows(
    tokenizer: "GridTokenizer", task: WritingTask, rules: GridRules, sampled: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """The bias rows, and the index of each step's row: for a note that may be held, if that is allowed, and for others.

    Returns:
        Rows (rows, vocabulary), of which the first is all zeros, and two arrays (steps, voices) of their indices.
    """
    rows = [np.zeros(tokenizer.vocabulary_size, np.float32)]
    held, unheld = np.zeros((2, *sampled.shape), np.int64)
    for voice in range(tokenizer.voices):
        can_hold = rules.hold[:, voice] != NEVER
        onset, end = rules.onset[:, voice], rules.end
        if tokenizer.voice_order[0] != voice:
            end = np.ones_like(end)  # a piece ends only between steps
        spare = rules.spare_rest[:, voice]
        rest = np.where(can_hold, rules.rest[:, voice], spare)
        flags = rules.harmony * 16 + onset * 2 + end * 4
        code = flags + can_hold + rest * 8
        without = np.where(rules.hold[:, voice] == DEPENDS, flags + spare * 8, code)
        codes = np.stack((code, without))[:, sampled[:, voice]]
        kinds, inverse = np.unique(codes, return_inverse=True)
        density = task.controls.density * task.controls.voice_densities.get(voice, 1.0)
        pitches = rules.pitches[:, voice] | ~_between(tokenizer, *tokenizer.ranges[voice])  # the grammar has the rest
        indices = np.array([_add_row(rows, int(kind), pitches, density) for kind in kinds], np.int64)
        held[sampled[:, voice], voice], unheld[sampled[:, voice], voice] = indices[inverse.reshape(codes.shape)]
    return np.stack(rows), held, unheld


def _add_row(rows: list[NDArray[np.float32]], kind: int, pitches: NDArray[np.bool_], density: float) -> int:
    """Add the row of one kind of step, if it is not all zeros; its index."""
    row = np.zeros_like(rows[0])
    row[FIRST_PITCH:] = np.float32(math.log(density)) if kind & 2 else FORBIDDEN
    row[FIRST_PITCH:][~pitches[kind >> 4]] = FORBIDDEN
    for token, flag in ((HOLD, 1), (END, 4), (REST, 8)):
        if not kind & flag:
            row[token] = FORBIDDEN
    if not row.any():
        return 0
    rows.append(row)
    return len(rows) - 1


def harmonies(tokenizer: "GridTokenizer", task: WritingTask, steps: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The harmony of each step, (steps,), and the pitches of each harmony, (harmonies, voices, pitches).

    A harmony is what a chord, the scale and the ranges leave to each voice.

    Raises:
        ContradictionError: chords overlap, or one is shorter than a step or lies after the piece.
    """
    harmony = np.zeros(steps, np.int64)
    kinds: dict[tuple[frozenset[int], int | None], int] = {}
    end = 0
    for chord in task.constraints.chords:
        first = max(round(chord.start_ticks / tokenizer.step_ticks), 0)
        last = round(chord.end_ticks / tokenizer.step_ticks)
        bar = task.bar_at(max(chord.start_ticks, 0))
        name = f"the chord {chord.name}".rstrip()
        if first >= last:
            raise ContradictionError(chord.field, f"{name} in bar {bar} is shorter than a step of the grid")
        if first < end:
            raise ContradictionError(chord.field, f"{name} in bar {bar} begins before the chord before it ends")
        if first >= steps:
            raise ContradictionError(chord.field, f"{name} in bar {bar} begins after the end of the piece")
        end = last
        harmony[first:last] = kinds.setdefault((chord.pitch_classes, chord.bass), len(kinds) + 1)
    pitch_classes = np.arange(tokenizer.lowest_pitch, tokenizer.highest_pitch + 1) % 12
    pitches = np.ones((len(kinds) + 1, tokenizer.voices, len(pitch_classes)), np.bool_)
    for voice, (lowest, highest) in enumerate(tokenizer.ranges):
        low, high = task.constraints.ranges.get(voice, (lowest, highest))
        pitches[:, voice] &= _between(tokenizer, max(low, lowest), min(high, highest))
    if task.constraints.pitch_classes is not None:
        pitches &= np.isin(pitch_classes, list(task.constraints.pitch_classes))
    for (tones, bass), kind in kinds.items():
        pitches[kind] &= np.isin(pitch_classes, list(tones))
        if bass is not None and tokenizer.voices > 1:
            pitches[kind, -1] = pitches[0, -1] & (pitch_classes == bass)
    return harmony, pitches


def _between(tokenizer: "GridTokenizer", low: int, high: int) -> NDArray[np.bool_]:
    pitches = np.arange(tokenizer.lowest_pitch, tokenizer.highest_pitch + 1)
    between: NDArray[np.bool_] = (pitches >= low) & (pitches <= high)
    return between


def _holds(pitches: NDArray[np.bool_], harmony: NDArray[np.int64]) -> NDArray[np.int8]:
    """Whether a pitch of the step before is allowed at each step, (steps, voices)."""
    hold = np.full((len(harmony), pitches.shape[1]), ALWAYS, np.int8)
    changes = 1 + np.flatnonzero(np.diff(harmony))
    if not changes.size:
        return hold
    pairs, inverse = np.unique(np.stack((harmony[changes - 1], harmony[changes])), axis=1, return_inverse=True)
    before, after = pitches[pairs[0]], pitches[pairs[1]]
    kept, lost = (before & after).any(axis=2), (before & ~after).any(axis=2)
    hold[changes] = np.where(lost, np.where(kept, DEPENDS, NEVER), ALWAYS)[inverse.reshape(-1)]
    return hold
