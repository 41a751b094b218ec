"""Which tokens of `events` a task leaves the model at a step, and which of them the density makes more likely.

The grammar orders the notes of a bar by position, voice and pitch. Up to the next given note, the model may write notes
that come before it in that order, or choose the given note itself: its next token is then one of those that may be
sampled. The rest of the given note is forced. Where nothing may be written, all given tokens are forced.

Density: if the onsets were independent, with probability h at each step, then density d multiplies the odds h / (1 - h)
at each step. With z = 1 - h + d h, the probability of an onset is multiplied by d / z and that of none by 1 / z. A
POSITION and a BAR stand for a run of steps without onset, and lean by their number times -log z. A POSITION that a
written note follows leans by log (d / z) more, and a PITCH at the position of another note by log d. h is the constant
`_ONSETS_PER_QUARTER / positions_per_quarter`.
"""

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from music.composition.task import Controls
from music.grammar import FORBIDDEN
from music.tokenizers.event_grammar import NOTE_TOKENS, Stage
from music.tokenizers.event_layout import EventLayout
from music.tokenizers.event_state import EventState
from music.tokenizers.event_vocabulary import BAR, END, FIRST_POSITION, TIE

if TYPE_CHECKING:
    from music.tokenizers.events import EventsTokenizer

_ONSETS_PER_QUARTER: Final = 2
_MAX_ONSET_PROBABILITY: Final = 0.5


class EventChoices:
    """The tokens that may be sampled in each state of a task.

    Args:
        tokenizer: has vocabulary and grammar.
        layout: of the task.
        controls: of the task.
    """

    def __init__(self, tokenizer: "EventsTokenizer", layout: EventLayout, controls: Controls) -> None:
        v = self._vocabulary = tokenizer.vocabulary
        self._layout = layout
        self._log_density = math.log(controls.density)
        onset = min(_ONSETS_PER_QUARTER / tokenizer.positions_per_quarter, _MAX_ONSET_PROBABILITY)
        self._log_rest = math.log(1 - onset + onset * controls.density)  # log z
        leans = [self._log_density + math.log(controls.voice_densities.get(voice, 1.0)) for voice in range(v.voices)]
        self.pitch_lean = np.zeros(v.size, np.float32)
        """(vocabulary,): by voice; tokens other than PITCH have 0."""
        self.pitch_lean[v.first_pitch :] = np.repeat(leans, v.pitches)
        self._has_lean = bool(np.any(leans))

    def allowed(self, state: EventState) -> NDArray[np.bool_]:
        """The tokens that task and grammar allow next, (vocabulary,): at least one."""
        if state.allowed is None:
            state.allowed = self._mask(state) & state.legal
            assert state.allowed.any(), "a POSITION is allowed only where a PITCH is; other stages have a way on"
        return state.allowed

    def is_unbiased(self, state: EventState) -> bool:
        """Whether the grammar alone decides the next token, because a note is being written that nothing limits."""
        if state.stage is Stage.PITCH:
            return state.next_given is None and not self._layout.pitches.has_chords
        return state.stage is Stage.DURATION

    def bias(self, state: EventState) -> NDArray[np.float32] | None:
        """The bias of the next token, (vocabulary,); None if it has none."""
        allowed = self.allowed(state)
        if self._has_lean and state.stage not in (Stage.PITCH, Stage.DURATION):
            return np.where(allowed, self._lean(state), np.float32(FORBIDDEN))
        forbidden = state.legal & ~allowed
        if self._layout.least_end is None:
            forbidden[END] = False  # the plan forbids it at every step
        return np.where(allowed, np.float32(0), np.float32(FORBIDDEN)) if forbidden.any() else None

    def _mask(self, state: EventState) -> NDArray[np.bool_]:
        """The tokens that the task allows next, (vocabulary,). The grammar allows fewer."""
        v = self._vocabulary
        mask = np.zeros(v.size, np.bool_)
        if state.stage is Stage.DURATION:
            mask[v.first_velocity : v.first_tempo] = True
        elif state.stage is Stage.PITCH:
            left = self._layout.pitches.longest(state.pitch, state.place) - state.duration
            mask[v.first_duration : v.first_duration + min(left, v.durations)] = True
            mask[TIE] = left > v.durations and state.room > NOTE_TOKENS
        else:
            if state.is_placed:
                self._allow_pitches(state, mask)
            if state.stage in (Stage.OPEN, Stage.NOTE) and state.given_here is None:
                self._allow_positions(state, mask)
                mask[BAR] = state.next_given is None
            mask[END] = self._may_end(state)
        return mask

    def _allow_pitches(self, state: EventState, mask: NDArray[np.bool_]) -> None:
        """Allow the PITCH tokens that may come next at the present position."""
        given, pitches, place = state.given_here, self._layout.pitches, state.place
        if state.room > NOTE_TOKENS and pitches.is_open[place]:
            mask |= pitches.mask(place, state.floor if pitches.chord[place] == state.chord else None)
        if given is not None:
            mask[given.tokens[0] + 1 :] = False
            mask[given.tokens[0]] = True

    def _allow_positions(self, state: EventState, mask: NDArray[np.bool_]) -> None:
        """Allow the POSITION tokens that may come next, up to that of the next given note."""
        layout, following, bar_line = self._layout, state.next_given, state.bar_line
        end = layout.bar_steps if following is None else following.position
        if state.room > NOTE_TOKENS + 1:
            positions = mask[FIRST_POSITION : FIRST_POSITION + end]
            positions |= layout.pitches.is_open[bar_line : bar_line + end]
            if following is None and layout.least_end is not None:
                positions[max(layout.least_end - bar_line, state.position + 1) :] = True  # the piece may end there
        if following is not None:
            mask[FIRST_POSITION + following.position] = True

    def _may_end(self, state: EventState) -> bool:
        """Whether the piece may end here: at a position that has no note yet, or with the bar."""
        least_end = self._layout.least_end
        if least_end is None or state.next_given is not None or state.stage is Stage.FIRST:
            return False
        return state.place >= least_end if state.stage is Stage.PLACED else self._layout.may_end_in(state.bar)

    def _lean(self, state: EventState) -> NDArray[np.float32]:
        """The lean of each token by the density, (vocabulary,); see the module."""
        layout, given = self._layout, state.given_here
        lean = self.pitch_lean.copy()
        if state.stage in (Stage.OPEN, Stage.NOTE):
            next_position = state.position + (state.stage is Stage.NOTE)
            rests = np.arange(layout.bar_steps) - next_position  # steps without onset before each position
            positions = lean[FIRST_POSITION : FIRST_POSITION + layout.bar_steps]
            positions[:] = self._log_density - (rests + 1) * self._log_rest
            lean[[BAR, END]] = -(layout.bar_steps - next_position) * self._log_rest
            if state.next_given is not None:
                position = state.next_given.position
                positions[position] = -rests[position] * self._log_rest
        if given is not None:
            lean[given.tokens[0]] = 0
        return lean
