"""The grammar of `events`: four parallel automata.

The first knows meter and dynamics, and which kinds of token may follow. The second knows the place in the bar, so that
positions ascend. The third keeps the pitches of a position ascending. The fourth counts the tokens of a bar, so that
every bar ends. A single automaton would need the product of their states. The network gets features of the states of
the first two: the position in the bar, the meter, and the kind of the last token.
"""

from enum import IntEnum
from typing import Final

import numpy as np

from music.grammar import Grammar
from music.tokenizers.event_vocabulary import BAR, END, FIRST_POSITION, TIE, EventVocabulary


class Stage(IntEnum):
    """The last token, as far as the grammar needs it; the first feature of a state."""

    START = 0
    """No token yet; a PROGRAM follows."""
    PROGRAM = 1
    """A PROGRAM; a TEMPO follows."""
    TEMPO = 2
    """A TEMPO; a METER follows."""
    METER = 3
    """A METER; a DYNAMICS follows."""
    DYNAMICS = 4
    """A DYNAMICS; the POSITION at which the piece starts follows."""
    OPEN = 5
    """The start of a bar; its first POSITION follows, or the bar is empty."""
    FIRST = 6
    """A POSITION at the start of the bar; a PITCH follows."""
    PLACED = 7
    """A later POSITION; a PITCH follows, or the piece ends here."""
    PITCH = 8
    """A PITCH or TIE; a TIE or DURATION follows."""
    DURATION = 9
    """A DURATION; a VELOCITY follows. Without dynamics it completes a note, as in `NOTE`."""
    NOTE = 10
    """A VELOCITY, which completes a note; a higher PITCH or a later POSITION follows, or the bar ends."""
    ENDED = 11
    """After the END."""


HEADER_TOKENS: Final = 5
"""Number of tokens before the first bar: PROGRAM TEMPO METER DYNAMICS POSITION. They are tokens of the first bar."""
NOTE_TOKENS: Final = 3
"""Number of tokens of a note without ties: PITCH DURATION VELOCITY. A note without dynamics has no VELOCITY, but the
grammar needs room for it."""


def note_tokens(has_dynamics: bool) -> int:
    """Number of tokens of a note without ties."""
    return NOTE_TOKENS if has_dynamics else NOTE_TOKENS - 1


def bar_room(bar_tokens: int, *, is_first: bool, has_dynamics: bool) -> int:
    """Number of tokens of a bar that its POSITIONs and notes may have.

    The others are the header and the BAR. In a piece without dynamics, the grammar keeps the place of one VELOCITY.
    """
    return bar_tokens - 1 - (HEADER_TOKENS if is_first else 0) - (NOTE_TOKENS - note_tokens(has_dynamics))


def event_grammar(vocabulary: EventVocabulary, quarter_steps: int, bar_tokens: int) -> Grammar:
    """All four automata. No bar has more than `bar_tokens` tokens, its BAR included.

    Features: the stage; the meter (one more value before the METER); the position in the bar of this meter (one more
    value outside a bar); the step in the quarter (one more value outside a bar).
    """
    counting = _counting(vocabulary, bar_tokens)
    rising = _rising(vocabulary, counting)
    return _kinds(vocabulary, quarter_steps, _places(vocabulary, quarter_steps, rising))


