import logging

import pytest

from server.engine.guard import GuardedObserver
from server.engine.observer import EngineObserver, Outcome, silent
from tests.unit.server.engine.fake_runner import Ledger


class Grumpy:
    def admitted(self) -> None:
        raise RuntimeError("admitted")

    def started(self, queue_seconds: float) -> None:
        raise RuntimeError("started")

    def first_token(self, seconds: float) -> None:
        raise RuntimeError("first token")

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        raise RuntimeError("chunk")

    def opening(self, width: int, steps: int, seconds: float) -> None:
        raise RuntimeError("opening")

    def prefill(self, tokens: int, seconds: float) -> None:
        raise RuntimeError("prefill")

    def freed_after_cancel(self, seconds: float) -> None:
        raise RuntimeError("freed")

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        raise RuntimeError("finished")


def tell_everything(observer: EngineObserver) -> None:
    observer.admitted()
    observer.started(1.0)
    observer.first_token(2.0)
    observer.chunk(3, 4, 5.0)
    observer.opening(2, 1, 5.2)
    observer.prefill(6, 5.5)
    observer.freed_after_cancel(6.0)
    observer.finished(Outcome.END, 7.0, 8)


def test_what_an_observer_raises_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        tell_everything(GuardedObserver(Grumpy()))
    said = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert said == ["admitted", "started", "first token", "chunk", "opening", "prefill", "freed", "finished"]


def test_everything_is_passed_on() -> None:
    ledger = Ledger()
    tell_everything(GuardedObserver(ledger))
    assert (ledger.admissions, ledger.starts, ledger.first_tokens) == (1, 1, [2.0])
    assert (ledger.chunks, ledger.freed, ledger.tokens) == ([(3, 4)], [6.0], 8)
    assert (ledger.openings, ledger.slices) == ([(2, 1)], [6])
    assert ledger.outcomes == {Outcome.END: 1}


def test_the_silent_observer_takes_everything() -> None:
    tell_everything(silent)
