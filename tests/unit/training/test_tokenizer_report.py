from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from music.score import Meter, Note, Score
from music.tokenizers import tokenizer_class
from training.__main__ import main
from training.config import load_config
from training.corpus.store import CompactScore, Corpus, Split
from training.loop.tbptt import encode_corpus
from training.tokenizer_report import kept_share, tokenization_report


def chords(count: int = 16) -> Score:
    """Chords of three in one voice, of which a grid keeps the highest note."""
    return Score(tuple(Note(i * 480, 480, 60 + k, 80, 0) for i in range(count) for k in (0, 4, 7)), count * 480)


def corpus(score: Score) -> Corpus:
    names = [f"{index}" for index in range(6)]
    return Corpus(names, np.array([0, 0, 0, 0, 1, 2], np.uint8), [CompactScore.of(score)] * 6, "made up")


def report(music: Corpus, config: str, *, tuned: bool = False) -> list[str]:
    table = load_config(config).tokenizer
    scores = [piece.score for piece in music.pieces(Split.TRAIN)]
    tokenizer = tokenizer_class(table.name).fit(table.parameters, scores)
    train, dropped = encode_corpus(music, tokenizer, Split.TRAIN)
    valid, more = encode_corpus(music, tokenizer, Split.VALID)
    return tokenization_report(music, tokenizer, (train, valid), dropped + more, tuned=tuned)


def test_a_note_is_kept_where_its_pitch_begins_within_a_64th() -> None:
    grid = tokenizer_class("grid").fit({"voices": 1}, [chords()])
    assert kept_share(grid, [chords()]) == pytest.approx(1 / 3)
    near = Score((Note(20, 460, 60, 80, 0), Note(480 + 50, 400, 62, 80, 0)), 960)  # 20 ticks off, and 50
    assert kept_share(tokenizer_class("grid").fit({"voices": 1}, [near]), [near]) == 0.5
    twice = Score((Note(0, 240, 60, 80, 0), Note(0, 240, 60, 80, 1)), 480)  # one note cannot stand for both
    assert kept_share(tokenizer_class("grid").fit({"voices": 1}, [twice]), [twice]) == 0.5
    assert kept_share(grid, [Score((), 480)]) == 0.0


def test_many_lost_notes_give_a_warning_with_a_better_configuration() -> None:
    first, second, voices, warning, hint = report(corpus(chords()), "smoke")
    assert first.startswith("pieces: 4 train, 1 valid; 240 notes, ")
    assert second == "  notes dropped or moved by the tokenizer: 160 simultaneous"
    assert voices == (
        "WARNING: the tokenizer has 4 voices, and no piece has more than 1. The model learns that the other voices are "
        "silent."
    )
    assert warning.startswith("WARNING: grid tokens keep only 33% of the notes.")
    assert hint == "  configuration auto keeps 100% of them (CONFIG=auto, under another NAME)"


def test_the_hint_for_a_tuned_model_says_that_the_configuration_replaces_it() -> None:
    hint = report(corpus(chords()), "smoke", tuned=True)[-1]
    assert hint.endswith("(CONFIG=auto, without FROM and under another NAME)")


def test_pieces_in_a_meter_that_the_tokenizer_does_not_know_are_counted() -> None:
    line = "  pieces in a meter that the tokenizer does not know, encoded without bar lines: "
    odd = replace(chords(), meter=Meter(5, 4))
    assert f"{line}5 in 5/4" in report(corpus(odd), "smoke")
    assert not any(found.startswith(line) for found in report(corpus(odd), "origin")), "its tokens know no bars"
    assert not any(found.startswith(line) for found in report(corpus(chords()), "smoke"))


def test_few_lost_notes_give_no_warning() -> None:
    assert len(report(corpus(chords()), "piano")) == 2


def test_the_warning_names_no_configuration_if_none_keeps_more() -> None:
    thrice = Score(tuple(Note(i * 480, length, 60, 80, 0) for i in range(8) for length in (120, 240, 480)), 8 * 480)
    first, second, warning = report(corpus(thrice), "piano")
    assert first.startswith("pieces: 4 train, 1 valid; 120 notes, ")
    assert "40 doubled" in second
    assert warning.startswith("WARNING: events tokens keep only 67% of the notes. ")


def test_the_command_prints_the_report_first_and_warns_about_smoke(tmp_path: Path) -> None:
    corpus(chords()).save(tmp_path / "chords.npz")
    command = ["train", "smoke", "--corpus", str(tmp_path / "chords.npz"), "--run", str(tmp_path / "run"), "--quiet"]
    result = CliRunner().invoke(main, [*command, "--device", "cpu", "--set", "training.epochs=1"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("WARNING: configuration smoke is a network for tests")
    warned = next(index for index, line in enumerate(lines) if "keep only 33%" in line)
    assert warned < next(index for index, line in enumerate(lines) if line.startswith("best epoch"))
