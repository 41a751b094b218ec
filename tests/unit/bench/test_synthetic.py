from pathlib import Path

import pytest

from bench.bare import BareLoop
from bench.synthetic import write_bundle
from bench.workload import plan_requests
from music.bundle import load_bundle
from server.engine.precision import Precision


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_made_up_bundle_is_one_of_its_size_and_runs(small_bundle: Path, tmp_path: Path, precision: Precision) -> None:
    like = load_bundle(small_bundle)
    made = write_bundle(tmp_path / "made", like, 2, 48)
    requests = plan_requests(made, 8, [1])
    tokens, _ = BareLoop(made, provider="cpu", threads=1, precision=precision).run(requests)

    assert (made.network.layers, made.network.hidden) == (2, 48)
    assert made.network.parameters > like.network.parameters
    assert made.tokenizer.grammar.accepts(tokens[0])
