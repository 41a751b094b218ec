from pathlib import Path

import pytest
from click.testing import CliRunner

from music.score import Meter, Note, Score
from music.tokenizers import EventsTokenizer, GridTokenizer
from training.__main__ import main
from training.corpus.roundtrip import round_trip

PIECE = Score(
    notes=(
        Note(0, 480, 60, 80, 0),
        Note(0, 480, 48, 80, 1),
        Note(480, 160, 62, 80, 0),  # a triplet
        Note(480, 470, 50, 80, 1),  # released early
        Note(965, 475, 64, 80, 0),  # struck late
        Note(960, 480, 30, 80, 1),  # too low
    ),
    length_ticks=1920,
    meter=Meter(3, 4),
    pickup_ticks=160,
)


def test_what_comes_back_is_counted() -> None:
    result = round_trip(EventsTokenizer(lowest_pitch=40, highest_pitch=80), [PIECE, PIECE])
    assert (result.pieces, result.notes, result.survived, result.onset_survived) == (2, 12, 6, 8)
    assert (result.on_grid, result.on_grid_survived, result.on_grid_onset_survived) == (8, 6, 6)
    assert result.dropped == {"out_of_range": 2, "off_grid": 2, "rounded_duration": 2}


def test_each_tokenizer_has_a_grid_of_its_own() -> None:
    result = round_trip(GridTokenizer(voices=2, lowest_pitch=30, highest_pitch=80), [PIECE])
    assert (result.on_grid, result.on_grid_survived) == (3, 3)


def test_the_command_says_what_a_corpus_keeps(small_corpus: Path) -> None:
    result = CliRunner().invoke(main, ["roundtrip", "piano", "--corpus", str(small_corpus)])
    assert result.exit_code == 0, result.output
    assert "notes on the grid: 405; 100.00% unchanged, 100.00% with the same onset and pitch" in result.output
    assert "dropped or moved: none" in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [("voices", "not TABLE.KEY=VALUE"), ("tokenizer.parameters.voices=9", "voices must be 1 to 8, not 9")],
)
def test_a_change_that_cannot_be_is_told(small_corpus: Path, change: str, message: str) -> None:
    result = CliRunner().invoke(main, ["roundtrip", "piano", "--corpus", str(small_corpus), "--set", change])
    assert result.exit_code != 0
    assert message in result.output
