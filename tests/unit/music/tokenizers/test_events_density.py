"""A bar of `events` has a bounded number of tokens."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.score import Meter, Note, Score, ScoreAttributes
from music.tokenizers import EventsTokenizer
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
    """Number of tokens of each bar, with its BAR or END."""
    ends = [index + 1 for index, token in enumerate(tokens) if token in (BAR, END)]
    return [end - begin for begin, end in pairwise([0, *ends])]


@given(
    seed=st.integers(0, 2**32), closing=st.sampled_from([0.0, 0.02, 0.5]), tie=st.sampled_from([0.0, 0.3, 0.97]),
    pickup=st.integers(0, 15), count=st.integers(1, 200), has_dynamics=st.booleans(),
)  # fmt: skip
def test_accepted_sequences_survive_up_to_the_last_token_of_a_bar(
    seed: int, closing: float, tie: float, pickup: int, count: int, has_dynamics: bool
) -> None:
    random, grammar = np.random.default_rng(seed), TIGHT.grammar
    attributes = ScoreAttributes(Meter(4, 4), pickup * STEP, has_dynamics=has_dynamics)
    tokens = list(TIGHT.header_tokens(attributes))
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
    rest=st.integers(0, 16), pickup=st.integers(0, 15), has_dynamics=st.booleans(),
)  # fmt: skip
def test_every_score_fits_the_bound_and_losses_are_counted(
    places: list[tuple[int, int, int, int]], rest: int, pickup: int, has_dynamics: bool
) -> None:
    notes = [Note(step * STEP, duration * STEP, pitch, 64, voice) for step, voice, pitch, duration in sorted(places)]
    length = max(note.end for note in notes) + rest * STEP
    score = Score(tuple(notes), length, Meter(4, 4), pickup * STEP, has_dynamics=has_dynamics)
    encoding = TIGHT.encode(score)
    tokens = encoding.tokens.tolist()
    assert TIGHT.grammar.accepts(encoding.tokens)
    assert max(tokens_by_bar(tokens)) <= TIGHT.bar_tokens
    decoded = TIGHT.decode(tokens)
    assert decoded.length_ticks == length
    assert len(notes) - len(decoded.notes) == encoding.dropped["too_dense"]
    places_kept = {(note.onset, note.voice, note.pitch): note.duration for note in decoded.notes}
    durations = {(note.onset, note.voice, note.pitch): note.duration for note in notes}
    shorter = [place for place, duration in places_kept.items() if duration != durations[place]]
    assert all(places_kept[place] < durations[place] for place in shorter)
    assert len(shorter) == encoding.dropped["shortened"]
    assert TIGHT.encode(decoded).tokens.tolist() == tokens


def test_a_too_dense_bar_keeps_its_first_notes() -> None:
    chord = [Note(step * STEP, STEP, pitch, 64) for step in range(4) for pitch in range(60, 66)]
    encoding = TIGHT.encode(Score(tuple(chord), 2 * 1920, Meter(4, 4)))
    # 64 tokens less the header and the BAR are 58: three chords of 1 + 6 * 3, and no other note.
    assert encoding.dropped == {"too_dense": 6}
    assert TIGHT.decode(encoding.tokens).notes == tuple(chord[:18])


def test_a_bar_without_dynamics_has_room_for_half_as_many_notes_more() -> None:
    notes = [Note(step * STEP, STEP, pitch) for step in range(4) for pitch in range(60, 68)]
    encoding = TIGHT.encode(Score(tuple(notes), 2 * 1920, Meter(4, 4), has_dynamics=False))
    # One token is kept for a VELOCITY. 57 are left: three chords of 1 + 8 * 2, and one of 1 + 2 * 2.
    assert encoding.dropped == {"too_dense": 6}
    assert TIGHT.decode(encoding.tokens).notes == tuple(notes[:26])


def test_a_note_is_shortened_before_another_is_left_out() -> None:
    pedal = Note(0, 100 * 480, 60, 64, 0)
    others = [Note(step * STEP, STEP, 70, 64, 0) for step in range(1, 9)]
    encoding = TIGHT.encode(Score((pedal, *others), 100 * 480, Meter(4, 4)))
    # Nine notes with their positions take 36 of 58 tokens; 22 are left for the pedal's 99 ties.
    assert encoding.dropped == {"shortened": 1}
    first, *rest = TIGHT.decode(encoding.tokens).notes
    assert (first.duration, rest) == (23 * 480, others)


@pytest.mark.parametrize("bar_tokens", [63, 4097])
def test_bar_tokens_has_bounds(bar_tokens: int) -> None:
    with pytest.raises(ValueError, match="bar_tokens must be 64 to 4096"):
        EventsTokenizer(lowest_pitch=60, highest_pitch=79, bar_tokens=bar_tokens)


def test_bar_tokens_is_part_of_the_hash() -> None:
    other = EventsTokenizer.from_parameters(TIGHT.parameters | {"bar_tokens": 65})
    assert other.vocabulary_size == TIGHT.vocabulary_size
    assert other.hash != TIGHT.hash


@pytest.mark.parametrize(
    ("attributes", "length_ticks", "bars"),
    [
        (ScoreAttributes(Meter(4, 4)), 1, 1),
        (ScoreAttributes(Meter(4, 4)), 1920, 1),
        (ScoreAttributes(Meter(4, 4)), 1921, 2),
        (ScoreAttributes(Meter(3, 4), 480), 480, 1),
        (ScoreAttributes(Meter(3, 4), 480), 481, 2),
        (ScoreAttributes(Meter(3, 4), 480), 480 + 3 * 1440, 4),
        (ScoreAttributes(Meter(5, 4)), 1920, 4),  # a meter that is not counted is heard as quarters
    ],
)
def test_bars_and_tokens_of_a_length(attributes: ScoreAttributes, length_ticks: int, bars: int) -> None:
    assert TIGHT.bar_count(length_ticks, attributes) == bars
    assert TIGHT.token_count(length_ticks, attributes) == bars * 64
