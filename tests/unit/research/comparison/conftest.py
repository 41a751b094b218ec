import itertools

import pytest

from tests.unit.research.comparison.tiny import TICK


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question takes the same CPU time, so that trainings are the same in every run."""
    ticks = itertools.count()
    monkeypatch.setattr("time.process_time", lambda: next(ticks) * TICK)
