from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.errors import UnsupportedMeterError
from music.score import Meter, Note, Score, ScoreAttributes
from music.tokenizers import GridTokenizer
from music.tokenizers.base import Tokens
from music.tokenizers.grid_vocabulary import END, HOLD, REST
from tests.unit.music.strategies import METERS, grid_pieces, grid_scores

GRID = GridTokenizer(voices=3, lowest_pitch=40, highest_pitch=80, voice_order=(0, 2, 1), meters=METERS)


def attributes_of(score: Score) -> ScoreAttributes:
    return ScoreAttributes(score.meter, score.pickup_ticks, score.tempo_bpm, score.key_sharps, score.program)


@given(grid_pieces(), st.booleans(), st.integers(0, 200))
def test_decoding_at_once_equals_decoding_token_by_token(
    piece: tuple[GridTokenizer, Tokens], ended: bool, cut: int
) -> None:
    tokenizer, tokens = piece
    said = [*tokens[: cut or None].tolist(), *([tokenizer.end_token, HOLD, tokens[0]] if ended else [])]
    decoder = tokenizer.decoder()
    notes = decoder.feed(said) + decoder.finish()
    score = tokenizer.decode(said)
    assert sorted(score.notes) == sorted(notes)
    assert score.length_ticks == decoder.length_ticks


@pytest.mark.slow
@given(score=grid_scores())
def test_a_score_on_the_grid_survives_a_round_trip(score: Score) -> None:
    encoding = GRID.encode(score)
    assert not encoding.dropped
    assert GRID.decode(encoding.tokens, attributes_of(score)) == score
    assert encoding.first_position == GRID.positions.start(score.meter, score.pickup_ticks)


def test_voices_are_interleaved_in_voice_order() -> None:
    score = Score((Note(0, 240, 60, 80, 0), Note(0, 120, 50, 80, 1), Note(120, 120, 40, 80, 2)), 240)
    names = [GRID.token_name(token) for token in GRID.encode(score).tokens]
    assert names == ["PITCH_60", "REST", "PITCH_50", "HOLD", "PITCH_40", "REST", "END"]


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        (Note(0, 240, 39, 80, 0), "out_of_range"),
        (Note(0, 240, 81, 80, 0), "out_of_range"),
        (Note(0, 240, 60, 80, 3), "extra_voice"),
        (Note(30, 240, 60, 80, 0), "off_grid"),
        (Note(30, 210, 60, 80, 0), "off_grid"),
        (Note(0, 200, 60, 80, 0), "rounded_duration"),
        (Note(480, 60, 60, 80, 0), "rounded_duration"),
    ],
)
def test_lost_notes_are_counted(note: Note, reason: str) -> None:
    assert GRID.encode(Score((note,), 960)).dropped == {reason: 1}


def test_a_voice_keeps_the_highest_simultaneous_note_and_shortens_overlaps() -> None:
    together = GRID.encode(Score((Note(0, 480, 50), Note(0, 240, 60)), 480))
    assert together.dropped == {"simultaneous": 1}
    assert GRID.decode(together.tokens).notes == (Note(0, 240, 60),)
    cut = GRID.encode(Score((Note(0, 480, 50), Note(240, 120, 60)), 480))
    assert cut.dropped == {"overlapping": 1}
    assert GRID.decode(cut.tokens).notes == (Note(0, 240, 50), Note(240, 120, 60))


def test_a_voice_has_its_own_range() -> None:
    grid = GridTokenizer(
        voices=2, lowest_pitch=40, highest_pitch=80, voice_order=(1, 0), ranges=((60, 80), (40, 64)), meters=METERS
    )
    assert GridTokenizer.from_parameters(grid.parameters).hash == grid.hash
    assert GridTokenizer.from_parameters(grid.parameters | {"ranges": None}).hash != grid.hash
    low, high = Note(0, 240, 59, 80, 0), Note(0, 240, 65, 80, 1)
    assert grid.encode(Score((low, high), 240)).dropped == {"out_of_range": 2}
    tokens = grid.encode(Score((Note(0, 240, 62, 80, 0), Note(0, 240, 60, 80, 1)), 240)).tokens
    assert grid.transpositions(tokens) == range(-2, 5)  # down to the upper voice's 60, up to the lower one's 64
    for place, pitches in ((0, range(40, 65)), (1, range(60, 81))):
        state = grid.grammar.own_states(tokens)[place]
        may_come = {grid.token_name(int(token)) for token in grid.grammar.allowed[state].nonzero()[0]}
        assert {name for name in may_come if name.startswith("PITCH")} == {f"PITCH_{pitch}" for pitch in pitches}


