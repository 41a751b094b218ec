"""The grammar in a graph: smaller tables, the same states and penalties."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from music.grammar import GRAMMAR_PENALTY
from music.score import Meter
from music.tokenizers import EventsTokenizer
from training.config import NetworkConfig
from training.graphs.builder import Graph
from training.graphs.grammar import Grammar
from training.graphs.weights import Weights
from training.network.model import MusicLSTM

METERS = tuple(map(Meter.parse, ("3/4", "4/4", "2/4", "3/8", "6/8", "2/2", "12/8", "9/8")))
PIANO = EventsTokenizer(lowest_pitch=21, highest_pitch=108, positions_per_quarter=24, meters=METERS)
ROWS = 64


@pytest.fixture(scope="module")
def weights() -> Weights:
    config = NetworkConfig(layers=1, hidden=8, embedding=4, dropout_input=0, dropout_between=0, dropout_output=0)
    return Weights(MusicLSTM(config, PIANO), PIANO)


def test_the_graph_follows_the_grammar(weights: Weights) -> None:
    graph = Graph("grammar", weights)
    joint = graph.input("joint", TensorProto.INT64, ("batch",))
    token = graph.input("token", TensorProto.INT64, ("batch",))
    logits = graph.input("logits", TensorProto.FLOAT, ("batch", weights.vocabulary))
    grammar = Grammar(graph)
    states = grammar.split(joint)
    graph.output(grammar.mask(logits, states), "masked", TensorProto.FLOAT, ("batch", weights.vocabulary))
    graph.output(grammar.joint(grammar.advance(states, token)), "after", TensorProto.INT64, ("batch",))
    model = graph.model()
    for tensor in filter(onnx.external_data_helper.uses_external_data, model.graph.initializer):
        tensor.CopyFrom(onnx.numpy_helper.from_array(weights._spans[tensor.name].array, tensor.name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    now = np.full(ROWS, PIANO.grammar.joint_start)
    for _ in range(60):
        legal = np.stack([PIANO.grammar.joint_allowed(int(state)) for state in now])
        tokens = np.array([random.choice(np.flatnonzero(row)) for row in legal])
        zeros = np.zeros(legal.shape, np.float32)
        masked, after = session.run(["masked", "after"], {"joint": now, "token": tokens, "logits": zeros})
        assert (masked[legal] == 0).all()
        assert (masked[~legal] <= np.float32(GRAMMAR_PENALTY)).all()
        now = np.array(
            [PIANO.grammar.joint_successor(int(state), int(token)) for state, token in zip(now, tokens, strict=True)]
        )
        assert after.tolist() == now.tolist()


def test_the_tables_of_24_positions_and_8_meters_stay_small(weights: Weights) -> None:
    tables = {name: span.array for name, span in weights._spans.items() if name.startswith("grammar_")}
    assert sum(table.nbytes for table in tables.values()) < 1_200_000
    assert weights._spans["rows_grammar"].array.shape == (sum(PIANO.grammar.feature_sizes), 4)
