"""The instructions of a task for `events`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import NO_BIAS, SAMPLED, Cursor, Guide, Instructions
from music.composition.task import Controls
from music.grammar import FORBIDDEN
from music.tokenizers.event_choices import EventChoices
from music.tokenizers.event_layout import EventLayout
from music.tokenizers.event_state import EventState
from music.tokenizers.event_vocabulary import BAR, END

if TYPE_CHECKING:
    from music.tokenizers.events import EventsTokenizer

_SCALE_ROW: Final = 1
_SCALE_NO_END_ROW: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Forced tokens up to the next sampled one, or to the end of the piece."""

    tokens: NDArray[np.int64]
    """(n,), at least one."""
    after: EventState
    """The state after them."""
    resample: bool
    """Whether particles may be resampled after them."""


class EventGuide(Guide):
    """The instructions of a task.

    Args:
        tokenizer: has vocabulary and grammar.
        layout: of the task.
        controls: of the task.
    """

    def __init__(self, tokenizer: "EventsTokenizer", layout: EventLayout, controls: Controls) -> None:
        v = tokenizer.vocabulary
        self.layout = layout
        self.choices = EventChoices(tokenizer, layout, controls)
        everywhere = layout.pitches.everywhere.copy()
        everywhere[: v.first_pitch] = True
        self.biases = np.zeros((3, v.size), np.float32)
        self.biases[_SCALE_ROW:] = np.where(everywhere, self.choices.pitch_lean, np.float32(FORBIDDEN))
        self.biases[_SCALE_NO_END_ROW, END] = FORBIDDEN
        self.free_row = _SCALE_ROW if self.biases[_SCALE_ROW].any() else NO_BIAS
        """The bias of all steps from `free_bar` on."""
        self.free_bar = layout.free_bar() if controls.density == 1 else layout.bars
        """The first bar from which on all steps have the same bias, except for the end of an open length."""
        self.free_end_bar = -(-(layout.least_end or 0) // layout.bar_steps)
        """The first bar in which the piece may end anywhere, if its length is open."""
        self._after_bar = _states_after_bar(tokenizer, layout)
        self._closed_runs: dict[int, tuple[NDArray[np.int64], int]] = {}
        run = self.forced_run(EventState(tokenizer, layout), is_primer=True)
        assert run is not None, "every piece has a header"
        self.primer = run
        """The tokens before the first one that is sampled."""

    @property
    def is_needed(self) -> bool:
        """Whether anything is told after the primer."""
        return self.free_row != NO_BIAS or not self.is_free(self.primer.after)

    def cursor(self) -> "EventCursor":
        """See `Guide.cursor`."""
        return EventCursor(self)

    def is_free(self, state: EventState) -> bool:
        """Whether all steps from a state on have the same bias."""
        may_end = self.layout.least_end is None or state.bar >= self.free_end_bar
        return may_end and state.bar >= self.free_bar and not state.pending

    def forced_run(self, state: EventState, *, is_primer: bool = False) -> _Run | None:
        """The tokens that are forced after a state; None if the next one is sampled, or the piece is complete."""
        if not state.is_bar_start and not state.complete and self._forced_token(state) is None:
            return None
        state = state.copy()
        parts: list[NDArray[np.int64]] = []
        tokens: list[int] = []
        while not state.complete:
            if state.is_bar_start:
                closed = self._closed_run(state)
                if len(closed):
                    parts += [np.array(tokens, np.int64), closed]
                    tokens = []
            token = self._forced_token(state)
            if token is None:
                break
            tokens.append(token)
            state.step(token)
        if not parts and not tokens:
            return None
        run = np.concatenate([*parts, np.array(tokens, np.int64)])
        return _Run(run, state, state.observed and not state.complete and not is_primer)

    def _forced_token(self, state: EventState) -> int | None:
        """The next token, if task and grammar leave no other; None if it is sampled."""
        token = state.certain_token
        if token is not None or self.is_free(state) or self.choices.is_unbiased(state):
            return token
        allowed = np.flatnonzero(self.choices.allowed(state))
        return int(allowed[0]) if len(allowed) == 1 and allowed[0] != END else None

    def _closed_run(self, state: EventState) -> NDArray[np.int64]:
        """The tokens of the next bars in which nothing may be written; moves the state, at a bar's start, past them.

        The last bar is left out: there, the piece is complete before its BAR.
        """
        layout, first = self.layout, state.bar
        if first not in self._closed_runs:
            tokens: list[int] = []
            bar = first
            while bar < layout.bars - 1 and layout.is_closed(bar):
                tokens += layout.bar(bar).tokens
                tokens.append(BAR)
                bar += 1
            self._closed_runs[first] = np.array(tokens, np.int64), bar
        run, bar = self._closed_runs[first]
        if bar > first:
            state.observed |= len(run) > bar - first
            state.begin_bar(bar, self._after_bar)
        return run


class EventCursor(Cursor):
    """One candidate's place in its instructions."""

    def __init__(self, guide: EventGuide) -> None:
        self._guide = guide
        self._run: _Run | None = guide.primer
        self._passed = 0  # tokens of the run
        self._state = guide.primer.after  # while there is a run, the state after it; copies may share that

    def copy(self) -> "EventCursor":
        """See `Cursor.copy`."""
        other = object.__new__(EventCursor)
        other.__dict__.update(self.__dict__)
        other._state = self._state if self._run is not None else self._state.copy()
        return other

    @property
    def complete(self) -> bool:
        """See `Cursor.complete`."""
        return self._run is None and self._state.complete

    def instructions(self, limit: int) -> Instructions:
        """See `Cursor.instructions`."""
        if self._run is None:
            self._begin_run()
        if self._run is not None:
            tokens = self._run.tokens[self._passed : self._passed + limit]
            ends = self._passed + len(tokens) == len(self._run.tokens)
            return Instructions(tokens, np.zeros(len(tokens), np.int64), resample=ends and self._run.resample)
        guide, state = self._guide, self._state
        if state.complete:
            return _sampled(limit, NO_BIAS)
        if guide.is_free(state):
            return _sampled(limit, guide.free_row)
        # Each step passes at most one bar line.
        steps_before_end = guide.free_end_bar - 1 - state.bar
        if state.bar >= guide.free_bar and steps_before_end > 0:
            return _sampled(min(limit, steps_before_end), _SCALE_NO_END_ROW)
        if guide.choices.is_unbiased(state):
            return _ONE_UNBIASED
        row = guide.choices.bias(state)
        if row is None:
            return _ONE_UNBIASED
        return Instructions(np.array([SAMPLED]), np.array([len(guide.biases)]), (row,))

    def advance(self, tokens: NDArray[np.integer[Any]]) -> int:
        """See `Cursor.advance`."""
        done = 0
        while done < len(tokens) and not self.complete:
            if self._run is None and self._state.is_bar_start:
                self._begin_run()
            if self._run is None:
                self._state.step(int(tokens[done]))
                done += 1
                continue
            count = min(len(self._run.tokens) - self._passed, len(tokens) - done)
            done += count
            self._passed += count
            if self._passed == len(self._run.tokens):
                self._run, self._state = None, self._state.copy()
        return len(tokens)

    def _begin_run(self) -> None:
        """Begin the run of forced tokens after the present state, if there is one."""
        run = self._guide.forced_run(self._state)
        if run is not None:
            self._run, self._passed, self._state = run, 0, run.after


def _sampled(steps: int, row: int) -> Instructions:
    """Steps that are sampled, all with the same bias."""
    return Instructions(np.full(steps, SAMPLED), np.full(steps, row))


_ONE_UNBIASED: Final = _sampled(1, NO_BIAS)


def _states_after_bar(tokenizer: "EventsTokenizer", layout: EventLayout) -> tuple[int, ...]:
    """The state of each automaton of the grammar after every BAR of the piece."""
    tokens = np.array([*layout.header, BAR, BAR])
    return tuple(int(automaton.own_states(tokens)[-1]) for automaton in tokenizer.grammar.automata)
