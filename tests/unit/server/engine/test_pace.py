import pytest

from server.engine.pace import DEAREST, PATIENCE_SECONDS, Pace

SIZES = (1, 8, 16)


def paced(step_seconds: float, run_seconds: float = 0.0, chunks: int = 5) -> Pace:
    """After some chunks of each size, each of which took so long a step and so long more for being a run."""
    pace = Pace(SIZES)
    for _ in range(chunks):
        for size in SIZES:
            pace.ran(size, run_seconds + size * step_seconds)
    return pace


@pytest.mark.parametrize(
    ("step_seconds", "chosen"),
    [(PATIENCE_SECONDS / 17, 16), (PATIENCE_SECONDS / 15, 8), (PATIENCE_SECONDS / 7, 1), (1.0, 1)],
)
def test_the_longest_that_does_not_try_patience(step_seconds: float, chosen: int) -> None:
    assert paced(step_seconds).shortened(SIZES) == chosen
    assert paced(step_seconds).shortened(SIZES[:1]) == 1


def test_patience_may_be_greater() -> None:
    pace = Pace(SIZES, patience=1.0)
    for _ in range(5):
        pace.ran(16, 0.9)
        pace.ran(8, 0.45)
    assert pace.shortened(SIZES) == 16


def test_a_shorter_chunk_that_is_over_hardly_sooner_is_not_taken() -> None:
    assert paced(1e-5, run_seconds=0.01).shortened(SIZES) == 16
    step = PATIENCE_SECONDS / 2
    # A run costs a step more: so much is 2 of them in chunks of one, 1.13 in those of eight, 1.06 in those of sixteen.
    assert 2 / 1.13 > DEAREST > 1.13 / 1.06
    assert paced(step, run_seconds=step).shortened(SIZES) == 8


def test_until_it_is_known_how_long_chunks_take_they_are_long() -> None:
    assert Pace(SIZES).shortened(SIZES) == 16
    assert paced(1.0, chunks=2).shortened(SIZES) == 16
    assert paced(1.0, chunks=3).shortened(SIZES) == 1


def test_chunks_that_something_else_made_slow_say_nothing_of_the_next() -> None:
    pace = paced(1e-5)
    for _ in range(2):
        pace.ran(16, 1.0)
    assert pace.shortened(SIZES) == 16
    pace.ran(16, 1.0)
    assert pace.shortened(SIZES) == 8
    assert pace.usual_seconds == 1.0


def test_what_has_become_faster_is_found_out() -> None:
    pace = paced(1.0)
    assert pace.shortened(SIZES) == 1
    chosen = []
    for _ in range(1000):
        chosen.append(pace.shortened(SIZES))
        pace.ran(chosen[-1], chosen[-1] * 1e-5)
    assert set(chosen[:100]) == {1}
    assert set(chosen[-100:]) == {16}
