"""Hypothesis strategies for scores."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.score import Meter, Note, Score
from music.tokenizers import GridTokenizer
from music.tokenizers.grid_vocabulary import HOLD

METERS = (Meter(4, 4), Meter(3, 4), Meter(6, 8))


@st.composite
def grid_scores(draw: st.DrawFn, voices: int = 3, lowest: int = 40, highest: int = 80, step: int = 120) -> Score:
    """Scores on the grid tokenizer's grid: monophonic voices in range."""
    meter = draw(st.sampled_from(METERS))
    pickup = draw(st.integers(0, meter.bar_ticks // step - 1)) * step
    steps = draw(st.integers(1, 40))
    notes = []
    for voice in range(voices):
        position = 0
        for rest, length in draw(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), max_size=8)):
            position += rest
            if position + length > steps:
                break
            pitch = draw(st.integers(lowest, highest))
            notes.append(Note(position * step, length * step, pitch, 80, voice))
            position += length
    notes.sort(key=lambda note: (note.onset, note.voice, note.pitch))
    return Score(
        notes=tuple(notes),
        length_ticks=steps * step,
        meter=meter,
        pickup_ticks=pickup,
        tempo_bpm=float(draw(st.integers(10, 400))),
        key_sharps=draw(st.none() | st.integers(-6, 6)),
        program=draw(st.integers(0, 127)),
        has_dynamics=False,
    )


@st.composite
def any_scores(draw: st.DrawFn) -> Score:
    """Scores of any shape: polyphonic, off the grid, out of range, too many voices."""
    notes = draw(
        st.lists(
            st.builds(
                Note,
                onset=st.integers(0, 4000),
                duration=st.integers(1, 2000),
                pitch=st.integers(0, 127),
                velocity=st.integers(1, 127),
                voice=st.integers(0, 5),
            ),
            min_size=1,
            max_size=30,
        )
    )
    notes.sort(key=lambda note: (note.onset, note.voice, note.pitch))
    meter = draw(st.none() | st.sampled_from((*METERS, Meter(5, 4))))
    length, pickup, has_dynamics = max(note.end for note in notes), draw(st.integers(0, 900)), draw(st.booleans())
    return Score(tuple(notes), length, meter, pickup, has_dynamics=has_dynamics)


@st.composite
def grid_pieces(draw: st.DrawFn) -> tuple[GridTokenizer, NDArray[np.int32]]:
    """A grid tokenizer and tokens that its grammar accepts, with many HOLDs, so that notes are long."""
    voices = draw(st.integers(1, 4))
    tokenizer = GridTokenizer(voices=voices, lowest_pitch=60, highest_pitch=67)
    grammar, state, tokens = tokenizer.grammar, tokenizer.grammar.start, []
    for choice in draw(st.lists(st.integers(0, 19), min_size=1, max_size=120)):
        allowed = [token for token in np.flatnonzero(grammar.allowed[state]) if token != tokenizer.end_token]
        token = HOLD if HOLD in allowed and choice < 12 else int(allowed[choice % len(allowed)])
        tokens.append(token)
        state = int(grammar.successor[state, token])
    return tokenizer, np.array(tokens, np.int32)
