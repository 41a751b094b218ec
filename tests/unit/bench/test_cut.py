from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from bench.bare import BareLoop
from bench.cut import session_without_sampling, without_sampling
from bench.workload import plan_requests
from music.bundle import Bundle, load_bundle
from server.engine.precision import Precision, decode_graphs


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_nothing_that_draws_is_left_and_every_step_needs_the_one_before(small: Bundle, precision: Precision) -> None:
    graphs = decode_graphs(small, precision)
    model = onnx.load(small.file(graphs[max(graphs)]), load_external_data=False)
    before = {node.op_type for node in model.graph.node}
    without_sampling(model.graph)

    assert before - {node.op_type for node in model.graph.node} >= {"TopK", "Softmax"}
    assert {"uniforms", "temperature", "top_p"}.isdisjoint(value.name for value in model.graph.input)
    makers = {output: node for node in model.graph.node for output in node.output}
    for step in range(max(graphs)):
        assert makers[f"likeliest_{step}"].input[0] == f"logits_{step}"
        assert any(f"likeliest_{step}" in node.input for node in model.graph.node if node.op_type == "Where")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_told_the_tokens_it_keeps_the_same_state(small: Bundle, precision: Precision) -> None:
    requests = plan_requests(small, 8, range(3))
    whole = BareLoop(small, provider="cpu", threads=1, precision=precision)
    steps = whole.chunk_steps
    session = session_without_sampling(small, decode_graphs(small, precision)[steps], provider="cpu", threads=1)
    cut = BareLoop(small, provider="cpu", threads=1, precision=precision, steps=steps, session=session)
    drawn, _ = whole.run(requests)
    told = [replace(request, forced=tuple(row)) for request, row in zip(requests, drawn.tolist(), strict=True)]

    assert np.array_equal(cut.run(told)[0], drawn)
