from pathlib import Path

import pytest

from report import RecordError
from tests.unit.training.evaluation.scores import evaluation, sweep
from training.evaluation.record import RESULTS, EvaluationRecord, Sampling


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    record = evaluation(sweep=sweep())
    record.save(tmp_path / "small.json")
    assert EvaluationRecord.load(tmp_path / "small.json") == record


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(evaluation().model_dump_json().replace('"format_version":2', '"format_version":1'))
    with pytest.raises(RecordError, match="format_version"):
        EvaluationRecord.load(path)


def test_the_shipped_bundles_have_records_with_a_sweep() -> None:
    recorded = EvaluationRecord.load_folder(RESULTS)
    assert {"chorales", "folk"} <= recorded.keys()
    assert all(recorded[name].sweep is not None for name in ("chorales", "folk"))


@pytest.mark.parametrize(
    ("top_k", "top_p", "text"),
    [(0, 1.0, "temperature 0.9, no top-k or top-p"), (5, 0.95, "temperature 0.9, top-k 5, top-p 0.95")],
)
def test_sampling_parameters_as_text(top_k: int, top_p: float, text: str) -> None:
    assert str(Sampling(temperature=0.9, top_k=top_k, top_p=top_p)) == text
