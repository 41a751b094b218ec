"""Properties that hold for every tokenizer."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.score import Meter, MeterChange, Note, Score, ScoreAttributes
from music.tokenizers import (
    TOKENIZERS,
    EventsTokenizer,
    GridTokenizer,
    NoteChordTokenizer,
    Tokenizer,
    tokenizer_class,
    tokenizer_from_parameters,
)
from tests.unit.music.strategies import METERS, any_scores

GRID = GridTokenizer(voices=3, lowest_pitch=40, highest_pitch=80, voice_order=(0, 2, 1), meters=METERS)
MELODY = GridTokenizer(voices=1, lowest_pitch=55, highest_pitch=90)
NOTECHORD = NoteChordTokenizer(names=sorted(["C4", "C4.E4.G4", "F#3.B-3", "G9", "C-1"]))
PIANO = EventsTokenizer(lowest_pitch=40, highest_pitch=80, longest_quarters=1, programs=(0, 19), meters=METERS)
WALTZ = EventsTokenizer(
    lowest_pitch=0,
    highest_pitch=127,
    voices=1,
    positions_per_quarter=2,
    velocity_bins=1,
    tempo_bins=1,
    meters=(Meter(3, 4),),
)
EVERY = pytest.mark.parametrize(
    "tokenizer", [GRID, MELODY, NOTECHORD, PIANO, WALTZ], ids=["grid", "melody", "notechord", "piano", "waltz"]
)


@st.composite
def legal_tokens(draw: st.DrawFn, tokenizer: Tokenizer) -> list[int]:
    """Sequences that the grammar accepts, with the end token after a complete step."""
    grammar, state = tokenizer.grammar, tokenizer.grammar.joint_start
    tokens: list[int] = []
    count = draw(st.integers(1, 30)) * tokenizer.tokens_per_step
    while len(tokens) < count or not grammar.joint_allowed(state)[tokenizer.end_token]:
        choices = [int(t) for t in np.flatnonzero(grammar.joint_allowed(state)) if t != tokenizer.end_token]
        token = draw(st.sampled_from(choices)) if len(tokens) < count else choices[-1]
        tokens.append(token)
        state = grammar.joint_successor(state, token)
    return [*tokens, tokenizer.end_token]


@pytest.mark.slow
@EVERY
@given(data=st.data())
def test_encoding_a_decoded_sequence_returns_its_tokens(tokenizer: Tokenizer, data: st.DataObject) -> None:
    tokens = data.draw(legal_tokens(tokenizer))
    encoding = tokenizer.encode(tokenizer.decode(tokens))
    assert encoding.tokens.tolist() == tokens
    assert not encoding.dropped


@pytest.mark.slow
@EVERY
@given(score=any_scores())
def test_any_score_becomes_tokens_that_the_grammar_accepts(tokenizer: Tokenizer, score: Score) -> None:
    encoding = tokenizer.encode(score)
    tokens = encoding.tokens
    assert tokens[-1] == tokenizer.end_token
    assert tokenizer.start_token not in tokens
    if len(tokens) > 1:
        assert tokenizer.grammar.accepts(tokens)
        decoded = tokenizer.decode(tokens, ScoreAttributes(score.meter, score.pickup_ticks))
        again = tokenizer.encode(decoded)
        assert again.tokens.tolist() == tokens.tolist()
        assert not again.dropped
    assert 0 <= encoding.first_position < len(tokenizer.positions)


@EVERY
def test_a_meter_that_changes_is_unknown(tokenizer: Tokenizer) -> None:
    score = Score((Note(0, 480, 60), Note(1440, 480, 62)), 1920, Meter(3, 4), 480)
    several = tokenizer.encode(replace(score, meter_changes=(MeterChange(960, Meter(4, 4)),)))
    unknown = tokenizer.encode(replace(score, meter=None))
    assert several.tokens.tolist() == unknown.tokens.tolist()
    assert several.first_position == unknown.first_position


@pytest.mark.slow
@EVERY
@given(data=st.data())
def test_incremental_decoding_equals_decoding_at_once(tokenizer: Tokenizer, data: st.DataObject) -> None:
    tokens = data.draw(legal_tokens(tokenizer))
    notes: list[Note] = []
    seen: list[tuple[int, int, list[Note]]] = []
    decoder, rest = tokenizer.decoder(), tokens
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        decoded_notes = decoder.feed(rest[:size])
        assert all(note.end <= decoder.length_ticks for note in decoded_notes)  # only what is decided
        notes, rest = notes + decoded_notes, rest[size:]
        seen.append((decoder.watermark_ticks, len(notes), list(decoder.sounding)))
    notes += decoder.finish()
    score = tokenizer.decode(tokens)
    assert sorted(notes) == sorted(score.notes)
    assert decoder.length_ticks == score.length_ticks
    for watermark, complete, sounding in seen:
        later = notes[complete:]
        assert all(note.end >= watermark for note in later)
        ends = {note._replace(duration=1): note.end for note in later}
        assert all(note.duration >= 1 and note.end <= ends[note._replace(duration=1)] for note in sounding)
        begun = {note._replace(duration=1) for note in sounding}
        assert all(note.onset >= watermark for note in later if note._replace(duration=1) not in begun)
    if tokenizer.bar_token is None:
        assert tokenizer.token_count(score.length_ticks, ScoreAttributes()) == len(tokens) - 1


@EVERY
def test_every_grammar_state_allows_a_token_but_not_the_start_token(tokenizer: Tokenizer) -> None:
    grammar = tokenizer.grammar
    assert grammar.allowed.any(axis=1).all()
    assert not grammar.allowed[:, tokenizer.start_token].any()
    assert grammar.allowed.shape == grammar.successor.shape == (len(grammar.allowed), tokenizer.vocabulary_size)
    assert ((grammar.successor >= 0) & (grammar.successor < len(grammar.allowed))).all()


@pytest.mark.slow
@EVERY
@given(data=st.data())
def test_both_views_of_the_grammar_agree(tokenizer: Tokenizer, data: st.DataObject) -> None:
    tokens = np.array(data.draw(legal_tokens(tokenizer)))
    grammar, state = tokenizer.grammar, tokenizer.grammar.joint_start
    for token, legal in zip(tokens, grammar.masks(tokens), strict=True):
        assert (grammar.joint_allowed(state) == legal).all()
        assert legal[token]
        state = grammar.joint_successor(state, int(token))
    assert grammar.accepts(tokens)
    place = data.draw(st.integers(0, len(tokens) - 1))
    forbidden = np.flatnonzero(~grammar.masks(tokens)[place])
    assert not grammar.accepts(np.array([*tokens[:place], data.draw(st.sampled_from(forbidden.tolist()))]))


@pytest.mark.slow
@EVERY
@given(data=st.data())
def test_the_features_of_states_stay_inside_their_tables(tokenizer: Tokenizer, data: st.DataObject) -> None:
    grammar, tokens = tokenizer.grammar, np.array(data.draw(legal_tokens(tokenizer)))
    features = np.zeros((len(tokens), len(grammar.feature_sizes)), np.int32)
    states = grammar.feature_states(tokens)
    for table in reversed(grammar.feature_tables):
        features += table[states % len(table)]
        states //= len(table)
    assert not states.any()
    assert ((features >= 0) & (features < np.array(grammar.feature_sizes, np.int32))).all()


@EVERY
def test_positions_stay_inside_their_tables(tokenizer: Tokenizer) -> None:
    positions = tokenizer.positions
    assert ((positions.successor >= 0) & (positions.successor < len(positions))).all()
    assert (positions.features < np.array(positions.feature_sizes)).all()
    for meter in positions.meters:
        assert positions.start(meter) in positions.beat_starts


@EVERY
def test_parameters_make_an_equal_tokenizer(tokenizer: Tokenizer) -> None:
    stored = json.loads(json.dumps(tokenizer.parameters))
    again = tokenizer_from_parameters(tokenizer.name, tokenizer.version, stored)
    assert again.hash == tokenizer.hash
    assert again.vocabulary_size == tokenizer.vocabulary_size


@EVERY
def test_token_names_are_unique(tokenizer: Tokenizer) -> None:
    names = [tokenizer.token_name(token) for token in range(tokenizer.vocabulary_size)]
    assert len(set(names)) == len(names)


@pytest.mark.slow
@EVERY
@given(score=any_scores())
def test_transposed_tokens_stay_inside_the_vocabulary(tokenizer: Tokenizer, score: Score) -> None:
    tokens = tokenizer.encode(score).tokens
    shifts = tokenizer.transpositions(tokens)
    assert 0 in shifts
    for shift in (shifts.start, shifts.stop - 1):
        shifted = tokenizer.transposed(tokens, shift)
        assert ((shifted >= 0) & (shifted < tokenizer.vocabulary_size)).all()
        if len(tokens) > 1:
            assert tokenizer.grammar.accepts(shifted)


def test_different_tokenizers_have_different_hashes() -> None:
    assert len({tokenizer.hash for tokenizer in (GRID, MELODY, NOTECHORD, PIANO, WALTZ)}) == 5
    moved = GridTokenizer(voices=3, lowest_pitch=41, highest_pitch=81, voice_order=(0, 2, 1), meters=METERS)
    assert moved.vocabulary_size == GRID.vocabulary_size
    assert moved.hash != GRID.hash


def test_unknown_names_versions_and_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="known are events, grid, notechord"):
        tokenizer_class("events2")
    with pytest.raises(ValueError, match="version 1 here, not 2: train the model again and export it"):
        tokenizer_from_parameters("grid", 2, GRID.parameters)
    assert set(TOKENIZERS) == {"grid", "events", "notechord"}


@pytest.mark.parametrize(
    ("tokenizer", "wrong", "fields"),
    [
        (GRID, {"colour": "blue"}, ["colour"]),
        (GRID, {"voices": [[4, 4]] * 1000, "lowest_pitch": None}, ["voices", "lowest_pitch"]),
        (GRID, {"highest_pitch": float("nan"), "steps_per_quarter": "x"}, ["highest_pitch", "steps_per_quarter"]),
        (GRID, {"meters": ["4/4", 3, "99/4"]}, ["meters.1", "meters.2"]),
        (GRID, {"meters": "4/4", "ranges": [[36]]}, ["meters", "ranges.0.1"]),
        (GRID, {"voice_order": {"0": 1}}, ["voice_order"]),
        (GRID, {"voices": 10**30}, ["voices must be 1 to 8"]),
        (PIANO, {"programs": ["piano"], "bar_tokens": 1.5}, ["programs.0", "bar_tokens"]),
        (NOTECHORD, {"names": "C4", "step_ticks": []}, ["names", "step_ticks"]),
    ],
)
def test_all_wrong_parameters_are_named(tokenizer: Tokenizer, wrong: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(ValueError, match=f"tokenizer {tokenizer.name}: ") as caught:
        tokenizer_from_parameters(tokenizer.name, tokenizer.version, tokenizer.parameters | wrong)
    assert all(field in str(caught.value) for field in fields)


@pytest.mark.parametrize(("tokenizer", "missing"), [(GRID, "voices"), (PIANO, "highest_pitch"), (NOTECHORD, "names")])
def test_missing_parameters_are_named(tokenizer: Tokenizer, missing: str) -> None:
    parameters = {name: value for name, value in tokenizer.parameters.items() if name != missing}
    with pytest.raises(ValueError, match=f"tokenizer {tokenizer.name}: {missing}: "):
        tokenizer_from_parameters(tokenizer.name, tokenizer.version, parameters)
