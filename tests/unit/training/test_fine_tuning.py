"""Training from the weights of a bundle or of another run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from music.bundle import load_bundle
from music.errors import BundleFormatError, BundleIntegrityError
from music.remaining_length import UNKNOWN
from music.score import Meter, Note, Score
from tests.unit.training.test_model_card import SAMPLES
from training.__main__ import main
from training.config import parse_config
from training.corpus.store import CompactScore, Corpus, Piece
from training.errors import ConfigurationError, StartingPointError
from training.export import export_run
from training.fine_tuning import choose_tuning, load_starting_point, resolve_tuning_config
from training.graphs import from_bundle
from training.loop.checkpoint import BEST, LAST, load_checkpoint
from training.loop.history import HISTORY, read_history
from training.model_card import MARK, TUNED_FROM, load_card_text, render_card
from training.network.inputs import model_inputs
from training.network.model import MusicLSTM
from training.run import DIGEST, STARTING_LOSS, Run, StartingPoint
from training.tokenizer_report import check_suitable


def tune(corpus: Path, run: Path, start: Path | None, *more: str) -> Result:
    words = ["train", "--corpus", str(corpus), "--run", str(run), "--device", "cpu", "--quiet", *more]
    return CliRunner().invoke(main, words if start is None else [*words, "--from", str(start)])


ONE_EPOCH = ("--set", "training.epochs=1")


@pytest.fixture(scope="module")
def base(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a model card that states a licence."""
    folder = Path(shutil.copytree(small_bundle, tmp_path_factory.mktemp("base") / "small"))
    (folder / "README.md").write_text(
        f"{MARK}\n\n# small\n\n## The model\n\n| network | LSTM |\n\nLicence: CC BY 4.0, by the Institute.\n\n"
        "![Loss](curves.png)\n\n## Intended use\n\nTests.\n\n## Data\n\nScores of the Institute.\n\n| split |\n"
    )
    return folder


