from pathlib import Path

from tests.unit.training.evaluation.rewriting_records import SERVED, rewriting
from training.evaluation.record import Ranking, Sampling
from training.evaluation.rewriting_record import RewritingRecord
from training.evaluation.rewriting_tasks import Part

LIKELIHOOD, GIVEN = Ranking.LIKELIHOOD, Ranking.GIVEN
PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0)


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    rewriting().save(tmp_path / "small.json")
    assert RewritingRecord.load_folder(tmp_path) == {"small": rewriting()}


def test_rows_of_other_settings_are_kept() -> None:
    earlier = rewriting({Part.INFILL: [(PLAIN, 1)], Part.SOPRANO: [(PLAIN, 4, GIVEN), (PLAIN, 16), (SERVED, 4)]})
    later = rewriting({Part.SOPRANO: [(PLAIN, 16), (PLAIN, 4)]}, given=0.9)
    merged = later.merged_with(earlier)
    assert [results.part for results in merged.parts] == [Part.SOPRANO, Part.INFILL]
    rows = [
        (row.sampling, row.particles, row.ranking, row.figures.given_nats.value) for row in merged.parts[0].rewritten
    ]
    assert rows == [
        (PLAIN, 4, LIKELIHOOD, 0.9),
        (PLAIN, 16, LIKELIHOOD, 0.9),
        (PLAIN, 4, GIVEN, 0.5),
        (SERVED, 4, LIKELIHOOD, 0.5),
    ]
    assert merged.has_rows(Part.INFILL, PLAIN, 1, [LIKELIHOOD])
    assert merged.has_rows(Part.SOPRANO, PLAIN, 4, [GIVEN])
    assert merged.has_rows(Part.SOPRANO, PLAIN, 4, [GIVEN, LIKELIHOOD])
    assert not merged.has_rows(Part.INFILL, PLAIN, 1, [GIVEN, LIKELIHOOD])
    assert not merged.has_rows(Part.SOPRANO, SERVED, 16, [LIKELIHOOD])
    assert not merged.has_rows(Part.SOPRANO, PLAIN, 4, [GIVEN], no_parallels=True)
    assert not merged.has_rows(Part.BASS, PLAIN, 16, [LIKELIHOOD])


def test_records_of_other_bundles_or_seeds_are_not_merged() -> None:
    earlier = rewriting({Part.INFILL: [(PLAIN, 1)]})
    later = rewriting({Part.SOPRANO: [(PLAIN, 4)]})
    for change in ({"digest": "e" * 64}, {"seed": 5}, {"split": "valid"}, {"precision": "float32"}):
        assert later.merged_with(earlier.model_copy(update=change)) == later
