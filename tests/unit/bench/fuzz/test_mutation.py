import random

from hypothesis import given
from hypothesis import strategies as st

from bench.fuzz.mutation import mutated


@given(st.binary(max_size=200), st.integers(0, 1000), st.lists(st.binary(max_size=50), max_size=3))
def test_the_seed_alone_decides_and_the_size_is_bounded(data: bytes, seed: int, others: list[bytes]) -> None:
    changed = mutated(random.Random(seed), data, others)

    assert changed == mutated(random.Random(seed), data, others)
    assert len(changed) < len(data) + 6 * (64 * 8 + 256)


def test_most_mutations_change_something() -> None:
    data = bytes(range(200))

    assert sum(mutated(random.Random(seed), data) != data for seed in range(200)) > 150
