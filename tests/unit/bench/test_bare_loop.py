from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.bare_loop import BareLoop
from bench.systems import make_requests
from music.bundle import Bundle, load_bundle


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def test_chunks_of_one_step_write_the_same_tokens(small: Bundle) -> None:
    requests = make_requests(small, 9, range(3))
    long, short = (BareLoop(small, provider="cpu", threads=1, steps=steps) for steps in (None, 1))

    assert long.chunk_steps > short.chunk_steps == 1
    assert np.array_equal(long.run(requests)[0], short.run(requests)[0])


def test_a_batch_runs_until_its_longest_request_is_finished(small: Bundle) -> None:
    first, second = make_requests(small, 9, range(2))
    loop = BareLoop(small, provider="cpu", threads=1)
    together, _ = loop.run([replace(first, max_tokens=4), second])

    assert together.shape == (2, second.max_tokens)
    assert np.array_equal(together[:1, :4], loop.run([first])[0][:, :4])


def test_forced_tokens_are_written(small: Bundle) -> None:
    (request,) = make_requests(small, 9, [5])
    loop = BareLoop(small, provider="cpu", threads=1)
    tokens = loop.run([request])[0][0]
    other = replace(request, seed=6, forced=tuple(tokens[:7].tolist()))

    assert np.array_equal(loop.run([other])[0][0, :7], tokens[:7])
    assert loop.rate([request]) > 0.0