def _kinds(vocabulary: EventVocabulary, quarter_steps: int, parallel: Grammar) -> Grammar:
    """States: the stage, the meter once it is known, and then whether the piece has dynamics.

    `PLACED` stands for `FIRST` too: only the place decides between them.
    """
    v = vocabulary
    meters, kinds = range(len(v.meters)), range(len(v.dynamics))
    keys = [(stage, -1, -1) for stage in (Stage.START, Stage.PROGRAM, Stage.TEMPO, Stage.ENDED)]
    keys += [(Stage.METER, meter, -1) for meter in meters]
    in_piece = (Stage.DYNAMICS, Stage.OPEN, Stage.PLACED, Stage.PITCH, Stage.DURATION, Stage.NOTE)
    keys += [(stage, meter, kind) for meter in meters for kind in kinds for stage in in_piece]
    states = {key: state for state, key in enumerate(keys)}
    ended = states[Stage.ENDED, -1, -1]
    allowed = np.zeros((len(keys), v.size), np.bool_)
    successor = np.full((len(keys), v.size), ended, np.int32)

    def follow(key: tuple[Stage, int, int], tokens: int | slice, to: Stage, meter: int, kind: int) -> None:
        allowed[states[key], tokens] = True
        successor[states[key], tokens] = states[to, meter, kind]

    pitches, velocities = slice(v.first_pitch, None), slice(v.first_velocity, v.first_tempo)
    for key in keys:
        stage, meter, kind = key
        if stage is Stage.START:
            follow(key, slice(v.first_program, v.first_dynamics), Stage.PROGRAM, -1, -1)
        elif stage is Stage.PROGRAM:
            follow(key, slice(v.first_tempo, v.first_program), Stage.TEMPO, -1, -1)
        elif stage is Stage.TEMPO:
            for each in meters:
                follow(key, v.first_meter + each, Stage.METER, each, -1)
        elif stage is Stage.METER:
            for each in kinds:
                follow(key, v.first_dynamics + each, Stage.DYNAMICS, meter, each)
        elif stage is Stage.PITCH:
            follow(key, TIE, Stage.PITCH, meter, kind)
            follow(key, slice(v.first_duration, v.first_velocity), Stage.DURATION, meter, kind)
        elif stage is Stage.DURATION and v.dynamics[kind]:
            follow(key, velocities, Stage.NOTE, meter, kind)
        else:
            completes_note = stage in (Stage.DURATION, Stage.NOTE)
            if completes_note or stage in (Stage.DYNAMICS, Stage.OPEN):
                to = Stage.OPEN if stage is Stage.DYNAMICS else Stage.PLACED
                follow(key, slice(FIRST_POSITION, FIRST_POSITION + v.bar_steps[meter]), to, meter, kind)
            if completes_note or stage is Stage.OPEN:
                follow(key, BAR, Stage.OPEN, meter, kind)
            if completes_note or stage is Stage.PLACED:
                follow(key, pitches, Stage.PITCH, meter, kind)
            if stage is not Stage.DYNAMICS:
                follow(key, END, Stage.ENDED, -1, -1)
    positions = sum(v.bar_steps)
    features = np.array(
        [
            (stage, meter, sum(v.bar_steps[:meter]), 0)
            if stage in in_piece[1:]
            else (stage, meter if meter >= 0 else len(v.meters), positions, quarter_steps)
            for stage, meter, _ in keys
        ],
        np.int32,
    )
    sizes = (len(Stage), len(v.meters) + 1, positions + 1, quarter_steps + 1)
    return Grammar(allowed, successor, states[Stage.START, -1, -1], features, sizes, parallel)


def _places(vocabulary: EventVocabulary, quarter_steps: int, parallel: Grammar) -> Grammar:
    """States: outside of bars; or the place in the bar, for each of `OPEN`, `FIRST` and the stages after them."""
    steps = max(vocabulary.bar_steps)
    every = np.arange(steps)
    outside, opened, first, later = 0, 1 + every, 1 + steps + every, 1 + 2 * steps + every
    count = 1 + 3 * steps
    positions = slice(FIRST_POSITION, FIRST_POSITION + steps)
    pitches = slice(vocabulary.first_pitch, None)

    allowed = np.ones((count, vocabulary.size), np.bool_)
    allowed[opened, positions] = every >= every[:, None]
    allowed[later, positions] = every > every[:, None]
    allowed[first, END] = False  # the bar before would have ended the piece; a piece has at least one step

    successor = np.repeat(np.arange(count, dtype=np.int32)[:, None], vocabulary.size, axis=1)
    successor[:, BAR], successor[:, END] = opened[0], outside
    successor[:, positions] = later
    successor[outside, positions] = opened
    successor[opened, FIRST_POSITION + every] = first
    successor[first, pitches] = later[:, None]

    features = np.zeros((count, 4), np.int32)
    for states in (opened, first, later):
        features[states, 2], features[states, 3] = every, every % quarter_steps
    features[first, 0] = Stage.FIRST - Stage.PLACED
    return Grammar(allowed, successor, outside, features, parallel=parallel)


def _rising(vocabulary: EventVocabulary, parallel: Grammar) -> Grammar:
    """States: the last PITCH of the position, or none yet. A PITCH must have a higher id."""
    first, size = vocabulary.first_pitch, vocabulary.size
    none, count = size - first, size - first + 1
    allowed = np.ones((count, size), np.bool_)
    successor = np.full((count, size), none, np.int32)
    unchanged = [TIE, *range(vocabulary.first_duration, vocabulary.first_tempo)]
    for last in range(none):
        allowed[last, first : first + last + 1] = False
        successor[last, unchanged] = last
    successor[:, first:] = np.arange(none)
    return Grammar(allowed, successor, none, parallel=parallel)


def _counting(vocabulary: EventVocabulary, bar_tokens: int) -> Grammar:
    """States: the number of tokens since the last BAR, or since the start.

    A token is legal only if the bar can still be completed after it. So a started note can always be completed, and a
    BAR can always follow a note. Notes need room for a VELOCITY also in pieces without dynamics.
    """
    v = vocabulary
    # For each token: the minimum number of tokens after it, up to and including the BAR.
    needed = np.ones(v.size, np.intp)
    needed[[END, BAR]] = 0
    needed[FIRST_POSITION : v.first_duration] = NOTE_TOKENS + 1
    needed[v.first_pitch :] = needed[TIE] = NOTE_TOKENS
    needed[v.first_duration : v.first_velocity] = 2
    count = np.arange(bar_tokens)[:, None]
    successor = np.broadcast_to((count + 1) % bar_tokens, (bar_tokens, v.size)).astype(np.int32)
    successor[:, [END, BAR]] = 0
    return Grammar(count + 1 + needed <= bar_tokens, successor, 0)
