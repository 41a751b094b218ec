import time

import pytest

from training.loop.progress import RemainingTime


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_remaining_time_covers_all_epochs_after_the_first_window(clock: list[float]) -> None:
    left = RemainingTime(10, validation_share=0.25)
    assert left.as_text(0) == "", "nothing was measured"
    left.start_epoch(100)
    clock[0] += 2.0
    left.window_done()
    # 100 windows of 2 s and a validation of a quarter of the tokens, at 0.4 of the cost: 220 s an epoch.
    assert left.seconds(0, 1) == pytest.approx(10 * 220 - 2)
    assert left.as_text(0, 1) == "at most 0:36:38 left"
    left.validation_done(50.0)
    assert left.seconds(3) == pytest.approx(7 * 250)
    assert left.as_text(10) == "at most 0:00:00 left"


@pytest.mark.slow
def test_many_slow_windows_change_the_estimate_and_one_hardly_does(clock: list[float]) -> None:
    left = RemainingTime(1, validation_share=0.0)
    left.start_epoch(1000)
    for _ in range(50):
        clock[0] += 1.0
        left.window_done()
    clock[0] += 10.0
    left.window_done()
    assert left.seconds(0, 51) == pytest.approx(949 * 1.18)
    for _ in range(200):
        clock[0] += 10.0
        left.window_done()
    assert 9.5 < (left.seconds(0, 251) or 0.0) / 749 < 10


def test_the_time_of_a_whole_epoch_replaces_the_estimate(clock: list[float]) -> None:
    left = RemainingTime(3, validation_share=0.0)
    left.start_epoch(50)
    clock[0] += 0.001  # a host that only hands out work
    left.window_done()
    left.epoch_done(100.0)
    assert left.seconds(1) == pytest.approx(200.0)


def test_a_finished_run_has_no_time_left() -> None:
    assert RemainingTime(3, validation_share=0.1).as_text(3) == "at most 0:00:00 left"
