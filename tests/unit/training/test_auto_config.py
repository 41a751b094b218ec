import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from music.score import Meter, Note, Score
from training import run as run_module
from training.__main__ import main
from training.auto_config import AUTO, choose_config, choose_sizes
from training.config import parse_config
from training.corpus.store import CompactScore, Corpus, Split
from training.errors import CheckpointError, CorpusError
from training.run import RUN_FILE, Run, resolve_auto_config, train


def corpus(*scores: Score, source: str = "made up") -> Corpus:
    names = [f"{index}" for index in range(len(scores))]
    return Corpus(names, np.zeros(len(scores), np.uint8), [CompactScore.of(score) for score in scores], source)


def line(step: int, voices: int = 1, meter: Meter | None = Meter(4, 4)) -> Score:  # noqa: B008  # frozen
    notes = [Note(index * step, step, 60 + index % 12 - 12 * v, 80, v) for index in range(32) for v in range(voices)]
    return Score(tuple(sorted(notes)), 32 * step, meter, program=40, tempo_bpm=90.0)


@pytest.mark.parametrize("voices", [1, 2, 4])
def test_lines_on_16ths_get_the_grid(voices: int) -> None:
    choice = choose_config(corpus(*[line(240, voices, Meter(6, 8))] * 3, line(120, voices)), device="cpu")
    tokenizer = choice.tables["tokenizer"]
    assert tokenizer["name"] == "grid"
    assert tokenizer["parameters"]["voices"] == voices
    assert tokenizer["parameters"]["meters"] == ["6/8", "4/4"]
    assert f"grid, {voices} voices: 100.0% of the notes" in choice.reasons[0]
    assert choice.tables["bundle"]["program"] == 40
    assert choice.tables["bundle"]["tempo_bpm"] == 90.0


def test_chords_triplets_and_many_voices_get_events() -> None:
    chords = Score(tuple(Note(i * 480, 480, 60 + k, 80, 0) for i in range(8) for k in (0, 4, 7)), 8 * 480)
    for score in (chords, line(160), line(240, voices=6)):
        choice = choose_config(corpus(score), device="cpu")
        assert choice.tables["tokenizer"] == {"name": "events", "parameters": {}}
        assert parse_config(choice.tables, AUTO).tokenizer.name == "events"


def test_the_share_that_a_grid_would_keep_counts_every_note_once() -> None:
    """Of a chord of three off the grid one note stays, and is moved: none of the three is kept as it is."""
    on = [Note(index * 480, 480, 60, 80, 0) for index in range(6)]
    off = [Note(index * 480 + 20, 200, 60 + k, 80, 0) for index in range(6, 8) for k in (0, 4, 7)]
    reason = choose_config(corpus(Score(tuple(on + off), 8 * 480)), device="cpu").reasons[0]
    assert reason == "tokenizer events: a grid of 16ths would keep 50.0% of the notes unchanged"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_more_music_takes_a_wider_network_less_dropout_and_fewer_epochs(device: str) -> None:
    bundle = {"description": "made up"}
    configs = []
    for tokens in np.logspace(1, 9, 40).astype(int).tolist():
        network, training, reasons = choose_sizes(tokens, max(1, tokens // 10_000), device)
        tables = {"tokenizer": {"name": "events"}, "network": network, "training": training, "bundle": bundle}
        configs.append(parse_config(tables, AUTO))  # which takes nothing out of range
        assert len(reasons) == 4
    widths = [config.network.hidden for config in configs]
    assert widths == sorted(widths)
    assert (widths[0], widths[-1]) == (128, 512 if device == "cpu" else 1024)
    for falling in (
        [config.network.dropout_between for config in configs],
        [config.training.epochs for config in configs],
    ):
        assert falling == sorted(falling, reverse=True)
        assert falling[0] > 3 * falling[-1]


def test_a_corpus_of_the_size_of_the_chorales_gets_the_network_of_the_chorales() -> None:
    network, training, _ = choose_sizes(217_000, 243, "cpu")
    assert (network["layers"], network["hidden"], network["embedding"]) == (2, 384, 128)
    assert (training["batch_size"], training["window"]) == (16, 128)


def test_the_batch_of_a_few_files_has_no_more_rows_than_pieces() -> None:
    assert choose_sizes(30_000, 3, "cpu")[1]["batch_size"] == 3


def test_a_corpus_without_notes_is_refused() -> None:
    with pytest.raises(CorpusError, match="the training pieces have no notes"):
        choose_config(corpus(Score((), 480)), device="cpu")


def test_the_number_of_tokens_is_estimated_from_a_sample() -> None:
    pieces = corpus(*[line(240)] * 300)
    assert len(list(pieces.sample(Split.TRAIN, 64))) == 60
    exact = 300 * (32 * 2 + 1)
    assert f"about {exact:,} tokens" in choose_config(pieces, device="cpu").reasons[1]


@pytest.mark.slow
def test_train_without_a_configuration_prints_its_choice_and_keeps_it(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    sets = [f"--set=training.{key}" for key in ("epochs=1", "window=32")] + ["--set=network.hidden=16"]
    arguments = ["train", "--corpus", str(small_corpus), "--run", str(run), "--device", "cpu", "--quiet", *sets]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    printed = [text for text in result.output.splitlines() if text.startswith("auto: ")]
    assert [text.split()[1] for text in printed] == ["tokenizer", "network", "dropout", "at", "batches"]
    started = Run.load(run)
    assert list(started.reasons) == [text.removeprefix("auto: ") for text in printed]
    assert started.config.network.hidden == 16
    assert started.tokenizer.name == "grid"

    monkeypatch.setattr(run_module, "choose_config", None)  # must not be called again, on any device
    assert resolve_auto_config(small_corpus, run, {}, device="cuda") == (started.config, started.reasons)
    assert CliRunner().invoke(main, arguments).output == result.output


def test_a_run_with_another_configuration_does_not_count_as_auto(small_corpus: Path, small_run: Path) -> None:
    assert not Run.load(small_run).reasons
    config, reasons = resolve_auto_config(small_corpus, small_run, device="cpu")
    assert reasons
    with pytest.raises(
        CheckpointError, match=r"another configuration \(network.dropout_between was 0.1, is 0.6, .* and 8 more\)"
    ):
        train(config, small_corpus, small_run, device="cpu", progress=False)
    assert json.loads((small_run / RUN_FILE).read_text())["chosen_because"] == []
