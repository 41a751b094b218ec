"""Plans tasks for `grid`, and turns the tokens of a planned piece into its score."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from music.composition.checks import check_consistent, check_supported
from music.composition.guide import SAMPLED
from music.composition.plan import WritingCapabilities, WritingPlan
from music.composition.task import WritingTask
from music.errors import ContradictionError
from music.score import NOTE_ORDER, TICKS_PER_QUARTER, Score, ScoreAttributes
from music.tokenizers.grid_ending import plan_ending
from music.tokenizers.grid_given import GivenGrid, GivenNotes
from music.tokenizers.grid_guide import GridGuide
from music.tokenizers.grid_rules import grid_rules, harmonies
from music.tokenizers.grid_stream import GridStream
from music.tokenizers.grid_vocabulary import END, HOLD

if TYPE_CHECKING:
    from music.tokenizers.grid import GridTokenizer


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GridPlan(WritingPlan):
    """See `WritingPlan`. A piece ends with its last token, or before if its length is open."""

    tokenizer: "GridTokenizer"
    attributes: ScoreAttributes
    given: GivenGrid

    def score(self, tokens: NDArray[np.integer[Any]]) -> Score:
        """See `WritingPlan.score`. Of an incomplete piece, given notes that begin after its end are left out."""
        given = self.given
        written = self.tokenizer.decode(self._whole_steps(tokens), self.attributes)
        notes = list(written.notes)
        if given.steps:
            ticks = self.tokenizer.step_ticks
            notes = [note for note in notes if given.forced[note.onset // ticks, note.voice] == SAMPLED]
            if given.early_onsets:
                ends = [given.early_onsets.get((note.end // ticks, note.voice), note.end) for note in notes]
                notes = [note._replace(duration=end - note.onset) for note, end in zip(notes, ends, strict=True)]
            notes += [note for note in self.kept if note.onset < written.length_ticks]
            notes.sort(key=NOTE_ORDER)
        length = max([written.length_ticks, *(note.end for note in notes)])
        return replace(written, notes=tuple(notes), length_ticks=length)

    def _whole_steps(self, tokens: NDArray[np.integer[Any]]) -> list[int]:
        """The tokens before the end token. An incomplete last step gets its given tokens; other notes are held."""
        ids: list[int] = tokens.tolist()
        if END in ids:
            del ids[ids.index(END) :]
        order = self.tokenizer.voice_order
        step, place = divmod(len(ids), len(order))
        if place:
            given = (int(self.given.forced[step, voice]) for voice in order[place:])
            ids += [HOLD if token == SAMPLED else token for token in given]
        return ids

    def stream(self) -> GridStream:
        """See `WritingPlan.stream`."""
        return GridStream(self.tokenizer, self.given, self.kept)

    def note_steps(self, tokens: NDArray[np.integer[Any]]) -> int:
        """See `WritingPlan.note_steps`: one for each voice and step."""
        return max(len(tokens) - int(END in tokens) - len(self.primer), 1)


def plan_grid(tokenizer: "GridTokenizer", task: WritingTask) -> GridPlan:
    """Plan a task; see `Tokenizer.plan`."""
    check_supported(task, tokenizer.writing, tokenizer.name)
    notes = GivenNotes(tokenizer, task)
    check_consistent(task, tokenizer.ranges, notes.kept)
    steps = -(-task.length.max_ticks // tokenizer.step_ticks)
    given = notes.grid(task.regions, steps)
    sampled = given.sampled
    if not sampled.any():
        raise _nothing_to_write(task)
    harmony, pitches = harmonies(tokenizer, task, steps)
    ending = plan_ending(tokenizer, task, given, harmony, pitches)
    rules = grid_rules(tokenizer, task, given, harmony, pitches, ending)
    order = list(tokenizer.voice_order)
    is_sampled, tokens = sampled[:, order].reshape(-1), given.forced[:, order].reshape(-1)
    primer = int(is_sampled.argmax())
    guide = GridGuide(tokenizer, task, given, rules, ending, primer)
    return GridPlan(
        position_index=_first_position(tokenizer, task),
        primer=tuple(tokens[:primer].tolist()),
        guide=guide if guide.is_needed else None,
        max_tokens=len(tokens),
        may_end=task.length.is_open,
        is_observed=guide.is_observed,
        given_ticks=given.steps * tokenizer.step_ticks,
        kept=notes.kept,
        changed_notes=given.changed,
        tokenizer=tokenizer,
        attributes=task.attributes,
        given=given,
    )


def writing_capabilities(voices: int) -> WritingCapabilities:
    """What `plan_grid` can plan for a model with so many voices."""
    several = voices > 1
    return WritingCapabilities(
        continuation=True,
        rewrite_bars=True,
        rewrite_voices=several,
        rewrite_ticks=True,
        scale=True,
        chords=True,
        ranges=True,
        no_rests=True,
        no_parallels=several,
        natural_ending=True,
        density=True,
        voice_densities=several,
        open_length=True,
    )


def _first_position(tokenizer: "GridTokenizer", task: WritingTask) -> int:
    """Position index of the first token. A given piece in an unknown meter has no bar lines.

    Raises:
        UnsupportedMeterError: a new piece is to have a meter or a pickup without positions.
    """
    positions, attributes = tokenizer.positions, task.attributes
    pickup = round(attributes.pickup_ticks / tokenizer.step_ticks) * tokenizer.step_ticks
    if task.given is None and attributes.meter is not None:
        return positions.start(attributes.meter, attributes.pickup_ticks)
    unmetered = positions.starts[None, pickup % TICKS_PER_QUARTER]
    return positions.starts.get((attributes.meter, pickup), unmetered)


def _nothing_to_write(task: WritingTask) -> ContradictionError:
    if task.regions:
        return ContradictionError("rewrite", "nothing is left to write: given notes last through all regions")
    bar = task.bar_at(max(task.length.max_ticks - 1, 0))
    return ContradictionError("length", f"nothing is left to write: the given piece lasts to the end of bar {bar}")
