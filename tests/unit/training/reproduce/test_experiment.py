import json
import math
from pathlib import Path

import pytest

from tests.unit.training.reproduce.folder import write_folder
from training.errors import CheckpointError, CorpusError
from training.reproduce.experiment import BEGINNINGS, ENDINGS, STREAM, TEST, VALID, WHOLE, Experiment
from training.reproduce.figures import draw
from training.reproduce.network import FINISHED, WATCHED
from training.reproduce.page import BEGIN, END, IMAGES, rendered
from training.reproduce.results import Results
from training.trainer import Trainer

SMALL = {
    "network.layers": "1",
    "network.hidden": "8",
    "network.embedding": "4",
    "training.epochs": "3",
    "training.patience": "3",
    "training.lanes": "3",
    "training.window": "16",
}


@pytest.fixture(scope="module")
def midi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("songs") / "midi")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def results(midi: Path, work: Path) -> Results:
    return experiment(midi, work).results()


def experiment(midi: Path, work: Path, **changes: str) -> Experiment:
    overrides = SMALL | {f"training.{name}": value for name, value in changes.items()}
    return Experiment(midi, work, device="cpu", progress=False, overrides=overrides)


def test_every_song_is_on_one_side_and_every_token_charged(results: Results) -> None:
    assert results.files == sum(results.songs.values()) == 8
    assert results.skipped == 0
    milestone = results.original.milestones[3]
    songs = milestone[WHOLE].tokens + milestone[VALID].tokens + milestone[TEST].tokens
    assert songs == results.tokens["first_part"].tokens + 8  # with the ends
    endings = milestone[WHOLE].without(milestone[BEGINNINGS])
    assert endings.tokens == next(b.measure.tokens for b in results.baselines if b.side == ENDINGS)
    assert 0 < endings.tokens < milestone[BEGINNINGS].tokens


def test_losses_are_nats_a_token(results: Results) -> None:
    """Three epochs of a tiny network know little more than how many tokens there are."""
    for run in (results.original, results.by_song):
        for curve in (run.training, *run.curves.values()):
            assert len(curve.loss) == len(curve.accuracy) == 3
            assert 0.3 * math.log(run.vocabulary) < curve.loss[0] < 1.3 * math.log(run.vocabulary)
        best = run.milestones[run.best_epoch]
        assert best[VALID].loss == pytest.approx(run.curves[VALID].loss[run.best_epoch - 1], abs=1e-3)


def test_the_network_for_other_songs_is_chosen_on_validation_songs(results: Results) -> None:
    losses = results.by_song.curves[VALID].loss
    assert losses[results.by_song.best_epoch - 1] == min(losses)
    assert results.by_song.milestones[results.by_song.best_epoch].keys() == {VALID, TEST}


def test_transposed_songs_need_more_tokens(results: Results) -> None:
    assert results.by_song.vocabulary > results.original.vocabulary


def test_baselines_cover_every_side_and_order(results: Results) -> None:
    assert {(item.side, item.order) for item in results.baselines} == {
        (side, order) for side in (STREAM, ENDINGS, VALID, TEST) for order in range(1, 6)
    }
    assert results.best_baseline(ENDINGS).measure.accuracy >= 0.5  # the walks repeat themselves


def test_what_the_tokens_leave_out_is_measured(results: Results) -> None:
    heard, whole = results.kept["first_part"], results.kept["all_parts"]
    assert heard.notes < whole.notes == 1  # every part is heard there
    assert heard.velocities < 1
    assert whole.durations < 1  # the bass is held, and comes back as short as the rest


def test_no_name_or_note_of_the_files_is_in_the_results(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    assert "song0" not in (tmp_path / "results.json").read_text()
    assert Results.load(tmp_path / "results.json") == results


def test_what_is_finished_is_read_again_and_not_trained(
    midi: Path, work: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "run", refuse)
    assert experiment(midi, work).results() == results


def test_one_network_is_renewed_among_earlier_results_of_the_same_files(
    midi: Path, work: Path, results: Results, tmp_path: Path
) -> None:
    assert experiment(midi, work).renewed(results.model_copy(update={"events": None}), "events") == results
    with pytest.raises(CorpusError, match="the folder holds 6 with"):
        experiment(write_folder(tmp_path / "fewer", songs=6), work).renewed(results, "events")


def test_a_killed_run_ends_with_the_results_of_one_that_was_not(
    midi: Path, tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    score, calls = Trainer.score, 0

    def dying(trainer: Trainer, pieces: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:  # in the second epoch, after it was watched and before it was saved
            raise KilledError
        return score(trainer, pieces)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "score", dying)
        with pytest.raises(KilledError):
            experiment(midi, tmp_path).results()
    assert not (tmp_path / "original" / FINISHED).exists()
    assert experiment(midi, tmp_path).results() == results


def test_another_configuration_in_the_folder_is_not_mistaken_for_this_one(
    midi: Path, work: Path, results: Results
) -> None:
    with pytest.raises(CheckpointError, match=r"another configuration \(training.learning_rate was 0.002, is 0.5\)"):
        experiment(midi, work, learning_rate="0.5").results()


@pytest.mark.parametrize("damage", ["", '{"epoch": 1}\n', '{"epoch": 1, "sides": {}}\n', "no json"])
def test_a_damaged_record_of_a_run_is_a_sentence(midi: Path, tmp_path: Path, damage: str) -> None:
    experiment(midi, tmp_path, epochs="2").results()
    (tmp_path / "original" / FINISHED).unlink()
    (tmp_path / "original" / WATCHED).write_text(damage)
    with pytest.raises(CheckpointError, match="to train anew"):
        experiment(midi, tmp_path, epochs="2").results()


def test_too_few_songs_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="too small to split"):
        experiment(write_folder(tmp_path / "two", songs=2), tmp_path / "work")
    with pytest.raises(CorpusError, match="there is no file or folder"):
        experiment(tmp_path / "none", tmp_path / "work")


def test_page_and_figures_show_the_results(results: Results, tmp_path: Path) -> None:
    draw(results, tmp_path / IMAGES)
    page = rendered(f"before\n{BEGIN}\nstale words\n{END}\nafter\n", results)
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "stale words" not in page
    assert f"{results.original.training.accuracy[-1]:.2%}" in page
    shown = results.by_song.milestones[results.by_song.best_epoch][TEST]
    assert f"{shown.accuracy:.2%}, {shown.loss:.2f}" in page
    figures = {path.name for path in (tmp_path / IMAGES).iterdir()}
    assert figures
    assert all((IMAGES / name).as_posix() in page for name in figures)
    assert all((tmp_path / IMAGES / name).read_bytes().startswith(b"\x89PNG") for name in figures)


def test_watched_rows_are_json_lines(work: Path, results: Results) -> None:
    rows = [json.loads(line) for line in (work / "original" / WATCHED).read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
