import threading
from collections.abc import Iterator

import pytest

import server.watchdog
from server.watchdog import Watchdog


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set instead of ending the process."""
    event = threading.Event()
    monkeypatch.setattr(server.watchdog, "exit_now", lambda code: event.set() if code == 1 else None)
    return event


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog(startup_seconds=0.2, drain_seconds=-4.8)
    yield watchdog
    watchdog.close()


def test_a_start_that_takes_too_long_ends_the_process(
    watchdog: Watchdog, ended: threading.Event, capfd: pytest.CaptureFixture[str]
) -> None:
    watchdog.start_begins()
    assert ended.wait(30)
    assert "the server was not ready within 0.2 s" in capfd.readouterr().err


def test_a_drain_that_takes_too_long_ends_the_process(
    watchdog: Watchdog, ended: threading.Event, capfd: pytest.CaptureFixture[str]
) -> None:
    watchdog.start_begins()
    watchdog.serving()
    watchdog.drain_begins()
    assert ended.wait(30)
    assert "the server did not stop within 0.2 s" in capfd.readouterr().err


def test_serving_has_no_time_limit(watchdog: Watchdog, ended: threading.Event) -> None:
    watchdog.start_begins()
    watchdog.serving()
    assert not ended.wait(0.6)


def test_a_closed_watchdog_does_nothing(watchdog: Watchdog, ended: threading.Event) -> None:
    watchdog.start_begins()
    watchdog.close()
    watchdog.drain_begins()
    watchdog.close()
    assert not ended.wait(0.6)
