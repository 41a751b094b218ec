"""Trainings of a number of CPU seconds, with a clock of their own in place of CPU time."""

from pathlib import Path

import pytest

from research.comparison.experiment import ComparedVariant
from tests.unit.research.comparison.tiny import PLAIN, TICK, TRANSFORMER, WHOLE, comparison, run
from training.errors import CheckpointError, ConfigurationError

pytestmark = pytest.mark.slow  # each test trains


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("variant", [WHOLE, TRANSFORMER], ids=lambda variant: variant.name)
def test_an_interrupted_training_ends_like_one_that_is_not(
    variant: ComparedVariant, small_corpus: Path, tmp_path: Path
) -> None:
    expected = run(comparison(variant), small_corpus, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(comparison(variant), small_corpus, tmp_path / "parts", stop_after=3)
    resumed = run(comparison(variant), small_corpus, tmp_path / "parts")
    assert resumed.results[0] == expected.results[0]
    again = run(comparison(variant), small_corpus, tmp_path / "parts", stop_after=1)
    assert again == resumed, "finished models are not trained again"


@pytest.mark.usefixtures("clock")
def test_a_folder_with_another_training_is_refused(small_corpus: Path, tmp_path: Path) -> None:
    run(comparison(PLAIN), small_corpus, tmp_path)
    with pytest.raises(CheckpointError, match=r"plain-LSTM holds another training"):
        run(comparison(PLAIN, cpu_seconds=0.5), small_corpus, tmp_path)


@pytest.mark.usefixtures("clock")
def test_a_budget_below_the_cost_of_the_features_is_refused(small_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"of 0\.00390625 CPU seconds: raise cpu_seconds"):
        run(comparison(WHOLE, cpu_seconds=TICK / 2), small_corpus, tmp_path)
