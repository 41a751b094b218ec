"""The graph that draws K tokens for every row."""

import onnx
from onnx import TensorProto

from music.voicing import DECAYS, PITCH_CLASSES
from training.graphs.builder import Graph
from training.graphs.grammar import Grammar
from training.graphs.inputs import inputs
from training.graphs.sampler import Sampler
from training.graphs.voices import Voices
from training.graphs.weights import Weights


def decode_graph(weights: Weights, steps: int) -> onnx.ModelProto:
    """`steps` tokens for every row, sampling inside.

    Inputs, a row for each sequence: state `h`, `c` (layers, batch, hidden) float32; `token` (batch,) int64 the
    previous token; `clock` (batch,) int64 the clock's row; `grammar` (batch,) int64 the grammar's joint state;
    `registers` (batch, registers) int64 and `profile` (batch, decays, 12) float32 if the network has voices;
    `uniforms` (batch, steps) float32 in [0, 1); `forced` (batch, steps) int64, a token to take or -1; `temperature`,
    `top_p` (batch,) float32; `top_k` (batch,) int64, 0 for no limit; `allowed` (batch, vocabulary) bool.
    Outputs: `tokens` (batch, steps) int64 and the state after them, each under its name with `_next`.
    """
    graph = Graph(f"decode_{steps}", weights)
    layers, hidden = weights.layers, weights.hidden
    h = _layers(graph, graph.input("h", TensorProto.FLOAT, (layers, "batch", hidden)))
    c = _layers(graph, graph.input("c", TensorProto.FLOAT, (layers, "batch", hidden)))
    token = graph.input("token", TensorProto.INT64, ("batch",))
    clock = graph.input("clock", TensorProto.INT64, ("batch",))
    grammar = Grammar(graph)
    states = grammar.parted(graph.input("grammar", TensorProto.INT64, ("batch",)))
    uniforms = graph.split(graph.input("uniforms", TensorProto.FLOAT, ("batch", steps)), steps, axis=1)
    forced = graph.split(graph.input("forced", TensorProto.INT64, ("batch", steps)), steps, axis=1)
    sampler = Sampler(graph)
    voices, registers, columns, profile = None, "", [], ""
    if weights.voicing is not None:
        voices, size = Voices(graph), weights.voicing.size
        registers = graph.input("registers", TensorProto.INT64, ("batch", size))
        columns = graph.split(registers, size, axis=1)
        profile = graph.input("profile", TensorProto.FLOAT, ("batch", len(DECAYS), PITCH_CLASSES))

    tokens = []
    for step in range(steps):
        values = inputs(graph, token, clock, states[0])
        if voices is not None:
            values = graph.op("Add", values, voices.embedding(registers, profile, clock, leading=1))
        outputs = [values]
        for layer in range(layers):
            values = graph.op("Gemm", values, graph.weight(f"input_{layer}"), graph.weight(f"bias_{layer}"), transB=1)
            gates = graph.op("Gemm", h[layer], graph.weight(f"recurrent_{layer}"), values, transB=1)
            h[layer], c[layer] = _cell(graph, gates, c[layer])
            values = h[layer]
            outputs.append(values)
        if weights.skip:
            values = graph.op("Concat", *outputs, axis=1)
        logits = graph.op("Gemm", values, graph.weight("output"), graph.weight("output_bias"), transB=1)
        if voices is not None:
            logits = voices.logits(logits, registers)
        sampled = sampler.draw(logits, states, uniforms[step])
        told = graph.op("GreaterOrEqual", forced[step], graph.integers(0))
        drawn = graph.op("Where", told, forced[step], sampled)  # (batch, 1)
        if voices is not None:
            columns, profile = voices.advanced(columns, profile, drawn)
            registers = graph.op("Concat", *columns, axis=1)
        token = graph.squeezed(drawn, 1)
        tokens.append(drawn)
        states = grammar.after(states, token)
        clock = graph.op("Gather", graph.weight("clock_successor"), clock)

    joined = graph.op("Concat", *tokens, axis=1) if steps > 1 else tokens[0]
    graph.output(joined, "tokens", TensorProto.INT64, ("batch", steps))
    for name, parts in (("h_next", h), ("c_next", c)):
        stacked = [graph.unsqueezed(part, 0) for part in parts]
        graph.output(graph.op("Concat", *stacked, axis=0), name, TensorProto.FLOAT, (layers, "batch", hidden))
    for name, value in (("token_next", token), ("clock_next", clock), ("grammar_next", grammar.joint(states))):
        graph.output(value, name, TensorProto.INT64, ("batch",))
    if weights.voicing is not None:
        graph.output(registers, "registers_next", TensorProto.INT64, ("batch", weights.voicing.size))
        graph.output(profile, "profile_next", TensorProto.FLOAT, ("batch", len(DECAYS), PITCH_CLASSES))
    return graph.model()


def _layers(graph: Graph, state: str) -> list[str]:
    """Each layer's state, (batch, hidden)."""
    return [graph.squeezed(part, 0) for part in graph.split(state, graph.weights.layers, axis=0)]


def _cell(graph: Graph, gates: str, c: str) -> tuple[str, str]:
    """One LSTM cell from its four pre-activations (batch, 4 * hidden), in the order i, o, f, g."""
    hidden = graph.weights.hidden
    sigmoids, g = graph.ops("Split", gates, graph.integers(3 * hidden, hidden), count=2, axis=1)
    i, o, f = graph.ops("Split", graph.op("Sigmoid", sigmoids), graph.integers(hidden, hidden, hidden), count=3, axis=1)
    c = graph.op("Add", graph.op("Mul", f, c), graph.op("Mul", i, graph.op("Tanh", g)))
    return graph.op("Mul", o, graph.op("Tanh", c)), c