def test_the_grammar_of_the_grid() -> None:
    grammar = GRID.grammar

    def after(*tokens: int) -> Any:
        state = grammar.start
        for token in tokens:
            assert grammar.allowed[state, token]
            state = int(grammar.successor[state, token])
        return grammar.allowed[state]

    assert not after()[END], "a piece has at least one step"
    assert not after()[HOLD], "nothing sounds yet"
    assert not after(30)[END], "a step is whole before the end"
    assert after(30, REST, REST)[HOLD]
    assert after(30, REST, REST)[END]
    assert not after(30, REST, REST, HOLD)[HOLD], "the second voice was silent"
    assert not after(REST, REST, REST)[HOLD]
    assert after(30, REST, REST, END).tolist() == [token == END for token in range(GRID.vocabulary_size)]


def test_positions_count_bars_from_the_pickup_on() -> None:
    positions = GRID.positions
    start = positions.start(Meter(3, 4), 240)
    indices = positions.indices(start, 3 * 3)
    places = positions.features[indices]
    assert places[:, 0].tolist() == [0, 1, 2] * 3
    downbeat = positions.features[positions.start(Meter(3, 4)), 2]
    assert places[:, 2].tolist() == [downbeat + 10] * 3 + [downbeat + 11] * 3 + [downbeat] * 3
    assert len(positions.indices(start, 1000)) == 1000


def test_an_unknown_meter_keeps_the_place_in_the_quarter() -> None:
    encoding = GRID.encode(Score((Note(0, 480, 60),), 960, Meter(5, 4), 360))
    assert encoding.first_position == encoding.unmetered_first_position
    assert GRID.positions.features[encoding.first_position, 1] == 1
    with pytest.raises(UnsupportedMeterError, match="5/4 is not supported; this model supports 4/4, 3/4, 6/8"):
        GRID.positions.start(Meter(5, 4))
    with pytest.raises(UnsupportedMeterError, match="pickup of 100 ticks"):
        GRID.positions.start(Meter(4, 4), 100)


def test_an_incomplete_step_is_silent() -> None:
    score = GRID.decode([30, 31])
    assert score.length_ticks == 120
    assert len(score.notes) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"voices": 0},
        {"voices": 9},
        {"lowest_pitch": 81},
        {"highest_pitch": 128},
        {"lowest_pitch": -1},
        {"steps_per_quarter": 7},
        {"voice_order": (0, 1, 1)},
        {"meters": ()},
        {"meters": (Meter(4, 4), Meter(4, 4))},
        {"meters": (Meter(3, 32),)},
        {"ranges": ((40, 80), (40, 80))},
        {"ranges": ((40, 80), (40, 80), (39, 80))},
        {"ranges": ((40, 80), (60, 50), (40, 80))},
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"voices": 3, "lowest_pitch": 40, "highest_pitch": 80}
    with pytest.raises(ValueError, match=r"must|whole number"):
        GridTokenizer(**(arguments | change))


def test_an_unset_range_is_fitted_to_the_scores() -> None:
    scores = [Score((Note(0, 120, 50), Note(120, 120, 70)), 240)]
    grid = GridTokenizer.fit({"voices": 1}, scores)
    assert (grid.lowest_pitch, grid.highest_pitch) == (50, 70)
    assert GridTokenizer.fit({"voices": 1, "lowest_pitch": 40}, scores).lowest_pitch == 40
    with pytest.raises(ValueError, match="no note"):
        GridTokenizer.fit({"voices": 1}, [])


def test_a_note_sounds_after_its_first_token() -> None:
    decoder = GridTokenizer(voices=2, lowest_pitch=60, highest_pitch=72, voice_order=(1, 0)).decoder()
    assert decoder.feed([4]) == []
    assert decoder.sounding == [Note(0, 120, 60, 80, 1)]
    assert decoder.watermark_ticks == 0
    assert decoder.feed([6, HOLD]) == []
    assert decoder.sounding == [Note(0, 120, 62, 80, 0), Note(0, 240, 60, 80, 1)]
    assert decoder.watermark_ticks == 120
    assert decoder.feed([REST]) == [Note(0, 120, 62, 80, 0)]
    assert decoder.sounding == [Note(0, 240, 60, 80, 1)]
