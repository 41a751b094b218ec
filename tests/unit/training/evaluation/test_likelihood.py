import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from music.bundle import Bundle
from music.midi import write_midi
from music.score import Meter, Note, Score
from music.tokenizers.grid_vocabulary import FIRST_PITCH
from runtime.precision import Precision
from runtime.scorer import Scorer
from tests.unit.music.midi.smf_bytes import scale_of, smf, track
from training.__main__ import main
from training.corpus.store import Corpus, Split
from training.errors import CorpusError
from training.evaluation.likelihood import MeterMode, evaluate_folder, evaluate_pieces, evaluate_split


def piece(shift: int = 0) -> Score:
    notes = [Note(step * 480, 360, 67 + (step + shift) % 5, 80, 0) for step in range(8)]
    notes += [Note(step * 960, 960, 50 + step, 80, 1) for step in range(4)]
    return Score(tuple(sorted(notes)), 3840, Meter(4, 4))


def test_every_token_is_scored_once(small: Bundle) -> None:
    """Against the sum written out: rests, holds, frame 0 and the end included."""
    score = piece()
    encoding = small.tokenizer.encode(score)
    (logits,) = Scorer(small).logits([encoding.tokens], [encoding.first_position])
    grammar, state, nats = small.tokenizer.grammar, small.tokenizer.grammar.start, 0.0
    for token, row in zip(encoding.tokens.tolist(), logits.astype(np.float64), strict=True):
        legal = grammar.allowed[state]
        nats -= row[token] - math.log(np.exp(row[legal]).sum())
        state = int(grammar.successor[state, token])
    result = evaluate_pieces(small, [score], MeterMode.GIVEN)
    assert result.nats == pytest.approx(nats, rel=1e-6)
    assert (result.pieces, result.steps, result.tokens) == (1, 32, 65)
    assert result.nats_per_note_step == pytest.approx(nats / (2 * 32))
    assert result.notes == 12
    assert result.seconds == pytest.approx(8 * 0.6)
    assert result.nats_per_note == pytest.approx(nats / 12)
    assert result.bits_per_second == pytest.approx(nats / math.log(2) / 4.8)
    assert result.bits_per_second_by_piece == [pytest.approx(result.bits_per_second)]
    begins = [token >= FIRST_PITCH for token in range(small.tokenizer.vocabulary_size)]
    onsets = [step for step, token in enumerate(encoding.tokens.tolist()) if begins[token]]
    best = [int(np.where(begins, logits[step], -np.inf).argmax()) == encoding.tokens[step] for step in onsets]
    assert (result.onsets, result.pitches_correct) == (len(onsets), sum(best))
    assert result.onsets_correct <= result.pitches_correct


def test_totals_add_up_whatever_the_batches(small: Bundle) -> None:
    scores = [piece(shift) for shift in range(5)]
    single = [evaluate_pieces(small, [score], MeterMode.GIVEN) for score in scores]
    together = evaluate_pieces(small, scores, MeterMode.GIVEN)
    assert together.nats == pytest.approx(sum(result.nats for result in single), rel=1e-5)
    assert together.steps == sum(result.steps for result in single)
    assert together.correct == sum(result.correct for result in single)


def test_an_unknown_meter_is_the_mean_over_all_starts(small: Bundle) -> None:
    score = piece()
    tokens = small.tokenizer.encode(score).tokens
    starts = small.tokenizer.positions.beat_starts
    assert len(starts) == 7  # four quarters of 4/4, three of 3/4
    nats_by_start = []
    for start, logits in zip(starts, Scorer(small).logits([tokens] * len(starts), starts), strict=True):
        del start
        legal = small.tokenizer.grammar.allowed[small.tokenizer.grammar.own_states(tokens)]
        masked = np.where(legal, logits.astype(np.float64), -np.inf)
        nats_by_start.append(
            sum(math.log(np.exp(row).sum()) - row[token] for row, token in zip(masked, tokens, strict=True))
        )
    expected = -math.log(
        sum(math.exp(min(nats_by_start) - charge) for charge in nats_by_start) / len(nats_by_start)
    ) + min(nats_by_start)
    assert evaluate_pieces(small, [score], MeterMode.UNKNOWN).nats == pytest.approx(expected, rel=1e-6)
    stated = evaluate_pieces(small, [score], MeterMode.GIVEN).nats
    assert expected <= stated + math.log(len(starts)) + 1e-6


def test_the_manifest_says_what_evaluation_says(small: Bundle, small_corpus: Path) -> None:
    result = evaluate_split(small, Corpus.load(small_corpus), Split.TEST, MeterMode.GIVEN)
    assert small.metrics["test_nats_per_note_step"] == pytest.approx(result.nats_per_note_step, abs=1e-4)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("int8", 0.02)])
