from dataclasses import replace

import numpy as np
import pytest

from music.score import Meter, Note, Score
from music.tokenizers import EventsTokenizer, GridTokenizer, NoteChordTokenizer
from training.corpus.store import CompactScore, Corpus, Split
from training.endings import (
    closes_consonantly,
    closes_on_tonic,
    closes_with_triad,
    ending_check,
    held_to_bar_line,
)
from training.loop.tbptt import encode_corpus

Q = 480
C_MAJOR = (72, 67, 64, 48)


def quartet(*last: tuple[float, float], pitches: tuple[int, ...] = C_MAJOR, length: int = 8 * Q) -> Score:
    """A bar of quarters, and the last notes of the voices: (onset, duration) of each, in quarters."""
    notes = [Note(beat * Q, Q, pitch, 80, voice) for voice, pitch in enumerate((71, 67, 62, 55)) for beat in range(4)]
    notes += [
        Note(round(onset * Q), round(duration * Q), pitch, 80, voice)
        for voice, (pitch, (onset, duration)) in enumerate(zip(pitches, last, strict=True))
    ]
    return Score(tuple(sorted(notes)), length, Meter(4, 4))


HELD = ((4.0, 4.0),) * 4


@pytest.mark.parametrize(
    ("score", "closes"),
    [
        (quartet(*HELD), True),
        (quartet(*HELD, pitches=(72, 64, 60, 48)), True),  # no fifth
        (quartet(*HELD, pitches=(69, 64, 60, 45)), True),  # minor
        (quartet(*HELD, pitches=(72, 67, 60, 48)), False),  # no third
        (quartet(*HELD, pitches=(72, 67, 60, 52)), False),  # not in root position
        (quartet(*HELD, pitches=(70, 67, 64, 48)), False),  # a seventh
        (quartet(*HELD, pitches=(72, 48, 64, 67)), True),  # the root sounds in another voice
        (quartet((4, 4), (4, 4), (5, 3), (4, 4)), False),  # not together
        (quartet((4, 4), (4, 4), (4, 3), (4, 4)), False),  # not held
        (quartet(*((7.5, 0.5),) * 4), False),  # too short
        (quartet(*((7, 1),) * 4), True),
        (quartet(*HELD, length=9 * Q), False),  # silence at the end
        (Score((Note(0, Q, 60, 80, 0),), Q, Meter(4, 4)), False),
    ],
)
def test_a_piece_in_voices_closes_with_a_triad(score: Score, closes: bool) -> None:
    assert closes_with_triad(score, 4) is closes


def tune(*last: tuple[float, float, int], meter: Meter = Meter(4, 4), pickup: int = 0) -> Score:  # noqa: B008
    """A bar of G major, and the last notes: onset and duration in quarters, pitch."""
    notes = [Note(pickup + beat * Q, Q, pitch, 80, 0) for beat, pitch in enumerate((67, 71, 74, 67))]
    notes += [Note(pickup + round(onset * Q), round(duration * Q), pitch, 80, 0) for onset, duration, pitch in last]
    return Score(tuple(notes), max(note.end for note in notes), meter, pickup)


@pytest.mark.parametrize(
    ("score", "closes"),
    [
        (tune((4, 2, 69), (6, 2, 67)), True),
        (tune((4, 3, 69), (7, 1, 79)), True),
        (tune((4, 2, 67), (6, 2, 69)), False),  # another degree
        (tune((4, 2.5, 69), (6.5, 1.5, 67)), False),  # off the beat
        (tune((4, 3, 69), (7, 0.5, 67)), False),  # too short
        (tune((4, 3, 69), (7, 1, 67), meter=Meter(2, 2)), True),
        (tune((4, 3, 69), (7, 1, 67), meter=Meter(6, 8)), False),  # its beats are dotted quarters
        (tune((4, 3.5, 69), (7.5, 1.5, 67), meter=Meter(6, 8)), True),
        (tune((4, 2, 69), (6, 1, 67), meter=Meter(2, 2), pickup=Q), True),
        (Score((), Q, Meter(4, 4)), False),
    ],
)
def test_a_line_closes_on_its_tonic(score: Score, closes: bool) -> None:
    assert closes_on_tonic(score) is closes


