"""The graph that reads a whole sequence at once."""

import numpy as np
import onnx
from onnx import TensorProto

from music.voicing import DECAYS, PITCH_CLASSES
from training.graphs.builder import Graph
from training.graphs.inputs import inputs
from training.graphs.voices import ReadVoices
from training.graphs.weights import Weights


def prefill_graph(weights: Weights, *, scoring: bool = False) -> onnx.ModelProto:
    """A whole sequence at once; `scoring` gives logits too, which whoever only continues it does not need.

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
        width = hidden if layer else weights.embedding
        bias = graph.op(
            "Concat",
            graph.weight(f"bias_{layer}", (1, 4 * hidden)),
            graph.constant(np.zeros((1, 4 * hidden), np.float32)),  # ONNX adds two biases; ours are summed
            axis=1,
        )
        values, last_h, last_c = graph.ops(
            "LSTM",
            values,
            graph.weight(f"input_{layer}", (1, 4 * hidden, width)),
            graph.weight(f"recurrent_{layer}", (1, 4 * hidden, hidden)),
            bias,
            lengths,
            h[layer],
            c[layer],
            count=3,
            hidden_size=hidden,
        )
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