def test_the_decode_graphs_agree_with_the_scoring_graph(
    small: Bundle, small_corpus: Path, precision: Precision, tolerance: float
) -> None:
    corpus = Corpus.load(small_corpus)
    expected, served = (
        evaluate_split(small, corpus, Split.TEST, MeterMode.GIVEN, precision=chosen) for chosen in (None, precision)
    )
    assert served.nats_per_note_step == pytest.approx(expected.nats_per_note_step, abs=tolerance)
    assert (served.tokens, served.steps, served.onsets) == (expected.tokens, expected.steps, expected.onsets)
    if precision == "int8":
        assert served.nats != expected.nats


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shift in range(3):
        (tmp_path / f"{shift}.mid").write_bytes(write_midi(piece(shift)))
    (tmp_path / "broken.mid").write_bytes(b"no")
    wide = Score((Note(0, 480, 67), Note(0, 480, 20, 80, 1), Note(0, 480, 10, 80, 2)), 480)
    (tmp_path / "wide.mid").write_bytes(write_midi(wide))
    return tmp_path


def test_a_folder_is_evaluated_and_its_losses_reported(small: Bundle, folder: Path) -> None:
    result = evaluate_folder(small, folder, MeterMode.GIVEN)
    assert result.pieces == 4
    assert result.steps == 3 * 32 + 4
    assert list(result.skipped) == ["broken.mid"]
    assert result.dropped == {"out_of_range": 1, "extra_voice": 1}


def test_every_name_of_a_midi_file_is_evaluated_and_each_sequence_in_it(small: Bundle, tmp_path: Path) -> None:
    for name in ("a.MID", "b.midi", "c.kar", "d.rmi", "e.smf"):
        (tmp_path / name).write_bytes(write_midi(piece()))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder", target_is_directory=True)
    (tmp_path / "folder" / "two.mid").write_bytes(smf(track(scale_of((60,) * 8)), track(scale_of((64,) * 8)), kind=2))
    (tmp_path / "notes.txt").write_text("not a score")
    result = evaluate_folder(small, tmp_path, MeterMode.GIVEN)
    assert (result.pieces, result.skipped) == (7, {})


def test_a_folder_without_midi_is_a_sentence(small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no score in"):
        evaluate_folder(small, tmp_path, MeterMode.GIVEN)
    (tmp_path / "tune.abc").write_text("X:1\nK:C\nC|\n")
    with pytest.raises(CorpusError, match="no readable MIDI file"):
        evaluate_folder(small, tmp_path, MeterMode.GIVEN)
    with pytest.raises(CorpusError, match="there is no file or folder"):
        evaluate_folder(small, tmp_path / "missing", MeterMode.GIVEN)


def test_the_command_prints_json(small_bundle: Path, folder: Path) -> None:
    ended = CliRunner().invoke(main, ["evaluate", str(small_bundle), "--midi", str(folder), "--json"])
    assert ended.exit_code == 0, ended.output
    report = json.loads(ended.output)
    assert report["meter"] == "unknown"
    assert report["pieces"] == 4
    assert report["nats_per_note_step"] == pytest.approx(report["nats"] / (2 * report["steps"]))


def test_wrong_use_of_the_command_is_a_sentence(small_bundle: Path, tmp_path: Path) -> None:
    for arguments, words, code in (
        (["evaluate", str(small_bundle)], "either --midi or --corpus", 2),
        (
            ["evaluate", str(small_bundle), "--corpus", "x", "--samples", "9", "--precision", "int8"],
            "--precision cannot be used with --samples",
            2,
        ),
        (["evaluate", str(tmp_path), "--midi", str(tmp_path)], "manifest.json is missing or unreadable", 1),
        (["evaluate", str(small_bundle), "--midi", str(tmp_path)], "no score in", 1),
        (["prepare", str(tmp_path), "--out", str(tmp_path / "x.npz")], "no score in", 1),
        (
            ["train", "smoke", "--corpus", str(tmp_path / "x.npz"), "--run", str(tmp_path / "run")],
            "there is no corpus",
            1,
        ),
        (["train", "opera", "--corpus", "x", "--run", "y"], "unknown configuration 'opera'", 1),
        (["export", str(tmp_path), "--out", str(tmp_path / "out")], "is not a run", 1),
    ):
        ended = CliRunner().invoke(main, arguments)
        assert ended.exit_code == code, ended.output
        assert words in ended.output
        assert "Traceback" not in ended.output