def test_the_last_notes_are_held_to_the_bar_line() -> None:
    upbeat = tune((4, 2, 69), (6, 1, 67), meter=Meter(4, 4), pickup=Q)
    held = held_to_bar_line(upbeat)
    assert held is not None
    assert held.length_ticks == Q + 8 * Q
    assert held.notes == (*upbeat.notes[:-1], upbeat.notes[-1]._replace(duration=2 * Q))
    assert closes_on_tonic(held)
    assert held_to_bar_line(held) is None
    assert held_to_bar_line(quartet(*HELD)) is None


def test_the_tokenizer_says_which_closing_is_meant() -> None:
    four, one = ending_check(GridTokenizer(voices=4, lowest_pitch=40, highest_pitch=80)), tune((4, 2, 69), (6, 2, 67))
    assert four is not None
    assert four(quartet(*HELD))
    assert not four(one)
    single = ending_check(GridTokenizer(voices=1, lowest_pitch=40, highest_pitch=80))
    assert single is not None
    assert single(one)
    events = EventsTokenizer(lowest_pitch=40, highest_pitch=80)
    assert ending_check(events) is closes_consonantly
    assert ending_check(NoteChordTokenizer(names=["C4"])) is None


def piano(*last: tuple[float, float, int], meter: Meter = Meter(4, 4), bars: int = 2) -> Score:  # noqa: B008
    """A note, and the last ones: onset and duration in quarters, pitch."""
    notes = [Note(round(onset * Q), round(lasts * Q), pitch, 80, pitch < 60) for onset, lasts, pitch in last]
    return Score(tuple(sorted([Note(0, Q, 66), *notes])), bars * meter.bar_ticks, meter)


@pytest.mark.parametrize(
    ("score", "closes"),
    [
        (piano((4, 4, 48), (4, 4, 64), (4, 4, 67), (4, 4, 72)), True),
        (piano((4, 4, 48), (4, 3, 64), (5, 3, 67)), True),  # one after another
        (piano((4, 1, 48), (4, 1, 60)), True),  # rests follow
        (piano((4, 1, 48), (4, 1, 55)), True),  # a fifth
        (piano((4, 4, 48), (4, 4, 64), (4, 4, 70)), False),  # a seventh
        (piano((4, 4, 52), (4, 4, 60), (4, 4, 67)), False),  # not over its root
        (piano((7.5, 0.5, 48), (7.5, 0.5, 60)), False),  # too short
        (piano((2.5, 0.5, 48), (2.5, 0.5, 60), meter=Meter(3, 8)), True),  # a beat of 3/8
        (piano((4, 0.5, 60), (4, 4, 48), (7.5, 0.5, 53)), False),  # a fourth at the last onset
        (piano((1, 1, 48), (1, 1, 60)), False),  # more than a bar of rests
        (Score((), 4 * Q), False),
    ],
)
def test_piano_music_closes_with_a_consonance(score: Score, closes: bool) -> None:
    assert closes_consonantly(score) is closes


def test_training_tells_the_length_of_pieces_that_close_and_holds_the_last_notes_on_a_grid_only() -> None:
    closing, open_end = piano((4, 3, 48), (4, 3, 64)), piano((7.5, 0.5, 48), (7.5, 0.5, 60))
    pickup = replace(quartet(*HELD), pickup_ticks=Q)
    music = Corpus(["a", "b", "c"], np.zeros(3, np.uint8), list(map(CompactScore.of, (closing, open_end, pickup))), "")
    events, _ = encode_corpus(music, EventsTokenizer(lowest_pitch=30, highest_pitch=90), Split.TRAIN)
    assert [(piece.closes, piece.held_tokens is None) for piece in events] == [
        (True, True),
        (False, True),
        (True, True),
    ]
    grid = GridTokenizer(voices=4, lowest_pitch=30, highest_pitch=90)
    (*_, chorale), _ = encode_corpus(music, grid, Split.TRAIN)
    assert chorale.closes
    assert chorale.held_tokens is not None
    assert len(chorale.held_tokens) > len(chorale.tokens)
