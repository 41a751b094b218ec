from pathlib import Path

import pytest

from bench.soak.pool import RequestPool, make_pool, reference_runner
from music.bundle import load_bundle


@pytest.fixture(scope="session")
def pool(small_bundle: Path) -> RequestPool:
    bundle = load_bundle(small_bundle)
    return make_pool(bundle, reference_runner(bundle, "cpu", "float32"), count=120, seed=1)
