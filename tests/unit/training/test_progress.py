import time

import pytest

from training.progress import TimeLeft


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_covers_all_epochs_from_the_first_window_on(clock: list[float]) -> None:
    left = TimeLeft(10, validated_share=0.25)
    assert left.words(0) == "", "nothing was measured"
    left.begin(100)
    clock[0] += 2.0
    left.trained()
    # 100 windows of 2 s and a validation of a quarter of the tokens, at 0.4 of the cost: 220 s an epoch.
    assert left.seconds(0, 1) == pytest.approx(10 * 220 - 2)
    assert left.words(0, 1) == "at most 0:36:38 left"
    left.validated(50.0)
    assert left.seconds(3) == pytest.approx(7 * 250)
    assert left.words(10) == "at most 0:00:00 left"


def test_one_slow_window_does_not_move_the_time_left_far_and_many_do(clock: list[float]) -> None:
    left = TimeLeft(1, validated_share=0.0)
    left.begin(1000)
    for _ in range(50):
        clock[0] += 1.0
        left.trained()
    clock[0] += 10.0
    left.trained()
    assert left.seconds(0, 51) == pytest.approx(949 * 1.18)
    for _ in range(200):
        clock[0] += 10.0
        left.trained()
    assert 9.5 < (left.seconds(0, 251) or 0.0) / 749 < 10


def test_an_epoch_measured_as_a_whole_counts_as_it_is(clock: list[float]) -> None:
    left = TimeLeft(3, validated_share=0.0)
    left.begin(50)
    clock[0] += 0.001  # a host that only hands out work
    left.trained()
    left.trained_all(100.0)
    assert left.seconds(1) == pytest.approx(200.0)


def test_a_run_that_was_finished_before_has_nothing_left() -> None:
    assert TimeLeft(3, validated_share=0.1).words(3) == "at most 0:00:00 left"
