"""Where the given notes of a task lie among the bars of `events`, and where notes may be written.

Places are steps, counted from the bar line at or before the start of the piece.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from music.composition.checks import given_length_ticks, region_steps
from music.composition.task import WritingTask
from music.errors import ContradictionError
from music.score import Note
from music.tokenizers.event_grammar import HEADER_TOKENS, bar_room
from music.tokenizers.event_pitches import PitchRules
from music.tokenizers.event_placement import Place, fit_bar, place_notes
from music.tokenizers.event_vocabulary import FIRST_POSITION

if TYPE_CHECKING:
    from music.tokenizers.events import EventsTokenizer


class GivenNote(NamedTuple):
    """A given note as tokens."""

    position: int
    """Step in the bar."""
    tokens: tuple[int, ...]
    """PITCH TIE* DURATION, and VELOCITY if the piece has dynamics."""


@dataclass(frozen=True, slots=True)
class GivenBar:
    """The given notes of a bar."""

    notes: tuple[GivenNote, ...] = ()
    """In the order of their tokens."""
    remaining: tuple[int, ...] = (0,)
    """Number of tokens of the notes from each one on, with all POSITIONs after its own; 0 after the last note."""

    @property
    def tokens(self) -> list[int]:
        """All tokens of the bar without its BAR, if nothing is written in it."""
        tokens: list[int] = []
        position = -1
        for note in self.notes:
            if note.position != position:
                tokens.append(FIRST_POSITION + note.position)
            tokens += note.tokens
            position = note.position
        return tokens


EMPTY_BAR: Final = GivenBar()


@dataclass(frozen=True, slots=True, eq=False)
class EventLayout:
    """A task on the grid of `events`."""

    header: tuple[int, ...]
    """PROGRAM TEMPO METER DYNAMICS POSITION."""
    has_dynamics: bool
    """Whether notes have a VELOCITY."""
    bar_steps: int
    """Places in a bar."""
    bars: int
    """Number of bars, complete or not."""
    start: int
    """Place at which the piece starts."""
    given_steps: int
    """Length of the given piece; 0 if nothing is given."""
    least_end: int | None
    """The first place at which the piece may end; None if its length is fixed."""
    given: Mapping[int, GivenBar]
    """The given notes by bar; bars without any are left out."""
    given_places: frozenset[Place]
    """Step (from the start of the piece), voice and pitch of the given notes as the model sees them.

    Nothing is written in these places. Nor is it in the places of given notes that do not fit into their bars, because
    the bars have no room left there."""
    pitches: PitchRules
    """What may be written where."""
    open_before: NDArray[np.int64]
    """(places + 1,): number of places before each one where a note may be written."""
    last_open: int
    """The last place where a note may be written; -1 if there is none."""
    changed_notes: Counter[str] = field(default_factory=Counter)
    """Given notes that the model does not see as they are, by reason."""

    def has_given_after(self, bar: int, index: int) -> bool:
        """Whether the model sees given notes after the first `index` ones of a bar."""
        return index < len(self.bar(bar).notes) or any(number > bar for number in self.given)

    def bar(self, number: int) -> GivenBar:
        """The given notes of a bar, from 0."""
        return self.given.get(number, EMPTY_BAR)

    def has_open(self, first: int, end: int) -> bool:
        """Whether a note may be written at one of the places from `first` to the one before `end`."""
        return first < end and bool(self.open_before[end] > self.open_before[first])

    def may_end_in(self, number: int) -> bool:
        """Whether the piece may end with the bar line after a bar."""
        return self.least_end is not None and (number + 1) * self.bar_steps >= self.least_end

    def is_closed(self, number: int) -> bool:
        """Whether nothing may be written in a bar, and the piece may not end there."""
        first = number * self.bar_steps
        return not self.has_open(first, first + self.bar_steps) and not self.may_end_in(number)

    def free_bar(self) -> int:
        """The first bar from which on nothing but scale, ranges and voice densities binds the piece.

        All following bars are alike: nothing is given, and every place is written.
        """
        bound = ~self.pitches.is_free
        bound[: self.start] = False
        last_bound = int(np.flatnonzero(bound)[-1]) // self.bar_steps if bound.any() else -1
        return max(last_bound, max(self.given, default=-1)) + 1

    def max_tokens(self, bar_tokens: int) -> int:
        """Maximum number of tokens: `bar_tokens` for each bar in which notes may be written or the piece may end."""
        count = 0
        for number in range(self.bars):
            given = self.bar(number)
            fixed = bool(given.notes) + given.remaining[0] + 1 + (HEADER_TOKENS if number == 0 else 0)
            count += fixed if self.is_closed(number) else bar_tokens
        return count


def lay_out(task: WritingTask, tokenizer: "EventsTokenizer", kept: Sequence[Note]) -> EventLayout:
    """Put a task on the grid.

    Args:
        task: to write.
        tokenizer: of the model.
        kept: given notes that come back as they are.

    Raises:
        ContradictionError: a region has no step of the grid.
    """
    v, step_ticks = tokenizer.vocabulary, tokenizer.step_ticks
    header = tokenizer.header_tokens(task.attributes)
    has_dynamics = v.has_dynamics(header[3])
    bar_steps = v.bar_steps[header[2] - v.first_meter]
    start = header[4] - FIRST_POSITION
    steps = math.ceil(task.length.max_ticks / step_ticks)
    given_steps = math.ceil(given_length_ticks(task) / step_ticks)
    bars = tokenizer.bar_count(task.length.max_ticks, task.attributes)
    changed: Counter[str] = Counter()
    placed = place_notes(kept, v, step_ticks, changed, steps - 1)
    given: dict[int, GivenBar] = {}
    places: set[Place] = set()
    for number, group in groupby(sorted(placed.items()), key=lambda item: (start + item[0][0]) // bar_steps):
        room = bar_room(tokenizer.bar_tokens, is_first=number == 0, has_dynamics=has_dynamics)
        fitting = fit_bar(list(group), room, v.durations, changed, has_dynamics=has_dynamics)
        places.update(place for place, _ in fitting)
        given[number] = _given_bar(
            GivenNote((start + step) % bar_steps, v.note(voice, pitch, duration, velocity if has_dynamics else None))
            for (step, voice, pitch), (duration, velocity) in fitting
        )
    written = _written(task, bars * bar_steps, start, given_steps, step_ticks, v.voices)
    pitches = PitchRules(v, task.constraints, written, start, step_ticks)
    is_open = pitches.is_open
    least_end = None
    if task.length.is_open:
        last_given = max((step for step, _, _ in places), default=0)
        least_end = start + max(math.ceil(task.length.min_ticks / step_ticks), given_steps, last_given + 1)
    return EventLayout(
        header=header,
        has_dynamics=has_dynamics,
        bar_steps=bar_steps,
        bars=bars,
        start=start,
        given_steps=given_steps,
        least_end=least_end,
        given=given,
        given_places=frozenset(places),
        pitches=pitches,
        open_before=np.concatenate([[0], np.cumsum(is_open)]),
        last_open=int(np.flatnonzero(is_open)[-1]) if is_open.any() else -1,
        changed_notes=changed,
    )


def _given_bar(notes: Iterable[GivenNote]) -> GivenBar:
    in_order = tuple(notes)
    remaining = [0]
    for index in reversed(range(len(in_order))):
        note, later = in_order[index], in_order[index + 1 : index + 2]
        is_last = bool(later) and later[0].position != note.position
        remaining.append(remaining[-1] + len(note.tokens) + is_last)
    return GivenBar(in_order, tuple(reversed(remaining)))


def _written(
    task: WritingTask, places: int, start: int, given_steps: int, step_ticks: int, voices: int
) -> NDArray[np.bool_]:
    """(places, voices): where notes are written."""
    written = np.zeros((places, voices), np.bool_)
    for index, region in enumerate(task.regions):
        first, end = region_steps(task, region, step_ticks)
        if first >= end:
            raise ContradictionError(f"rewrite[{index}]", f"has no step of the model's grid of {step_ticks} ticks")
        for voice in range(voices) if region.voices is None else region.voices:
            written[start + first : start + end, voice] = True
    if math.ceil(task.length.max_ticks / step_ticks) > given_steps:
        written[start + given_steps :] = True
    return written
