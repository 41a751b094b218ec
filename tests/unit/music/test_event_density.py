"""A bar of `events` has a bounded number of tokens."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.score import Meter, Note, Score
from music.tokenizers import EventsTokenizer, Setting
from music.tokenizers.event_vocabulary import BAR, END, TIE

TIGHT = EventsTokenizer(
    lowest_pitch=60,
    highest_pitch=79,
    positions_per_quarter=4,
    longest_quarters=1,
    velocity_bins=1,
    tempo_bins=1,
    meters=(Meter(4, 4), Meter(3, 4)),
    bar_tokens=64,
)
STEP = TIGHT.step_ticks


def tokens_by_bar(tokens: list[int]) -> list[int]:
    """Number of tokens of each bar, its BAR or END included."""
    ends = [index + 1 for index, token in enumerate(tokens) if token in (BAR, END)]
    return [end - begin for begin, end in pairwise([0, *ends])]


@given(
    seed=st.integers(0, 2**32), closing=st.sampled_from([0.0, 0.02, 0.5]), tie=st.sampled_from([0.0, 0.3, 0.97]),
    pickup=st.integers(0, 15), count=st.integers(1, 200),
)  # fmt: skip
def test_what_the_grammar_accepts_is_said_again_up_to_the_last_token_of_a_bar(
    seed: int, closing: float, tie: float, pickup: int, count: int
) -> None:
    random, grammar = np.random.default_rng(seed), TIGHT.grammar
    tokens = list(TIGHT.opening(Setting(Meter(4, 4), pickup * STEP)))
    state = grammar.joint_start
    for token in tokens:
        state = grammar.joint_successor(state, token)
    while len(tokens) < count or not grammar.joint_allowed(state)[END]:
        allowed = np.flatnonzero(grammar.joint_allowed(state))
        weights = np.where(allowed == BAR, closing + 1e-9, np.where(allowed == TIE, tie * 9 + 1e-9, 0.1))
        weights[allowed == END] = 1e-9 * (len(allowed) == 1)
        token = int(random.choice(allowed, p=weights / weights.sum()))
        tokens.append(token)
        state = grammar.joint_successor(state, token)
    tokens.append(END)
    assert grammar.accepts(np.array(tokens))
    assert max(tokens_by_bar(tokens)) <= TIGHT.bar_tokens
    encoding = TIGHT.encode(TIGHT.decode(tokens))
    assert encoding.tokens.tolist() == tokens
    assert not encoding.dropped


@given(
    places=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 1), st.integers(60, 79), st.integers(1, 400)),
        min_size=1, max_size=90, unique_by=lambda place: place[:3],
    ),
    rest=st.integers(0, 16), pickup=st.integers(0, 15),
)  # fmt: skip
def test_every_score_is_said_within_the_bound_and_what_is_lost_is_counted(
    places: list[tuple[int, int, int, int]], rest: int, pickup: int
) -> None:
    notes = [Note(step * STEP, duration * STEP, pitch, 64, voice) for step, voice, pitch, duration in sorted(places)]
    length = max(note.end for note in notes) + rest * STEP
    encoding = TIGHT.encode(Score(tuple(notes), length, Meter(4, 4), pickup * STEP))
    tokens = encoding.tokens.tolist()
    assert TIGHT.grammar.accepts(encoding.tokens)
    assert max(tokens_by_bar(tokens)) <= TIGHT.bar_tokens
    decoded = TIGHT.decode(tokens)
    assert decoded.length_ticks == length
    assert len(notes) - len(decoded.notes) == encoding.dropped["too_dense"]
    places_kept = {(note.onset, note.voice, note.pitch): note.duration for note in decoded.notes}
    told = {(note.onset, note.voice, note.pitch): note.duration for note in notes}
    shorter = [place for place, duration in places_kept.items() if duration != told[place]]
    assert all(places_kept[place] < told[place] for place in shorter)
    assert len(shorter) == encoding.dropped["shortened"]
    assert TIGHT.encode(decoded).tokens.tolist() == tokens


def test_in_a_bar_that_is_too_dense_the_first_notes_stay() -> None:
    chord = [Note(step * STEP, STEP, pitch, 64) for step in range(4) for pitch in range(60, 66)]
    encoding = TIGHT.encode(Score(tuple(chord), 2 * 1920, Meter(4, 4)))
    # 64 tokens less the opening and the BAR are 59: three chords of 1 + 6 * 3, and no other note.
    assert encoding.dropped == {"too_dense": 6}
    assert TIGHT.decode(encoding.tokens).notes == tuple(chord[:18])


def test_a_note_is_shortened_before_another_is_left_out() -> None:
    pedal = Note(0, 100 * 480, 60, 64, 0)
    others = [Note(step * STEP, STEP, 70, 64, 0) for step in range(1, 9)]
    encoding = TIGHT.encode(Score((pedal, *others), 100 * 480, Meter(4, 4)))
    # Nine notes with their positions take 36 of 59 tokens; 23 are left for the pedal's 99 ties.
    assert encoding.dropped == {"shortened": 1}
    first, *rest = TIGHT.decode(encoding.tokens).notes
    assert (first.duration, rest) == (24 * 480, others)


@pytest.mark.parametrize("bar_tokens", [63, 4097])
def test_the_bound_itself_is_bounded(bar_tokens: int) -> None:
    with pytest.raises(ValueError, match="bar_tokens must be 64 to 4096"):
        EventsTokenizer(lowest_pitch=60, highest_pitch=79, bar_tokens=bar_tokens)


def test_the_bound_is_part_of_the_tokenizers_identity() -> None:
    other = EventsTokenizer.from_parameters(TIGHT.parameters | {"bar_tokens": 65})
    assert other.vocabulary_size == TIGHT.vocabulary_size
    assert other.hash != TIGHT.hash


@pytest.mark.parametrize(
    ("setting", "length_ticks", "bars"),
    [
        (Setting(Meter(4, 4)), 1, 1),
        (Setting(Meter(4, 4)), 1920, 1),
        (Setting(Meter(4, 4)), 1921, 2),
        (Setting(Meter(3, 4), 480), 480, 1),
        (Setting(Meter(3, 4), 480), 481, 2),
        (Setting(Meter(3, 4), 480), 480 + 3 * 1440, 4),
        (Setting(Meter(5, 4)), 1920, 4),  # a meter that is not counted is heard as quarters
    ],
)
def test_bars_and_tokens_of_a_length(setting: Setting, length_ticks: int, bars: int) -> None:
    assert TIGHT.bar_count(length_ticks, setting) == bars
    assert TIGHT.token_count(length_ticks, setting) == bars * 64
