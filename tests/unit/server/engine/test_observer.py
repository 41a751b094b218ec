import inspect
import logging
from collections.abc import Iterator

import pytest

from server.engine.observer import EngineObserver, Outcome, notify
from tests.unit.server.engine.fake_runner import RecordingObserver


class FailingObserver(EngineObserver):
    """Raises in every method."""

    def submitted(self) -> None:
        raise RuntimeError("submitted")

    def refused(self) -> None:
        raise RuntimeError("refused")

    def started(self, queue_seconds: float) -> None:
        raise RuntimeError("started")

    def first_token(self, seconds: float) -> None:
        raise RuntimeError("first token")

    def chunk(self, batch_size: int, steps: int, seconds: float) -> None:
        raise RuntimeError("chunk")

    def first_step(self, batch_size: int, steps: int, seconds: float) -> None:
        raise RuntimeError("first step")

    def prefill(self, tokens: int, seconds: float) -> None:
        raise RuntimeError("prefill")

    def freed_after_cancel(self, seconds: float) -> None:
        raise RuntimeError("freed")

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        raise RuntimeError("finished")


def notify_all(observer: EngineObserver) -> None:
    notify(observer.submitted)
    notify(observer.refused)
    notify(observer.started, 1.0)
    notify(observer.first_token, 2.0)
    notify(observer.chunk, 3, 4, 5.0)
    notify(observer.first_step, 2, 1, 5.2)
    notify(observer.prefill, 6, 5.5)
    notify(observer.freed_after_cancel, 6.0)
    notify(observer.finished, Outcome.END, 7.0, 8)


def methods_of(observer: type[EngineObserver]) -> Iterator[str]:
    return (name for name, _ in inspect.getmembers(observer, inspect.isfunction) if not name.startswith("_"))


def test_what_an_observer_raises_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        notify_all(FailingObserver())
    logged = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert logged == [
        "submitted", "refused", "started", "first token", "chunk", "first step", "prefill", "freed", "finished",
    ]  # fmt: skip
    assert len(logged) == len(list(methods_of(EngineObserver))), "this test leaves out a method"


def test_every_argument_is_passed_on() -> None:
    observer = RecordingObserver()
    notify_all(observer)
    assert (observer.submissions, observer.refusals, observer.starts, observer.first_tokens) == (1, 1, 1, [2.0])
    assert (observer.chunks, observer.freed, observer.tokens) == ([(3, 4)], [6.0], 8)
    assert (observer.first_steps, observer.slices) == ([(2, 1)], [6])
    assert observer.outcomes == {Outcome.END: 1}


def test_the_base_class_ignores_every_event() -> None:
    notify_all(EngineObserver())
