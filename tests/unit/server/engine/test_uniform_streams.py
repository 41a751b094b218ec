import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.philox import uniforms
from server.engine.uniform_streams import UniformStreams


@pytest.mark.slow
@given(
    seeds=st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3),
    chunks=st.lists(st.sampled_from([1, 8, 300]), min_size=1, max_size=60),
    restart=st.integers(0, 60),
)
def test_the_draws_do_not_depend_on_the_chunks(seeds: list[int], chunks: list[int], restart: int) -> None:
    streams = UniformStreams(slots=4, longest_chunk=300)
    slots = np.array([0, 2, 3])
    taken = np.zeros(3, np.int64)
    for slot, seed in zip(slots.tolist(), seeds, strict=True):
        streams.start(slot, seed)
    for number, steps in enumerate(chunks):
        if number == restart:
            seeds[1] ^= 1
            streams.start(2, seeds[1])
            taken[1] = 0
        got = streams.take(slots, taken, steps)
        assert got.tolist() == uniforms(np.array(seeds, np.uint64), taken, steps).tolist()
        taken += steps
