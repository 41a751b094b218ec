"""Where a sequence of `events` stands in a task: its bar, its position, and the given notes that it has passed."""

from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from music.tokenizers.event_grammar import Stage
from music.tokenizers.event_layout import EventLayout, GivenBar, GivenNote
from music.tokenizers.event_vocabulary import BAR, END, FIRST_POSITION, TIE

if TYPE_CHECKING:
    from music.tokenizers.events import EventsTokenizer


class EventState:
    """The state after some tokens of a task.

    Args:
        tokenizer: has vocabulary and grammar.
        layout: of the task.
    """

    def __init__(self, tokenizer: "EventsTokenizer", layout: EventLayout) -> None:
        self._tokenizer = tokenizer
        self._layout = layout
        self._automata = tokenizer.grammar.automata
        self.grammar_states = tuple(automaton.start for automaton in self._automata)
        """The state of each automaton of the grammar."""
        self.allowed: NDArray[np.bool_] | None = None
        """The tokens that task and grammar allow next, (vocabulary,), once `EventChoices` has found them."""
        self.pending: tuple[int, ...] = layout.header
        """Forced tokens that complete the header or a given note."""
        self.stage = Stage.START
        """The last token of the header, of a written note, or of the last complete one."""
        self.bar = 0
        """Number of the bar, from 0."""
        self.position = 0
        """Step in the bar."""
        self.bar_tokens = 0
        """Number of tokens of the bar."""
        self.index = 0
        """Number of given notes of the bar that are passed."""
        self.pitch = 0
        """PITCH token of the note that is being written."""
        self.duration = 0
        """Steps of that note so far."""
        self.chord = -1
        """Index of the last chord with a written bass; negative if there is none."""
        self.floor = 0
        """PITCH token of the lowest bass written under that chord."""
        self.complete = False
        """Whether the piece is complete."""
        self.observed = False
        """Whether a given note is among the last tokens, and only certain tokens follow it."""

    def copy(self) -> Self:
        """A state that moves on its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    @property
    def legal(self) -> NDArray[np.bool_]:
        """The tokens that the grammar allows next, (vocabulary,)."""
        rows = (automaton.allowed[state] for automaton, state in zip(self._automata, self.grammar_states, strict=True))
        return reduce(and_, rows)  # in half the time of `logical_and.reduce`

    @property
    def place(self) -> int:
        """The present place: steps from the bar line at or before the start of the piece."""
        return self.bar * self._layout.bar_steps + self.position

    @property
    def bar_line(self) -> int:
        """The first place of the bar."""
        return self.bar * self._layout.bar_steps

    @property
    def is_bar_start(self) -> bool:
        """Whether the last token is a BAR."""
        return self.bar_tokens == 0 and self.bar > 0

    @property
    def is_placed(self) -> bool:
        """Whether the present position has its token."""
        return self.stage not in (Stage.START, Stage.OPEN)

    @property
    def next_given(self) -> GivenNote | None:
        """The next given note of the bar."""
        notes = self._given_bar.notes
        return notes[self.index] if self.index < len(notes) else None

    @property
    def given_here(self) -> GivenNote | None:
        """The next given note, if it begins at the present position and that has its token."""
        note = self.next_given
        return note if note is not None and note.position == self.position and self.is_placed else None

    @property
    def room(self) -> int:
        """Number of tokens that the bar has left for its BAR and for written notes."""
        needs_position = self.next_given is not None and self.given_here is None
        remaining = self._given_bar.remaining[self.index] + needs_position
        return self._tokenizer.bar_tokens - self.bar_tokens - remaining

    @property
    def certain_token(self) -> int | None:
        """The next token, if it follows from the places where notes may be written; None if there may be a choice."""
        if self.pending:
            return self.pending[0]
        if self.stage in (Stage.PITCH, Stage.DURATION):
            return None
        layout, given = self._layout, self.given_here
        if self.is_placed and layout.pitches.is_open[self.place]:
            return None
        if given is not None:
            return given.tokens[0]
        if self.stage in (Stage.FIRST, Stage.PLACED):
            return None  # the piece may end here
        following = self.next_given
        first = self.place + (self.stage is Stage.NOTE)
        if following is not None:
            is_open = layout.has_open(first, self.bar_line + following.position)
            return None if is_open else FIRST_POSITION + following.position
        return None if layout.may_end_in(self.bar) or layout.has_open(first, self.bar_line + layout.bar_steps) else BAR

    def step(self, token: int) -> None:
        """Move past a token. The piece must not be complete."""
        v = self._tokenizer.vocabulary
        is_certain = self.certain_token is not None
        is_given = False
        if self.pending:
            is_given = self.stage is not Stage.START
            self.pending = self.pending[1:]
            if not self.pending:
                self._end_pending(token)
        elif token >= v.first_pitch:
            given = self.given_here
            is_given = given is not None and token == given.tokens[0]
            if given is not None and is_given:
                self.pending = given.tokens[1:]
            else:
                self._begin_note(token)
        elif token == TIE:
            self.duration += v.durations
        elif v.first_velocity <= token < v.first_tempo:
            self.stage = Stage.NOTE
        elif v.first_duration <= token < v.first_velocity:
            self.stage = Stage.DURATION if self._layout.has_dynamics else Stage.NOTE
        elif token >= FIRST_POSITION:
            position = token - FIRST_POSITION
            is_first = self.stage is Stage.OPEN and position == self.position
            self.stage = Stage.FIRST if is_first else Stage.PLACED
            self.position = position
        self.allowed = None
        self.grammar_states = tuple(
            [
                int(automaton.successor[state, token])
                for automaton, state in zip(self._automata, self.grammar_states, strict=True)
            ]
        )
        self.bar_tokens += 1
        self.observed = is_given or (self.observed and is_certain)
        if token == BAR:
            self.begin_bar(self.bar + 1, self.grammar_states)
        elif token == END:
            self.complete = True
        elif self.stage is Stage.NOTE:
            self.complete = self._is_through

    def begin_bar(self, bar: int, grammar_states: tuple[int, ...]) -> None:
        """Move to the state after the BAR that begins a bar.

        Args:
            bar: number of the bar.
            grammar_states: states of the grammar after a BAR.
        """
        self.bar, self.grammar_states, self.allowed = bar, grammar_states, None
        self.position = self.bar_tokens = self.index = 0
        self.stage = Stage.OPEN
        self.complete = self.bar == self._layout.bars or self._is_through

    @property
    def _given_bar(self) -> GivenBar:
        return self._layout.bar(self.bar)

    @property
    def _is_through(self) -> bool:
        """Whether the given piece is over and nothing more may be written."""
        layout = self._layout
        return (
            self.bar == layout.bars - 1
            and layout.least_end is None
            and layout.last_open < self.place
            and self.next_given is None
        )

    def _begin_note(self, token: int) -> None:
        self.stage = Stage.PITCH
        self.pitch, self.duration = token, 0
        pitches = self._layout.pitches
        if pitches.is_bass(token, self.place):
            chord = int(pitches.chord[self.place])
            self.floor = token if chord != self.chord else min(token, self.floor)
            self.chord = chord

    def _end_pending(self, token: int) -> None:
        """Move past the last token of the header or of a given note."""
        if self.stage is Stage.START:
            self.stage = Stage.OPEN
            self.position = token - FIRST_POSITION
        else:
            self.stage = Stage.NOTE
            self.index += 1
