"""The sampler of the decode graphs, alone in a graph, against the sampler of bundle format 3, bit by bit."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from music.bundle import Bundle, load_bundle
from music.grammar import FORBIDDEN, GRAMMAR_PENALTY
from training.graphs import Weights
from training.graphs.builder import Graph
from training.graphs.from_bundle import network_from_bundle
from training.graphs.grammar import Grammar
from training.graphs.sampler import Sampler, bounded_below

ROWS = 512


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def model(small: Bundle, *, version: int, bounded: bool = False) -> onnxruntime.InferenceSession:
    """A graph that samples one token for each row from logits and states of the grammar."""
    weights = Weights(network_from_bundle(small), small.tokenizer)
    vocabulary = weights.vocabulary
    graph = Graph("sampler", weights)
    logits = graph.input("logits", TensorProto.FLOAT, ("batch", vocabulary))
    state = graph.input("state", TensorProto.INT64, ("batch",))
    uniform = graph.input("uniform", TensorProto.FLOAT, ("batch", 1))
    grammar, sampler = Grammar(graph), Sampler(graph, bounded=bounded)
    bias = graph.input("bias", TensorProto.FLOAT, ("batch", vocabulary))
    if version == 4:
        token = sampler.sample(grammar.mask(logits, [state]), bias, uniform)
    else:  # scaled logits + what the request forbids + what the grammar forbids, in one Sum
        scaled = graph.op("Mul", logits, sampler._inverse_temperature)
        penalty = graph.op("Gather", graph.weight("grammar_penalty_0"), state)
        masked = graph.op("Sum", scaled, bias, penalty)
        one, zeros = graph.constant(np.ones((), np.float32)), graph.constant(np.zeros((), np.float32))
        sampler._inverse_temperature = one
        token = sampler.sample(masked, zeros, uniform)
    graph.output(token, "token", TensorProto.INT64, ("batch", 1))
    built = graph.model()
    arrays = {name: span.array for name, span in weights._spans.items()}
    for tensor in built.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.CopyFrom(onnx.numpy_helper.from_array(arrays[tensor.name], tensor.name))
    return onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])


def inputs(small: Bundle, random: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    vocabulary, states = small.network.vocabulary, len(small.tokenizer.grammar.allowed)
    # Few different numbers, so that tokens tie.
    logits = np.round(random.normal(0, 3, (ROWS, vocabulary)) * 2).astype(np.float32) / 2
    bias = np.where(random.random((ROWS, vocabulary)) < 0.3, np.float32(FORBIDDEN), np.float32(0))
    bias[:, :4] = 0  # so that every state has a token left
    return {
        "logits": logits,
        "state": random.integers(0, states, ROWS),
        "uniform": random.random((ROWS, 1), dtype=np.float32),
        "bias": bias,
        "temperature": random.uniform(0.05, 10, ROWS).astype(np.float32),
        "top_k": random.integers(0, vocabulary + 2, ROWS),
        "top_p": random.uniform(0.05, 1, ROWS).astype(np.float32),
    }


def test_without_biases_the_sampled_tokens_are_those_of_format_3(small: Bundle) -> None:
    """And with biases that only forbid: both are what requests of format 3 could ask for."""
    before, now = model(small, version=3), model(small, version=4)
    random = np.random.default_rng(0)
    for forbids in (False, True):
        for _ in range(20):
            values = inputs(small, random)
            values["bias"] = values["bias"] if forbids else np.zeros_like(values["bias"])
            (expected,), (got,) = before.run(None, values), now.run(None, values)
            assert got.tolist() == expected.tolist()
            assert len(np.unique(got)) > 5


def test_where_biases_forbid_all_legal_tokens_the_sampled_one_is_still_legal(small: Bundle) -> None:
    now, allowed = model(small, version=4), small.tokenizer.grammar.allowed
    values = inputs(small, np.random.default_rng(1))
    values["bias"] = np.where(allowed[values["state"]], np.float32(FORBIDDEN), np.float32(0))
    (token,) = now.run(None, values)
    assert allowed[values["state"], token[:, 0]].all()


def test_sorting_only_what_top_p_may_keep_changes_no_token(small: Bundle) -> None:
    every, bounded = model(small, version=4), model(small, version=4, bounded=True)
    random = np.random.default_rng(2)
    for top_p in (0.05, 0.5, 0.9, 0.97, 0.998, 0.9995, 1.0):
        for few in (False, True):
            values = inputs(small, random)
            sharpness = random.choice([0.0, 0.3, 1.0, 3.0], (ROWS, 1)).astype(np.float32)
            values["logits"] = np.multiply(values["logits"], sharpness)
            values["bias"] = np.zeros_like(values["bias"])
            values["top_p"] = np.full(ROWS, top_p, np.float32)
            values["top_k"] = values["top_k"] if few else np.zeros(ROWS, np.int64)
            (expected,), (got,) = every.run(None, values), bounded.run(None, values)
            assert got.tolist() == expected.tolist()
            assert len(np.unique(got)) > 5


def test_the_lower_bound_of_logits_changes_no_share(small: Bundle) -> None:
    graph = Graph("bounded", Weights(network_from_bundle(small), small.tokenizer))
    logits = graph.input("logits", TensorProto.FLOAT, ("batch", 40))
    shifted, bounded = bounded_below(graph, logits, axis=1)
    for name, value in (("plain", logits), ("bounded", bounded)):
        graph.output(graph.op("Softmax", value, axis=1), name, TensorProto.FLOAT, ("batch", 40))
    graph.output(shifted, "shifted", TensorProto.FLOAT, ("batch", 40))
    session = onnxruntime.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])
    values = np.random.default_rng(4).normal(0, 20, (ROWS, 40)).astype(np.float32)
    values[:, 10:] += np.float32(GRAMMAR_PENALTY)
    plain, found, less = session.run(None, {"logits": values})
    near = less > -80
    assert 0 < near[:, :10].mean() < 1
    np.testing.assert_array_equal(found[near], plain[near])
    assert found[~near].max() < 1e-34
