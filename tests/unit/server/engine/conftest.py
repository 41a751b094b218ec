from collections.abc import Iterator
from typing import Protocol

import pytest

from server.engine.engine import Engine
from server.engine.observer import EngineObserver
from tests.unit.server.engine.fake_runner import FakeRunner


class MakeEngine(Protocol):
    def __call__(
        self, runner: FakeRunner, *, queue_limit: int = 64, observer: EngineObserver | None = None
    ) -> Engine: ...


@pytest.fixture
def make_engine() -> Iterator[MakeEngine]:
    """Make engines that are stopped when the test ends."""
    engines: list[Engine] = []

    def make(runner: FakeRunner, *, queue_limit: int = 64, observer: EngineObserver | None = None) -> Engine:
        engines.append(Engine(runner, queue_limit=queue_limit, observer=observer, name="fake"))
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()