@pytest.fixture(scope="module")
def tuned(base: Path, small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that was tuned from the bundle for one epoch, and what the command printed."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    result = tune(small_corpus, folder, base, *ONE_EPOCH)
    assert result.exit_code == 0, result.output
    return folder, result.output


def logits(start: StartingPoint, piece: Piece) -> torch.Tensor:
    network = MusicLSTM(start.config.network, start.tokenizer)
    network.load_state_dict(dict(start.weights.weights))
    encoding = start.tokenizer.encode(piece.score)
    inputs = model_inputs(encoding.tokens, encoding.first_position, start.tokenizer, remaining=UNKNOWN)
    with torch.inference_mode():
        result, _ = network.eval()(inputs.map(lambda part: torch.from_numpy(part)[:, None]), network.zero_state(1))
    return torch.as_tensor(result)


def test_a_bundle_and_its_run_give_the_same_network(small_bundle: Path, small_run: Path, small_corpus: Path) -> None:
    bundle, run = load_starting_point(small_bundle), load_starting_point(small_run)
    assert bundle.weights.digest == load_bundle(small_bundle).digest
    assert (bundle.entry["name"], run.entry["name"]) == ("small", "small")
    assert bundle.tokenizer.hash == run.tokenizer.hash
    assert bundle.config.network == run.config.network
    exported = load_checkpoint(small_run / BEST)["model"]
    assert all(torch.equal(run.weights.weights[name], weight) for name, weight in exported.items())
    piece = next(iter(Corpus.load(small_corpus).pieces()))
    torch.testing.assert_close(logits(bundle, piece), logits(run, piece), rtol=0, atol=1e-4)


def test_a_path_without_a_model_is_refused(tmp_path: Path, small_corpus: Path) -> None:
    with pytest.raises(StartingPointError, match="there is nothing at this path"):
        load_starting_point(tmp_path / "gone")
    with pytest.raises(StartingPointError, match="no bundle and no run in this path"):
        load_starting_point(tmp_path)
    result = tune(small_corpus, tmp_path / "run", tmp_path / "gone")
    assert result.exit_code == 1
    assert "give a bundle such as models/folk, or a run folder" in result.output
    assert not (tmp_path / "run").exists()


def test_a_damaged_bundle_is_refused(small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    (copy / "weights.bin").unlink()
    with pytest.raises(BundleIntegrityError, match=r"weights\.bin is missing"):
        load_starting_point(copy)
    (copy / "manifest.json").write_text('{"format_version": 99}')
    with pytest.raises(BundleFormatError, match="bundle format 99 is unknown"):
        load_starting_point(copy)

    read = from_bundle.read_initializers
    monkeypatch.setattr(
        from_bundle,
        "read_initializers",
        lambda bundle: {name: array for name, array in read(bundle).items() if not name.startswith("recurrent_1")},
    )
    with pytest.raises(StartingPointError, match="its graphs lack weights of its network: 'recurrent_1'"):
        load_starting_point(small_bundle)


def test_a_run_with_another_network_is_refused(small_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_run, tmp_path / "run"))
    document = json.loads((copy / "run.json").read_text())
    document["config"]["network"]["hidden"] = 16
    (copy / "run.json").write_text(json.dumps(document))
    with pytest.raises(StartingPointError, match="its checkpoint has another network"):
        load_starting_point(copy)


def test_the_schedule_is_one_for_small_corpora_and_the_rest_is_the_models(
    small_bundle: Path, small_corpus: Path, tmp_path: Path
) -> None:
    start = load_starting_point(small_bundle)
    config, reasons = resolve_tuning_config(start, small_corpus, tmp_path / "run")
    own, training = start.config.training, config.training
    assert config.network == start.config.network
    assert config.tokenizer.parameters == start.tokenizer.parameters
    assert training.learning_rate == pytest.approx(own.learning_rate / 20)
    assert training.warmup_epochs <= 0.5
    assert training.batch_size <= own.batch_size
    assert training.patience < training.epochs <= 20
    kept = ("transpose", "window", "weight_decay", "meter_dropout", "length_dropout", "gradient_clip")
    assert [getattr(training, name) for name in kept] == [getattr(own, name) for name in kept]
    assert "tuned on 5 pieces (made up for tests)" in config.bundle.description
    assert any(start.weights.digest[:12] in reason for reason in reasons)
    assert choose_tuning(start, Corpus.load(small_corpus)) == choose_tuning(start, Corpus.load(small_corpus))


def test_a_tuned_model_is_tuned_again_at_the_same_rate(small_bundle: Path, small_corpus: Path) -> None:
    start = load_starting_point(small_bundle)
    tables, _ = choose_tuning(start, Corpus.load(small_corpus))
    again = replace(
        start, config=parse_config(tables, "tuned"), entry={"name": "tuned", "tuned_from": {"name": "small"}}
    )
    second, reasons = choose_tuning(again, Corpus.load(small_corpus))
    assert second["training"]["learning_rate"] == tables["training"]["learning_rate"] > 0
    assert any("that of the tuning before" in reason for reason in reasons)


@pytest.mark.parametrize("key", ["network.hidden", "network.dropout_output", "tokenizer.name"])
def test_network_and_tokenizer_cannot_be_overridden(small_bundle: Path, small_corpus: Path, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--set {key} cannot be used with --from"):
        resolve_tuning_config(load_starting_point(small_bundle), small_corpus, Path("none"), {key: "3"})


def test_a_configuration_and_a_model_cannot_be_given_together(small_bundle: Path, tmp_path: Path) -> None:
    for name in ("auto", "smoke"):
        result = tune(tmp_path / "none.npz", tmp_path / "run", small_bundle, name)
        assert result.exit_code == 2
        assert f"leave out the configuration {name}" in result.output.replace("\n", " ")


def test_a_model_is_not_tuned_into_its_own_folder(small_run: Path, small_corpus: Path) -> None:
    before = (small_run / LAST).read_bytes()
    result = tune(small_corpus, small_run, small_run)
    assert result.exit_code == 1
    assert "would replace the model that it starts from" in result.output
    assert (small_run / LAST).read_bytes() == before


def corpus_of(path: Path, pitches: list[int], meter: Meter) -> Corpus:
    """Three pieces of one line, one of each split, with a note on every quarter."""
    notes = tuple(Note(960 * step, 960, pitch, 80, 0) for step, pitch in enumerate(pitches))
    score = CompactScore.of(Score(notes, 960 * len(pitches), meter))
    corpus = Corpus(["a", "b", "c"], np.array([0, 1, 2], np.uint8), [score] * 3, "lines")
    corpus.save(path)
    return corpus


def test_a_corpus_that_does_not_suit_the_tokenizer_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    tokenizer = load_bundle(small_bundle).tokenizer
    low, high = tokenizer.ranges[0]
    half = corpus_of(tmp_path / "half.npz", [low, high + 1] * 4, Meter(4, 4))
    check_suitable(half, tokenizer, "models/small")
    most = corpus_of(tmp_path / "most.npz", [low, high + 1, high + 2] * 4, Meter(4, 4))
    with pytest.raises(StartingPointError, match=r"keeps only 33% of the notes of this corpus \(8 out_of_range\)"):
        check_suitable(most, tokenizer, "models/small")
    result = tune(tmp_path / "most.npz", tmp_path / "run", small_bundle)
    assert result.exit_code == 1
    assert "start from another model" in result.output


def test_a_run_says_what_it_started_from_and_what_it_gained(
    base: Path, tuned: tuple[Path, str], small_run: Path
) -> None:
    folder, output = tuned
    entry = Run.load(folder).started_from
    assert entry is not None
    assert entry["name"] == "small"
    assert entry[DIGEST] == load_bundle(base).digest
    assert f"{base} before the tuning: {entry[STARTING_LOSS]:.4f} nats per note-step" in output
    best = min(record.valid_loss for record in read_history(small_run / HISTORY))
    assert entry[STARTING_LOSS] == pytest.approx(best, rel=1e-4), "the weights are those of the bundle"
    assert f"tuning: starts from {base}" in output
    assert load_checkpoint(folder / LAST)["identity"]["started_from"] == entry[DIGEST]


@pytest.mark.slow
def test_a_tuned_run_resumes_only_from_the_same_model(
    base: Path, tuned: tuple[Path, str], small_run: Path, small_corpus: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tuned[0], tmp_path / "run"))
    again = tune(small_corpus, folder, base, *ONE_EPOCH)
    assert again.exit_code == 0, again.output
    assert "before the tuning" in again.output
    for start, named in ((None, "random weights"), (small_run, "the model with digest")):
        other = tune(small_corpus, folder, start, *ONE_EPOCH)
        assert other.exit_code == 1
        digest = load_bundle(base).digest[:12]
        assert f"was started from the model with digest {digest}, not from {named}" in other.output


@pytest.mark.slow
def test_a_tuned_bundle_and_its_card_name_the_model_and_keep_its_notices(
    base: Path, tuned: tuple[Path, str], tmp_path: Path
) -> None:
    bundle = export_run(tuned[0], tmp_path / "mine", name="mine")
    assert bundle.manifest.provenance[TUNED_FROM][DIGEST] == load_bundle(base).digest
    card = render_card(bundle, load_card_text("mine"), SAMPLES)
    assert "\n## Tuned from small\n" in card
    assert load_bundle(base).digest in card
    assert "It was trained on: made up for tests." in card
    section = card.partition("## Tuned from")[2].partition("\n## Metrics")[0]
    assert "Licence: CC BY 4.0, by the Institute.\n\nScores of the Institute." in section
    assert "| network" not in section

    # A model that was tuned from it keeps both.
    entry = load_starting_point(tmp_path / "mine").entry
    assert entry[TUNED_FROM][DIGEST] == load_bundle(base).digest
