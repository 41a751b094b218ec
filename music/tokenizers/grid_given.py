"""The given part of a piece on the grid: which tokens it forces, and which notes come back as they were given."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from music.composition.checks import given_length_ticks, region_steps
from music.composition.guide import SAMPLED
from music.composition.task import Region, WritingTask
from music.errors import ContradictionError
from music.score import NOTE_ORDER, Note, Score

if TYPE_CHECKING:
    from music.tokenizers.grid import GridTokenizer


@dataclass(frozen=True, slots=True, eq=False)
class GivenGrid:
    """What is given, on a grid of the whole piece. Voices are those of the score, not places in the step."""

    forced: NDArray[np.int64]
    """(steps, voices): the token of a given step, else `SAMPLED`."""
    tail: NDArray[np.bool_]
    """(steps, voices): sampled steps after a region at which a replaced note still sounded: no note begins here."""
    steps: int
    """Steps of the given piece; 0 if nothing is given."""
    early_onsets: dict[tuple[int, int], int] = field(default_factory=dict)
    """Onset in ticks of kept notes that begin before their step, by (step, voice): written notes end there."""
    changed: Counter[str] = field(default_factory=Counter)
    """Kept notes that the tokens do not represent as they are, by reason."""

    @property
    def sampled(self) -> NDArray[np.bool_]:
        """(steps, voices): whether the token is sampled."""
        sampled: NDArray[np.bool_] = self.forced == SAMPLED
        return sampled


class GivenNotes:
    """The notes of the given piece, their steps, and which of them are replaced; `kept` has the others.

    A note belongs to the step that is nearest to its onset. It is replaced if this step lies in a region of its voice.
    """

    def __init__(self, tokenizer: "GridTokenizer", task: WritingTask) -> None:
        self._tokenizer = tokenizer
        self._task = task
        self._score = task.given
        self.steps = -(-given_length_ticks(task) // tokenizer.step_ticks)
        self.in_region = np.zeros((self.steps, tokenizer.voices), np.bool_)
        for region in task.regions:
            start, end = region_steps(task, region, tokenizer.step_ticks)
            self.in_region[start:end, _known_voices(region, tokenizer.voices)] = True
        notes = () if task.given is None else tuple(sorted(task.given.notes, key=NOTE_ORDER))
        columns = np.fromiter(chain.from_iterable(notes), np.int64).reshape(len(notes), len(Note._fields))
        ticks = tokenizer.step_ticks
        onset, voice = columns[:, 0], columns[:, 4]
        first = np.rint(onset / ticks).astype(np.int64)
        self._last = np.maximum(np.rint((onset + columns[:, 1]) / ticks).astype(np.int64), first + 1)
        self._last = np.minimum(self._last, self.steps)
        self._first, self._voice = np.minimum(first, self.steps - 1), voice
        self._known = voice < tokenizer.voices
        self._replaced = np.zeros(len(notes), np.bool_)
        self._replaced[self._known] = self.in_region[self._first[self._known], voice[self._known]]
        self.kept = tuple(note for note, replaced in zip(notes, self._replaced, strict=True) if not replaced)

    def grid(self, regions: Sequence[Region], steps: int) -> GivenGrid:
        """The given notes on a grid of the whole piece, which has at least `self.steps`.

        Raises:
            ContradictionError: a region has no step, or all its steps belong to notes that began before it.
        """
        voices = self._tokenizer.voices
        forced = np.full((steps, voices), SAMPLED, np.int64)
        tail = np.zeros((steps, voices), np.bool_)
        if self._score is None:
            return GivenGrid(forced, tail, 0)
        for index, region in enumerate(regions):
            start, end = region_steps(self._task, region, self._tokenizer.step_ticks)
            if start >= end:
                raise ContradictionError(f"rewrite[{index}]", "is shorter than a step of the grid")
        kept = self._known & ~self._replaced
        occupied = self._extents(kept, self._last)
        tail[: self.steps] = self._tails(kept) & ~self.in_region & ~occupied
        given = ~tail[: self.steps] & (~self.in_region | occupied)
        score = self._score
        encoding = self._tokenizer.encode(
            Score(self.kept, self.steps * self._tokenizer.step_ticks, score.meter, score.pickup_ticks)
        )
        tokens = np.empty((self.steps, voices), np.int64)
        tokens[:, self._tokenizer.voice_order] = encoding.tokens[:-1].reshape(-1, voices)
        forced[: self.steps] = np.where(given, tokens, SAMPLED)
        return GivenGrid(forced, tail, self.steps, self._early_onsets(), +encoding.dropped)

    def _extents(self, chosen: NDArray[np.bool_], last: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(steps, voices): where one of the chosen notes sounds; `last` is the step after each note."""
        chosen = chosen & (last > self._first)
        change = np.zeros((self.steps + 1, self._tokenizer.voices), np.int64)
        np.add.at(change, (self._first[chosen], self._voice[chosen]), 1)
        np.add.at(change, (last[chosen], self._voice[chosen]), -1)
        sounding: NDArray[np.bool_] = change[:-1].cumsum(axis=0) > 0
        return sounding

    def _tails(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(steps, voices): where a replaced note sounds, up to the next kept note of its voice."""
        last = self._last.copy()
        for voice in np.unique(self._voice[self._replaced]):
            replaced = self._replaced & (self._voice == voice)
            onsets = np.append(np.sort(self._first[kept & (self._voice == voice)]), self.steps)
            following = onsets[np.searchsorted(onsets, self._first[replaced])]
            last[replaced] = np.minimum(last[replaced], following)
        return self._extents(self._replaced, last)

    def _early_onsets(self) -> dict[tuple[int, int], int]:
        ticks = self._tokenizer.step_ticks
        early: dict[tuple[int, int], int] = {}
        for note in self.kept:
            step = round(note.onset / ticks)
            if note.onset < step * ticks:
                place = step, note.voice
                early[place] = min(note.onset, early.get(place, note.onset))
        return early


def _known_voices(region: Region, voices: int) -> list[int]:
    return [voice for voice in range(voices) if region.voices is None or voice in region.voices]
