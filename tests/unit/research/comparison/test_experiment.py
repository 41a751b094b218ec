"""A tiny comparison, with a clock of its own in place of CPU time."""

import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from report import RecordError
from research.__main__ import main
from research.comparison import experiment
from research.comparison.budget import POINTS
from research.comparison.experiment import NGRAM, VARIANTS, Comparison
from research.comparison.ngram import ORDERS
from research.comparison.page import IMAGE, REGION, render
from research.comparison.record import ComparisonRecord
from tests.unit.research.comparison.tiny import PLAIN, TICK, TRANSFORMER, WHOLE, comparison, run
from training.config import load_config
from training.loop.tbptt import EncodedPiece, with_notes

pytestmark = pytest.mark.slow  # each test trains

DOCS = Path(__file__).parents[4] / "docs"


@pytest.mark.usefixtures("clock")
def test_all_models_train_for_the_same_time(small_corpus: Path, tmp_path: Path) -> None:
    record = run(comparison(WHOLE, PLAIN, TRANSFORMER), small_corpus, tmp_path)
    *networks, ngram = record.results
    assert [model.name for model in record.results] == ["whole", "plain LSTM", "Transformer", NGRAM]
    for model in networks:
        assert model.cpu_seconds == pytest.approx(0.25, abs=0.05 + 3 * TICK)  # rounded to 0.1
        assert len(model.points) == POINTS
        assert model.test.tokens == networks[0].test.tokens
    whole, plain, _ = networks
    assert whole.parameters > plain.parameters
    assert len({model.test.nats_per_note for model in record.results}) == 4
    assert ngram.test.pieces == whole.test.pieces == 2
    assert any(f"{order} tokens" in ngram.difference for order in ORDERS)


@pytest.mark.usefixtures("clock")
def test_the_features_of_the_notes_are_charged(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(comparison(WHOLE), small_corpus, tmp_path / "fast").results

    def slow(*arguments: Any) -> list[EncodedPiece]:
        assert [time.process_time() for _ in range(10)]
        return with_notes(*arguments)

    monkeypatch.setattr(experiment, "with_notes", slow)
    slower, _ = run(comparison(WHOLE), small_corpus, tmp_path / "slow").results
    assert slower.cpu_seconds == pytest.approx(whole.cpu_seconds, abs=0.1)
    assert slower.points[-1].tokens < whole.points[-1].tokens


@pytest.mark.usefixtures("clock")
def test_the_command_makes_page_and_figure_from_the_record(small_corpus: Path, tmp_path: Path) -> None:
    record = run(comparison(WHOLE, PLAIN), small_corpus, tmp_path / "work")
    record.save(tmp_path / "comparison" / "results.json")
    page = tmp_path / "comparison.md"
    page.write_text(f"before {REGION.begin} old {REGION.end} after")
    outcome = CliRunner().invoke(main, ["comparison", "--docs", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output
    text = page.read_text()
    assert " old " not in text
    for model in record.results:
        row = next(line for line in text.splitlines() if line.startswith(f"| {model.name} "))
        assert model.difference in row
        assert f"{model.test.nats_per_note:.3f}" in row
    assert (tmp_path / IMAGE).read_bytes().startswith(b"\x89PNG")


def test_every_shipped_variant_is_a_configuration_of_its_own() -> None:
    shipped = Comparison.load(VARIANTS)
    configs = [shipped.config(variant) for variant in shipped.variants]
    assert len({config.model_dump_json() for config in configs}) == len(configs)
    assert configs[0] == load_config("piano", shipped.base)


def test_the_page_shows_the_record() -> None:
    text = (DOCS / "comparison.md").read_text()
    record = ComparisonRecord.load(DOCS / "comparison" / "results.json")
    assert REGION.replaced(text, render(record)) == text, "run python -m research comparison"
    assert (DOCS / IMAGE).is_file()


def test_the_record_has_the_shipped_variants() -> None:
    record = ComparisonRecord.load(DOCS / "comparison" / "results.json")
    shipped = Comparison.load(VARIANTS)
    assert record.budget_seconds == shipped.cpu_seconds
    *networks, ngram = record.results
    assert [(model.name, model.difference) for model in networks] == [
        (variant.name, variant.difference) for variant in shipped.variants
    ]
    assert ngram.name == NGRAM


def test_a_file_without_a_comparison_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(RecordError, match="is not a valid ComparisonRecord: budget_seconds"):
        ComparisonRecord.load(tmp_path / "results.json")
