from dataclasses import replace
from pathlib import Path

import pytest

from bench.soak.evaluation import evaluation_mismatches
from bench.soak.pool import RequestPool
from music.bundle import load_bundle
from runtime.scorer import Scorer


@pytest.mark.slow
def test_batches_give_what_single_pieces_give(small_bundle: Path, pool: RequestPool) -> None:
    compared, wrong = evaluation_mismatches(load_bundle(small_bundle), pool, 1, 1)

    assert compared > 50
    assert wrong == []


@pytest.mark.slow
def test_a_batch_that_changes_a_piece_is_found(
    small_bundle: Path, pool: RequestPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Scorer.log_probabilities

    def wrong(self: Scorer, pieces: list, starts: list) -> list:  # type: ignore[type-arg]
        found = right(self, pieces, starts)
        return [each + len(pieces) - 1 for each in found]

    monkeypatch.setattr(Scorer, "log_probabilities", wrong)
    one = replace(pool, requests=pool.requests[:1], answers=pool.answers[:1])
    compared, mismatches = evaluation_mismatches(load_bundle(small_bundle), one, 1, 1)

    assert 0 < len(mismatches) <= compared
    assert {place for _, place in mismatches} == {0}
