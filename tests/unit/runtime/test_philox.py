import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.philox import RESAMPLING_STREAM, derive_seed, first_uniforms, philox4x32, resampling_uniform, uniforms

SEEDS = st.integers(0, 2**64 - 1)


# From the authors' own test vectors (Random123, kat_vectors, philox4x32 10).
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        (
            [0, 0, 0, 0],
            [0, 0],
            [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        ),
        (
            [0xFFFFFFFF] * 4,
            [0xFFFFFFFF] * 2,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers(counter: list[int], key: list[int], expected: list[int]) -> None:
    words = philox4x32(np.array(counter, np.uint32), np.array(key, np.uint32))
    assert words.tolist() == expected


def test_many_counters_equal_single_counters() -> None:
    generator = np.random.default_rng(1)
    counters = generator.integers(0, 2**32, (4, 3, 5), np.uint32)
    keys = generator.integers(0, 2**32, (2, 3, 1), np.uint32)
    together = philox4x32(counters, keys)
    for row in range(3):
        for column in range(5):
            alone = philox4x32(counters[:, row, column], keys[:, row, 0])
            assert together[:, row, column].tolist() == alone.tolist()


def test_uniforms_are_the_top_24_bits_of_the_words_in_order() -> None:
    seed = 0xA4093822_299F31D0
    draws = uniforms(np.array([seed], np.uint64), np.array([4]), 4)
    counter = np.array([1, 0, 0, 0], np.uint32)
    words = philox4x32(counter, np.array([0x299F31D0, 0xA4093822], np.uint32))
    assert draws.tolist() == [[(int(word) >> 8) / 2**24 for word in words]]


def test_the_counter_passes_32_bits() -> None:
    first = 4 * 2**32
    draws = uniforms(np.array([7], np.uint64), np.array([first]), 4)
    words = philox4x32(np.array([0, 1, 0, 0], np.uint32), np.array([7, 0], np.uint32))
    assert draws.tolist() == [[(int(word) >> 8) / 2**24 for word in words]]


@given(
    seeds=st.lists(SEEDS, min_size=1, max_size=4),
    firsts=st.lists(st.integers(0, 10_000), min_size=4, max_size=4),
    steps=st.integers(1, 20),
)
def test_a_draw_depends_on_its_seed_and_step_alone(seeds: list[int], firsts: list[int], steps: int) -> None:
    first_step = np.array(firsts[: len(seeds)])
    draws = uniforms(np.array(seeds, np.uint64), first_step, steps)
    assert draws.shape == (len(seeds), steps)
    assert draws.dtype == np.float32
    for row, seed in enumerate(seeds):
        for step in range(steps):
            alone = uniforms(np.array([seed], np.uint64), first_step[row : row + 1] + step, 1)
            assert draws[row, step] == alone[0, 0]


def test_draws_fill_the_unit_interval_evenly() -> None:
    draws = uniforms(np.arange(64, dtype=np.uint64), np.zeros(64, np.int64), 1024)
    assert 0.0 <= draws.min() < 0.001
    assert 0.999 < draws.max() < 1.0
    counts, _ = np.histogram(draws, bins=64, range=(0, 1))
    expected = draws.size / 64
    chi_square = float((np.square(counts - expected) / expected).sum())
    assert 30 < chi_square < 110  # 63 degrees of freedom: both tails are below one in a thousand
    neighbours = np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.015


@given(seeds=st.lists(SEEDS, min_size=1, max_size=4), steps=st.integers(1, 40))
def test_first_uniforms_equal_uniforms(seeds: list[int], steps: int) -> None:
    first = first_uniforms(seeds, steps)
    assert first.dtype == np.float32
    assert first.tolist() == uniforms(np.array(seeds, np.uint64), np.zeros(len(seeds), np.int64), steps).tolist()


def test_a_stream_is_the_third_word_of_the_counter() -> None:
    draws = uniforms(np.array([7, 7], np.uint64), np.array([4, 8]), 4, np.array([5, 0], np.uint32))
    words = philox4x32(np.array([1, 0, 5, 0], np.uint32), np.array([7, 0], np.uint32))
    assert draws[0].tolist() == [(int(word) >> 8) / 2**24 for word in words]
    assert draws[1].tolist() == uniforms(np.array([7], np.uint64), np.array([8]), 4)[0].tolist()


def test_the_draw_of_a_resampling_comes_from_its_own_stream() -> None:
    words = philox4x32(np.array([1, 0, RESAMPLING_STREAM, 0], np.uint32), np.array([0, 3], np.uint32))
    assert resampling_uniform(3 << 32, 6) == (int(words[2]) >> 8) / 2**24


def test_the_first_candidate_has_the_seed_of_the_request() -> None:
    assert derive_seed(2**64 - 1, 0) == 2**64 - 1


def test_a_derived_seed_has_53_bits_of_its_own_counter() -> None:
    low, high = philox4x32(np.array([3, 0, 0, 1], np.uint32), np.array([9, 1], np.uint32))[:2].tolist()
    assert derive_seed(9 + 2**32, 3) == (high << 32 | low) >> 11


@given(seed=SEEDS)
def test_derived_seeds_differ(seed: int) -> None:
    seeds = [derive_seed(seed, index) for index in range(64)]
    assert len(set(seeds)) == 64
    assert all(each < 2**53 for each in seeds[1:])
