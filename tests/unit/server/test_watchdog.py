import threading
from collections.abc import Iterator

import pytest

import server.watchdog
from server.watchdog import Watchdog


@pytest.fixture
def gave_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set where it would end the process, which goes on here."""
    event = threading.Event()
    monkeypatch.setattr(server.watchdog, "exit_now", lambda code: event.set() if code == 1 else None)
    return event


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watching = Watchdog(startup_seconds=0.2, drain_seconds=-4.8)
    yield watching
    watching.close()


def test_a_start_that_never_ends_is_given_up(
    watchdog: Watchdog, gave_up: threading.Event, capfd: pytest.CaptureFixture[str]
) -> None:
    watchdog.starting()
    assert gave_up.wait(30)
    assert "the server was not ready within 0.2 s" in capfd.readouterr().err


def test_a_drain_that_never_ends_is_given_up(
    watchdog: Watchdog, gave_up: threading.Event, capfd: pytest.CaptureFixture[str]
) -> None:
    watchdog.starting()
    watchdog.started()
    watchdog.stopping()
    assert gave_up.wait(30)
    assert "the server did not stop within 0.2 s" in capfd.readouterr().err


def test_a_server_that_serves_is_not_timed(watchdog: Watchdog, gave_up: threading.Event) -> None:
    watchdog.starting()
    watchdog.started()
    assert not gave_up.wait(0.6)


def test_a_process_that_ended_in_time_is_left_alone(watchdog: Watchdog, gave_up: threading.Event) -> None:
    watchdog.starting()
    watchdog.close()
    watchdog.stopping()
    watchdog.close()
    assert not gave_up.wait(0.6)
