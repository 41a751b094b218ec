"""The prefill and score graphs: read a whole sequence in one run."""

import numpy as np
import onnx
from onnx import TensorProto

from music.graph_names import NEXT, POSITIONS, REMAINING, VOICE_STATE
from music.voice_tracker import DECAYS, PITCH_CLASSES
from runtime.precision import Precision
from training.graphs.builder import MICROSOFT, Graph
from training.graphs.grammar import split_states
from training.graphs.remaining import is_unknown, remaining_embedding, remaining_values
from training.graphs.voices import PrefillVoices
from training.graphs.weights import Weights


def prefill_graph(weights: Weights, precision: Precision = "float32", *, scoring: bool = False) -> onnx.ModelProto:
    """Build the graph that reads a whole sequence.

    Inputs:
        previous: (time, batch) int64, the token before each token.
        clock_rows: (time, batch) int64, the position index of each token.
        lengths: (batch,) int32.
        h, c: (layers, batch, hidden) float32, the LSTM state before the first token.
        grammar: (time, batch) int64, joint states of the automata with features; only if the network has such
            features.
        remaining: (time, batch) int64, remaining lengths before each token, -1 where not known; only if the network has
            this input.
        registers: (time, batch, size) int64; only if the network has voices.
        profile: (time, batch, decays, 12) float32; only if the network has voices.

    Outputs: `h_next` and `c_next` after each row's own length, and with `scoring` also `logits` (time, batch,
    vocabulary). Logits past a row's length are meaningless.

    Args:
        weights: of the network.
        precision: `int8` takes the scale of the activations from the whole run, so each run must hold a single row.
        scoring: whether the graph has the output `logits`.
    """
    graph = Graph("score" if scoring else "prefill", weights)
    layers, hidden = weights.layers, weights.hidden
    previous = graph.input("previous", TensorProto.INT64, ("time", "batch"))
    position_indices = graph.input(POSITIONS, TensorProto.INT64, ("time", "batch"))
    lengths = graph.input("lengths", TensorProto.INT32, ("batch",))
    h = graph.split(graph.input("h", TensorProto.FLOAT, (layers, "batch", hidden)), layers, axis=0)
    c = graph.split(graph.input("c", TensorProto.FLOAT, (layers, "batch", hidden)), layers, axis=0)
    grammar: list[str] = []
    if weights.uses_grammar:
        joint = graph.input("grammar", TensorProto.INT64, ("time", "batch"))
        grammar = split_states(graph, joint, weights.automaton_states[: weights.feature_automata])
    values = graph.embedding(previous, position_indices, grammar)
    if weights.remaining is not None:
        remaining = graph.input(REMAINING, TensorProto.INT64, ("time", "batch"))
        features = remaining_values(graph, remaining, is_unknown(graph, remaining), position_indices)
        values = graph.op("Add", values, remaining_embedding(graph, features))
    if weights.tracker is not None:
        size = weights.tracker.size
        voice_states = graph.input(VOICE_STATE, TensorProto.INT64, ("time", "batch", size))
        shape = ("time", "batch", len(DECAYS), PITCH_CLASSES)
        profile = graph.input("profile", TensorProto.FLOAT, shape)
        voices = PrefillVoices(graph)
        voice_states = graph.op("Reshape", voice_states, graph.integers(-1, size))
        voice_embedding = voices.embedding(
            voice_states,
            graph.op("Reshape", profile, graph.integers(-1, len(DECAYS), PITCH_CLASSES)),
            graph.op("Reshape", position_indices, graph.integers(-1)),
        )
        values = graph.op("Add", values, graph.op("Reshape", voice_embedding, graph.op("Shape", values)))
    h_next, c_next, outputs = [], [], [values]
    for layer in range(layers):
        values, last_h, last_c = _lstm(graph, precision, layer, [values, lengths, h[layer], c[layer]])
        values = graph.squeeze(values, 1)
        outputs.append(values)
        h_next.append(last_h)
        c_next.append(last_c)
    for name, parts in (("h" + NEXT, h_next), ("c" + NEXT, c_next)):
        graph.output(graph.op("Concat", *parts, axis=0), name, TensorProto.FLOAT, (layers, "batch", hidden))
    if scoring:
        if weights.skip:
            values = graph.op("Concat", *outputs, axis=-1)
        flat = graph.op("Reshape", values, graph.integers(-1, weights.output_width))
        logits = graph.op("Gemm", flat, graph.weight("output"), graph.weight("output_bias"), transB=1)
        if weights.tracker is not None:
            logits = voices.logits(logits, voice_states)
        whole = graph.op("Concat", graph.op("Shape", previous), graph.integers(weights.vocabulary), axis=0)
        logits = graph.op("Reshape", logits, whole)
        graph.output(logits, "logits", TensorProto.FLOAT, ("time", "batch", weights.vocabulary))
    return graph.model()


def _lstm(graph: Graph, precision: Precision, layer: int, inputs: list[str]) -> list[str]:
    """One LSTM layer over the whole sequence.

    Args:
        graph: to add the nodes to.
        precision: of the products.
        layer: index of the layer.
        inputs: values (time, batch, width), lengths (batch,), and h and c, each (1, batch, hidden).

    Returns:
        outputs (time, 1, batch, hidden), and h and c after each row's length, each (1, batch, hidden).
    """
    weights = graph.weights
    gates, width = 4 * weights.hidden, weights.hidden if layer else weights.embedding
    zeros = graph.constant(np.zeros((1, gates), np.float32))  # ONNX has two biases; ours are summed
    bias = graph.op("Concat", graph.weight(f"bias_{layer}", (1, gates)), zeros, axis=1)
    values, *state = inputs
    if precision == "float32":
        return graph.ops(
            "LSTM",
            values,
            graph.weight(f"input_{layer}", (1, gates, width)),
            graph.weight(f"recurrent_{layer}", (1, gates, weights.hidden)),
            bias,
            *state,
            count=3,
            hidden_size=weights.hidden,
        )
    scale, zero = graph.weight(f"layer_{layer}_scale", (1, gates)), graph.constant(np.zeros((1, gates), np.int8))
    return graph.ops(
        "DynamicQuantizeLSTM",
        values,
        graph.weight(f"input_{layer}_int8", (1, width, gates)),
        graph.weight(f"recurrent_{layer}_int8", (1, weights.hidden, gates)),
        bias,
        *state,
        "",
        *(scale, zero, scale, zero),
        count=3,
        hidden_size=weights.hidden,
        domain=MICROSOFT,
    )
