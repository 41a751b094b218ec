from pathlib import Path

import pytest
from click.testing import CliRunner

from music.errors import FantasiaError
from training.__main__ import main
from training.config import load_config
from training.errors import CorpusError
from training.study.experiment import run_study
from training.study.page import BEGIN, END, rendered
from training.study.results import Results
from training.study.variants import Study, Variant, load_study


@pytest.fixture(scope="module")
def results(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    work = tmp_path_factory.mktemp("study")
    study = Study(
        base={
            "tokenizer.parameters.voices": "2",
            "tokenizer.parameters.voice_order": "[0, 1]",
            "tokenizer.parameters.ranges": "[[36, 81], [36, 81]]",
            "network.hidden": "16",
            "training.epochs": "2",
            "training.lanes": "2",
        },
        variants=(
            Variant(name="whole", what="all", changes={}),
            Variant(name="no skips", what="less", changes={"network.skip": "false", "training.average": "0.0"}),
        ),
    )
    return run_study(study, small_corpus, work, device="cpu", progress=False)


def test_every_shipped_variant_is_a_configuration_of_its_own() -> None:
    study = load_study()
    configs = [study.config(variant) for variant in study.variants]
    assert len({config.model_dump_json() for config in configs}) == len(configs)
    assert len({variant.slug for variant in study.variants}) == len(configs)
    assert configs[0] == load_config("chorales", study.base)


def test_a_study_compares_the_trainings(results: Results, tmp_path: Path) -> None:
    whole, less = results.curves
    assert len(whole.valid_loss) == len(less.train_loss) == 2
    assert whole.parameters > less.parameters
    assert whole.valid_loss != less.valid_loss
    results.save(tmp_path / "study" / "results.json")
    assert Results.load(tmp_path / "study" / "results.json") == results


def test_the_page_says_what_was_measured(results: Results, tmp_path: Path) -> None:
    page = rendered(f"before {BEGIN} old {END} after", results)
    assert page.startswith("before ")
    assert page.endswith(" after")
    assert " old " not in page
    for curve in results.curves:
        assert f"| {curve.name} | {curve.what} |" in page
        assert f"{curve.best:.4f}" in page
    assert f"{results.curves[1].best - results.curves[0].best:+.4f}" in page
    with pytest.raises(CorpusError, match="no place"):
        rendered("nothing", results)


def test_page_and_figure_are_drawn_again_from_the_results(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "study" / "results.json")
    (tmp_path / "study.md").write_text(f"{BEGIN}{END}\n")
    outcome = CliRunner().invoke(main, ["study", "--docs", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output
    assert "no skips" in (tmp_path / "study.md").read_text()
    assert (tmp_path / "images" / "study" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_results_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(FantasiaError, match="holds no results of a study"):
        Results.load(tmp_path / "results.json")
