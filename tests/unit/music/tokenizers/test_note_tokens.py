"""Which tokens make up each note."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.score import NOTE_ORDER, Meter, Note, Score
from music.tokenizers import EventsTokenizer, GridTokenizer, NoteChordTokenizer, Tokenizer
from music.tokenizers.note_tokens import note_tokens

GRID = GridTokenizer(voices=2, lowest_pitch=40, highest_pitch=80, voice_order=(1, 0))
EVENTS = EventsTokenizer(lowest_pitch=40, highest_pitch=80, longest_quarters=1)


@st.composite
def scores(draw: st.DrawFn) -> Score:
    notes = draw(
        st.lists(
            st.builds(
                lambda step, length, pitch, voice: Note(step * 120, length * 120, pitch, 80, voice),
                st.integers(0, 30),
                st.integers(1, 12),
                st.integers(40, 80),
                st.integers(0, 1),
            ),
            min_size=1,
            max_size=20,
        )
    )
    return Score(tuple(sorted(notes, key=NOTE_ORDER)), 48 * 120, Meter(4, 4), has_dynamics=draw(st.booleans()))


@pytest.mark.parametrize("tokenizer", [GRID, EVENTS], ids=lambda each: each.name)
@given(score=scores())
def test_the_notes_are_those_that_are_decoded(tokenizer: Tokenizer, score: Score) -> None:
    tokens = tokenizer.encode(score).tokens
    found = note_tokens(tokenizer, tokens)

    assert tuple(each.note for each in found) == tokenizer.decode(tokens).notes
    used = [place for each in found for place in each.places]
    assert len(used) == len(set(used)), "no token belongs to two notes"
    assert all(list(each.places) == sorted(each.places) for each in found)


def test_a_note_of_the_grid_has_a_token_for_each_step() -> None:
    tokens = GRID.encode(Score((Note(120, 360, 60, 80, 0), Note(240, 240, 50, 80, 1)), 480)).tokens

    assert [each.places for each in note_tokens(GRID, tokens)] == [[3, 5, 7], [4, 6]]


def test_a_note_of_events_has_pitch_duration_and_velocity() -> None:
    tokens = EVENTS.encode(Score((Note(0, 1200, 60),), 1920)).tokens
    ((_, places),) = note_tokens(EVENTS, tokens)
    names = [EVENTS.token_name(int(tokens[place])).split("_")[0] for place in places]

    assert len(names) == 5
    assert names[1:3] == ["TIE", "TIE"]


def test_notes_of_a_chord_share_a_token() -> None:
    score = Score((Note(0, 240, 60), Note(0, 240, 64), Note(240, 240, 62)), 480)
    tokenizer: Any = NoteChordTokenizer.fit({}, [score])
    found = note_tokens(tokenizer, np.append(tokenizer.encode(score).tokens, tokenizer.end_token))

    assert [(each.note.pitch, each.places) for each in found] == [(60, [0]), (64, [0]), (62, [1])]
