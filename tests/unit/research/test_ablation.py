from pathlib import Path

import pytest
from click.testing import CliRunner

from report import PageError, RecordError
from research.__main__ import main
from research.ablation.experiment import VARIANTS, Ablation
from research.ablation.page import IMAGE, REGION, render
from research.ablation.record import AblationRecord
from research.variants import Variant
from training.config import load_config

pytestmark = pytest.mark.slow  # each test trains

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def record(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> AblationRecord:
    ablation = Ablation(
        configuration="chorales",
        base={
            "tokenizer.parameters.voices": "2",
            "tokenizer.parameters.voice_order": "[0, 1]",
            "tokenizer.parameters.ranges": "[[36, 81], [36, 81]]",
            "network.hidden": "16",
            "training.epochs": "2",
            "training.batch_size": "2",
        },
        variants=(
            Variant(name="whole", difference="all", changes={}),
            Variant(
                name="no skips",
                difference="less",
                changes={"network.skip": "false", "training.ema_decay": "0.0"},
            ),
        ),
    )
    return ablation.run(small_corpus, tmp_path_factory.mktemp("ablation"), device="cpu", progress=False)


def test_every_shipped_variant_is_a_configuration_of_its_own() -> None:
    ablation = Ablation.load(VARIANTS)
    configs = [ablation.config(variant) for variant in ablation.variants]
    assert len({config.model_dump_json() for config in configs}) == len(configs)
    assert len({variant.folder for variant in ablation.variants}) == len(configs)
    assert configs[0] == load_config("chorales", ablation.base)


def test_an_ablation_compares_trainings(record: AblationRecord, tmp_path: Path) -> None:
    whole, less = record.curves
    assert len(whole.valid_loss) == len(less.train_loss) == 2
    assert whole.parameters > less.parameters
    assert whole.valid_loss != less.valid_loss
    record.save(tmp_path / "ablation" / "results.json")
    assert AblationRecord.load(tmp_path / "ablation" / "results.json") == record


def test_the_command_makes_page_and_figure_from_the_record(record: AblationRecord, tmp_path: Path) -> None:
    record.save(tmp_path / "ablation" / "results.json")
    page = tmp_path / "ablation.md"
    page.write_text(f"before {REGION.begin} old {REGION.end} after")
    outcome = CliRunner().invoke(main, ["ablation", "--docs", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output
    text = page.read_text()
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert " old " not in text
    for curve in record.curves:
        row = next(line for line in text.splitlines() if line.startswith(f"| {curve.name} "))
        assert curve.difference in row
        assert f"{curve.best:.4f}" in row
    assert f"{record.curves[1].best - record.curves[0].best:+.4f}" in text
    assert (tmp_path / IMAGE).read_bytes().startswith(b"\x89PNG")


def test_the_page_shows_the_record() -> None:
    text = (DOCS / "ablation.md").read_text()
    record = AblationRecord.load(DOCS / "ablation" / "results.json")
    assert REGION.replaced(text, render(record)) == text, "run python -m research ablation"
    assert (DOCS / IMAGE).is_file()


def test_the_record_has_the_shipped_variants() -> None:
    record = AblationRecord.load(DOCS / "ablation" / "results.json")
    variants = Ablation.load(VARIANTS).variants
    assert [(curve.name, curve.difference) for curve in record.curves] == [
        (variant.name, variant.difference) for variant in variants
    ]


def test_a_page_without_the_region_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "results.json").write_bytes((DOCS / "ablation" / "results.json").read_bytes())
    (tmp_path / "ablation.md").write_text("no marks")
    outcome = CliRunner().invoke(main, ["ablation", "--docs", str(tmp_path)])
    assert outcome.exit_code == 1
    assert "no region 'results'" in outcome.output
    with pytest.raises(PageError):
        REGION.replaced("no marks", "")


def test_a_file_without_an_ablation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(RecordError, match="is not a valid AblationRecord: curves"):
        AblationRecord.load(tmp_path / "results.json")
