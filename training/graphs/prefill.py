"""The graph that reads a whole sequence at once."""

import numpy as np
import onnx
from onnx import TensorProto

from music.voicing import DECAYS, PITCH_CLASSES
from server.engine.precision import Precision
from training.graphs.builder import MICROSOFT, Graph
from training.graphs.inputs import inputs
from training.graphs.voices import ReadVoices
from training.graphs.weights import Weights


def prefill_graph(weights: Weights, precision: Precision = "float32", *, scoring: bool = False) -> onnx.ModelProto:
    """A whole sequence at once; `scoring` gives logits too, which whoever only continues it does not need.

    In int8 the scale of the activations is taken from the run, whole rows of it, so one row must have a run to itself.

    Inputs: `previous` and `clock_rows` (time, batch) int64, `lengths` (batch,) int32, `h` and `c`
    (layers, batch, hidden) float32; `grammar` (time, batch) int64 if the network is told of the grammar's states;
    `registers` (time, batch, registers) int64 and `profile` (time, batch, decays, 12) float32 if it has voices.
    Outputs: `h_next`, `c_next` after each row's own length, and `logits` (time, batch, vocabulary) if scoring; those
    past the length are meaningless.
    """
    graph = Graph("score" if scoring else "prefill", weights)
    layers, hidden = weights.layers, weights.hidden
    previous = graph.input("previous", TensorProto.INT64, ("time", "batch"))
    clock_rows = graph.input("clock_rows", TensorProto.INT64, ("time", "batch"))
    lengths = graph.input("lengths", TensorProto.INT32, ("batch",))
    h = graph.split(graph.input("h", TensorProto.FLOAT, (layers, "batch", hidden)), layers, axis=0)
    c = graph.split(graph.input("c", TensorProto.FLOAT, (layers, "batch", hidden)), layers, axis=0)
    grammar = graph.input("grammar", TensorProto.INT64, ("time", "batch")) if weights.told_grammar else ""
    values = inputs(graph, previous, clock_rows, grammar)
    if weights.voicing is not None:
        size = weights.voicing.size
        registers = graph.input("registers", TensorProto.INT64, ("time", "batch", size))
        shape = ("time", "batch", len(DECAYS), PITCH_CLASSES)
        profile = graph.input("profile", TensorProto.FLOAT, shape)
        voices = ReadVoices(graph)
        registers = graph.op("Reshape", registers, graph.integers(-1, size))
        said = voices.embedding(
            registers,
            graph.op("Reshape", profile, graph.integers(-1, len(DECAYS), PITCH_CLASSES)),
            graph.op("Reshape", clock_rows, graph.integers(-1)),
        )
        values = graph.op("Add", values, graph.op("Reshape", said, graph.op("Shape", values)))
    h_next, c_next, outputs = [], [], [values]
    for layer in range(layers):
        values, last_h, last_c = _lstm(graph, precision, layer, [values, lengths, h[layer], c[layer]])
        values = graph.squeezed(values, 1)
        outputs.append(values)
        h_next.append(last_h)
        c_next.append(last_c)
    for name, parts in (("h_next", h_next), ("c_next", c_next)):
        graph.output(graph.op("Concat", *parts, axis=0), name, TensorProto.FLOAT, (layers, "batch", hidden))
    if scoring:
        if weights.skip:
            values = graph.op("Concat", *outputs, axis=-1)
        flat = graph.op("Reshape", values, graph.integers(-1, weights.seen))
        logits = graph.op("Gemm", flat, graph.weight("output"), graph.weight("output_bias"), transB=1)
        if weights.voicing is not None:
            logits = voices.logits(logits, registers)
        whole = graph.op("Concat", graph.op("Shape", previous), graph.integers(weights.vocabulary), axis=0)
        logits = graph.op("Reshape", logits, whole)
        graph.output(logits, "logits", TensorProto.FLOAT, ("time", "batch", weights.vocabulary))
    return graph.model()


def _lstm(graph: Graph, precision: Precision, layer: int, inputs: list[str]) -> list[str]:
    """A layer over the whole sequence, from values (time, batch, width), lengths, h and c.

    Gives its outputs (time, 1, batch, hidden), and its h and c after each row's length (1, batch, hidden).
    """
    weights = graph.weights
    gates, width = 4 * weights.hidden, weights.hidden if layer else weights.embedding
    zeros = graph.constant(np.zeros((1, gates), np.float32))  # ONNX adds two biases; ours are summed
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
