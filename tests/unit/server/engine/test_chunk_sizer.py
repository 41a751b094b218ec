import pytest

from server.engine.chunk_sizer import MAX_CHUNK_SECONDS, MAX_STEP_COST_RATIO, ChunkSizer

SIZES = (1, 8, 16)


def measured(step_seconds: float, run_seconds: float = 0.0, chunks: int = 5) -> ChunkSizer:
    """Make a sizer that recorded chunks of each size: `step_seconds` for each step and `run_seconds` for each run."""
    sizer = ChunkSizer(SIZES)
    for _ in range(chunks):
        for size in SIZES:
            sizer.record(size, run_seconds + size * step_seconds)
    return sizer


@pytest.mark.parametrize(
    ("step_seconds", "chosen"),
    [(MAX_CHUNK_SECONDS / 17, 16), (MAX_CHUNK_SECONDS / 15, 8), (MAX_CHUNK_SECONDS / 7, 1), (1.0, 1)],
)
def test_the_longest_size_within_the_maximum_is_chosen(step_seconds: float, chosen: int) -> None:
    assert measured(step_seconds).choose(SIZES) == chosen
    assert measured(step_seconds).choose(SIZES[:1]) == 1


def test_a_greater_maximum_allows_longer_chunks() -> None:
    sizer = ChunkSizer(SIZES, max_chunk_seconds=1.0)
    for _ in range(5):
        sizer.record(16, 0.9)
        sizer.record(8, 0.45)
    assert sizer.choose(SIZES) == 16


def test_a_shorter_size_with_much_higher_step_cost_is_not_chosen() -> None:
    assert measured(1e-5, run_seconds=0.01).choose(SIZES) == 16
    step = MAX_CHUNK_SECONDS / 2
    # A run costs as much as a step, so a step costs 2 in chunks of one, 1.13 in those of 8, 1.06 in those of 16.
    assert 2 / 1.13 > MAX_STEP_COST_RATIO > 1.13 / 1.06
    assert measured(step, run_seconds=step).choose(SIZES) == 8


def test_without_measurements_the_longest_size_is_chosen() -> None:
    assert ChunkSizer(SIZES).choose(SIZES) == 16
    assert measured(1.0, chunks=2).choose(SIZES) == 16
    assert measured(1.0, chunks=3).choose(SIZES) == 1


def test_two_slow_chunks_do_not_change_the_median() -> None:
    sizer = measured(1e-5)
    for _ in range(2):
        sizer.record(16, 1.0)
    assert sizer.choose(SIZES) == 16
    sizer.record(16, 1.0)
    assert sizer.choose(SIZES) == 8
    assert sizer.median_seconds == 1.0


def test_the_longest_size_is_tried_again() -> None:
    sizer = measured(1.0)
    assert sizer.choose(SIZES) == 1
    chosen = []
    for _ in range(1000):
        chosen.append(sizer.choose(SIZES))
        sizer.record(chosen[-1], chosen[-1] * 1e-5)
    assert set(chosen[:100]) == {1}
    assert set(chosen[-100:]) == {16}
