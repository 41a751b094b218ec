"""The grammar of `events`: three automata in step.

The first one knows the position in the bar and what may follow what. The second keeps pitches rising within a
position. The third counts the tokens of a bar, so that every bar ends. One automaton for all would need the product
of their states. What the network is told of a state is the first automaton's: where in the bar it stands, in which
meter, and which kind of token comes next.
"""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.automata import Grammar
from music.tokenizers.event_vocabulary import BAR, END, FIRST_POSITION, TIE, EventVocabulary


class Stage(IntEnum):
    """What has been said last; the first feature of a state."""

    START = 0
    """Nothing; a PROGRAM comes."""
    PROGRAM = 1
    """The program; a TEMPO comes."""
    TEMPO = 2
    """The tempo; a METER comes."""
    METER = 3
    """The meter; the POSITION where the piece begins comes."""
    OPEN = 4
    """Where the bar begins; a first POSITION comes, or the bar is empty."""
    FIRST = 5
    """A POSITION where the bar begins; a PITCH comes."""
    PLACED = 6
    """A later POSITION; a PITCH comes, or the piece ends here."""
    PITCH = 7
    """A pitch, or a part of its duration; the rest of it comes."""
    DURATION = 8
    """A duration; a VELOCITY comes."""
    NOTE = 9
    """A whole note; a higher PITCH comes, or a later POSITION, or the bar is over."""
    ENDED = 10
    """The end."""


_IN_BAR = (Stage.OPEN, Stage.FIRST, Stage.PLACED, Stage.PITCH, Stage.DURATION, Stage.NOTE)


OPENING_TOKENS: Final = 4
"""Tokens before the first bar: PROGRAM TEMPO METER POSITION. They count as tokens of that bar."""
NOTE_TOKENS: Final = 3
"""Tokens of a note without ties: PITCH DURATION VELOCITY."""


def event_grammar(vocabulary: EventVocabulary, quarter_steps: int, bar_tokens: int) -> Grammar:
    """All three automata. No bar has more than `bar_tokens` tokens, its BAR included.

    Features: the stage, the meter (one more value while it is not said), the position in the bar (of one meter; one
    more value outside a bar), the step in the quarter (one more value outside a bar).
    """
    header, ended = list(range(Stage.METER)), Stage.METER.value  # START, PROGRAM and TEMPO; then the end
    count = ended + 1
    meters = range(len(vocabulary.meters))
    after_meter = [count + meter for meter in meters]
    count += len(meters)
    base: list[dict[Stage, int]] = []  # of each meter's states, by stage; the position is added
    for steps in vocabulary.bar_steps:
        base.append({stage: count + index * steps for index, stage in enumerate(_IN_BAR)})
        count += len(_IN_BAR) * steps
    positions = sum(vocabulary.bar_steps)

    v = vocabulary
    allowed = np.zeros((count, v.size), np.bool_)
    successor = np.full((count, v.size), ended, np.int32)
    features = np.zeros((count, 4), np.int32)
    features[:, 1:] = (len(meters), positions, quarter_steps)

    def follow(state: int, tokens: int | slice | NDArray[np.intp], to: int | NDArray[np.intp]) -> None:
        allowed[state, tokens] = True
        successor[state, tokens] = to

    follow(header[Stage.START], slice(v.first_program, v.first_meter), header[Stage.PROGRAM])
    follow(header[Stage.PROGRAM], slice(v.first_tempo, v.first_program), header[Stage.TEMPO])
    follow(header[Stage.TEMPO], np.arange(v.first_meter, v.first_pitch), np.array(after_meter))
    follow(ended, END, ended)
    features[header, 0] = header
    features[ended, 0] = Stage.ENDED
    for meter, (steps, at) in enumerate(zip(v.bar_steps, base, strict=True)):
        every = np.arange(steps)
        follow(after_meter[meter], FIRST_POSITION + every, at[Stage.OPEN] + every)
        features[after_meter[meter], :2] = Stage.METER, meter
        for step in range(steps):
            here = {stage: first + step for stage, first in at.items()}
            later = every[step + 1 :]
            for stage in (Stage.OPEN, Stage.NOTE):
                follow(here[stage], FIRST_POSITION + later, at[Stage.PLACED] + later)
                follow(here[stage], BAR, at[Stage.OPEN])
                follow(here[stage], END, ended)
            follow(here[Stage.OPEN], FIRST_POSITION + step, here[Stage.FIRST])
            follow(here[Stage.PLACED], END, ended)
            for stage in (Stage.FIRST, Stage.PLACED, Stage.NOTE):
                follow(here[stage], slice(v.first_pitch, None), here[Stage.PITCH])
            follow(here[Stage.PITCH], TIE, here[Stage.PITCH])
            follow(here[Stage.PITCH], slice(v.first_duration, v.first_velocity), here[Stage.DURATION])
            follow(here[Stage.DURATION], slice(v.first_velocity, v.first_tempo), here[Stage.NOTE])
            position = sum(v.bar_steps[:meter]) + step
            for stage, state in here.items():
                features[state] = stage, meter, position, step % quarter_steps
    sizes = (len(Stage), len(meters) + 1, positions + 1, quarter_steps + 1)
    beside = _rising(v, _counting(v, bar_tokens))
    return Grammar(allowed, successor, header[Stage.START], features, sizes, beside)


def _rising(vocabulary: EventVocabulary, beside: Grammar) -> Grammar:
    """States: the last PITCH of the position, or none yet; a PITCH must have a higher id than that."""
    first, size = vocabulary.first_pitch, vocabulary.size
    none, count = size - first, size - first + 1
    allowed = np.ones((count, size), np.bool_)
    successor = np.full((count, size), none, np.int32)
    kept = [TIE, *range(vocabulary.first_duration, vocabulary.first_tempo)]
    for last in range(none):
        allowed[last, first : first + last + 1] = False
        successor[last, kept] = last
    successor[:, first:] = np.arange(none)
    return Grammar(allowed, successor, none, beside=beside)


def _counting(vocabulary: EventVocabulary, bar_tokens: int) -> Grammar:
    """States: the number of tokens since the last BAR, or since the start.

    A token may come only if the bar can still be closed after it. So a note that has begun can always be finished,
    and a BAR can always follow a note.
    """
    v = vocabulary
    # Of each kind of token: the fewest tokens that must follow it, up to and including the BAR.
    following = np.ones(v.size, np.intp)
    following[[END, BAR]] = 0
    following[FIRST_POSITION : v.first_duration] = NOTE_TOKENS + 1
    following[v.first_pitch :] = following[TIE] = NOTE_TOKENS
    following[v.first_duration : v.first_velocity] = 2
    count = np.arange(bar_tokens)[:, None]
    successor = np.broadcast_to((count + 1) % bar_tokens, (bar_tokens, v.size)).astype(np.int32)
    successor[:, [END, BAR]] = 0
    return Grammar(count + 1 + following <= bar_tokens, successor, 0)
