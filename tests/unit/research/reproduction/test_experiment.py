import json
import math
import shutil
from pathlib import Path

import pytest

from research.reproduction.experiment import (
    CONCATENATED,
    HELD_OUT_PARTS,
    TEST_SONGS,
    TRAINED_PARTS,
    VALID_SONGS,
    WHOLE_SONGS,
    Experiment,
)
from research.reproduction.network import FINISHED, MEASURED
from research.reproduction.page import IMAGES, draw, render
from research.reproduction.record import ReproductionRecord
from tests.unit.research.reproduction.folder import write_folder
from training.errors import CheckpointError, CorpusError
from training.loop.trainer import Trainer

pytestmark = pytest.mark.slow  # each test trains

SMALL = {
    "network.layers": "1",
    "network.hidden": "8",
    "network.embedding": "4",
    "training.epochs": "3",
    "training.patience": "3",
    "training.batch_size": "3",
    "training.window": "16",
}


@pytest.fixture(scope="module")
def midi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("songs") / "midi")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def record(midi: Path, work: Path) -> ReproductionRecord:
    return experiment(midi, work).run()


def experiment(midi: Path, work: Path, **changes: str) -> Experiment:
    overrides = SMALL | {f"training.{name}": value for name, value in changes.items()}
    return Experiment(midi, work, device="cpu", progress=False, overrides=overrides)


def test_every_song_is_in_one_split_and_every_token_counts(record: ReproductionRecord) -> None:
    assert record.files == sum(record.songs.values()) == 8
    assert record.skipped == 0
    milestone = record.original.milestones[3]
    songs = milestone[WHOLE_SONGS].tokens + milestone[VALID_SONGS].tokens + milestone[TEST_SONGS].tokens
    assert songs == record.tokens["original"].tokens + 8  # with the ends
    endings = milestone[WHOLE_SONGS].without(milestone[TRAINED_PARTS])
    assert endings.tokens == next(item.totals.tokens for item in record.ngrams if item.songs == HELD_OUT_PARTS)
    assert 0 < endings.tokens < milestone[TRAINED_PARTS].tokens


def test_losses_are_nats_per_token(record: ReproductionRecord) -> None:
    """After three epochs a tiny network knows little more than the size of the vocabulary."""
    for run in (record.original, record.by_song):
        for curve in (run.training, *run.curves.values()):
            assert len(curve.loss) == len(curve.accuracy) == 3
            assert 0.3 * math.log(run.vocabulary) < curve.loss[0] < 1.3 * math.log(run.vocabulary)
        best = run.milestones[run.best_epoch]
        assert best[VALID_SONGS].loss == pytest.approx(run.curves[VALID_SONGS].loss[run.best_epoch - 1], abs=1e-3)


def test_the_network_for_other_songs_is_chosen_on_validation_songs(record: ReproductionRecord) -> None:
    losses = record.by_song.curves[VALID_SONGS].loss
    assert losses[record.by_song.best_epoch - 1] == min(losses)
    assert record.by_song.milestones[record.by_song.best_epoch].keys() == {VALID_SONGS, TEST_SONGS}


def test_transposed_songs_need_more_tokens(record: ReproductionRecord) -> None:
    assert record.by_song.vocabulary > record.original.vocabulary


def test_ngrams_cover_every_set_of_songs_and_order(record: ReproductionRecord) -> None:
    assert {(item.songs, item.order) for item in record.ngrams} == {
        (songs, order) for songs in (CONCATENATED, HELD_OUT_PARTS, VALID_SONGS, TEST_SONGS) for order in range(1, 6)
    }
    assert record.best_ngram(HELD_OUT_PARTS).totals.accuracy >= 0.5  # the scales repeat


def test_the_losses_of_each_encoding_are_measured(record: ReproductionRecord) -> None:
    original, notechord = record.fidelity["original"], record.fidelity["notechord"]
    assert original.notes < notechord.notes == 1  # notechord has all parts
    assert original.velocities < 1
    assert notechord.durations < 1  # the decoded bass is as short as the other notes


def test_the_record_holds_no_name_of_a_file(record: ReproductionRecord, tmp_path: Path) -> None:
    record.save(tmp_path / "results.json")
    assert "song0" not in (tmp_path / "results.json").read_text()
    assert ReproductionRecord.load(tmp_path / "results.json") == record


def test_a_finished_run_is_read_and_not_trained_again(
    midi: Path, work: Path, record: ReproductionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "run", refuse)
    assert experiment(midi, work).run() == record


def test_the_results_of_one_network_can_be_renewed(
    midi: Path, work: Path, record: ReproductionRecord, tmp_path: Path
) -> None:
    assert experiment(midi, work).retrain(record.model_copy(update={"events": None}), "events") == record
    with pytest.raises(CorpusError, match="the folder holds 6 with"):
        experiment(write_folder(tmp_path / "fewer", songs=6), work).retrain(record, "events")


def test_a_resumed_run_gives_the_record_of_an_uninterrupted_one(
    midi: Path, tmp_path: Path, record: ReproductionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    evaluate, calls = Trainer.evaluate, 0

    def dying(trainer: Trainer, pieces: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:  # in the second epoch, after its measurement and before its checkpoint
            raise KilledError
        return evaluate(trainer, pieces)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "evaluate", dying)
        with pytest.raises(KilledError):
            experiment(midi, tmp_path).run()
    assert not (tmp_path / "original" / FINISHED).exists()
    assert experiment(midi, tmp_path).run() == record


def test_another_configuration_in_the_folder_is_refused(midi: Path, work: Path, record: ReproductionRecord) -> None:
    with pytest.raises(CheckpointError, match=r"another configuration \(training.learning_rate was 0.002, is 0.5\)"):
        experiment(midi, work, learning_rate="0.5").run()


@pytest.mark.parametrize("damage", ["", '{"epoch": 1}\n', '{"epoch": 1, "totals": {}}\n', "no json"])
def test_damaged_measurements_are_refused(
    midi: Path, work: Path, record: ReproductionRecord, tmp_path: Path, damage: str
) -> None:
    copy = Path(shutil.copytree(work, tmp_path / "copy"))
    (copy / "original" / FINISHED).unlink()
    (copy / "original" / MEASURED).write_text(damage)
    with pytest.raises(CheckpointError, match="to train again"):
        experiment(midi, copy).run()


def test_too_few_songs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="too few files to split"):
        experiment(write_folder(tmp_path / "two", songs=2), tmp_path / "work")
    with pytest.raises(CorpusError, match="there is no file or folder"):
        experiment(tmp_path / "none", tmp_path / "work")


def test_page_and_figures_show_the_record(record: ReproductionRecord, tmp_path: Path) -> None:
    draw(record, tmp_path)
    text = render(record)
    assert f"{record.original.training.accuracy[-1]:.2%}" in text
    test = record.by_song.milestones[record.by_song.best_epoch][TEST_SONGS]
    assert f"{test.accuracy:.2%}, {test.loss:.2f}" in text
    for path in IMAGES.values():
        assert path.as_posix() in text
        assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")


def test_measurements_are_json_lines(work: Path, record: ReproductionRecord) -> None:
    rows = [json.loads(line) for line in (work / "original" / MEASURED).read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
