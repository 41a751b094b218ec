"""The graph that draws K tokens for every row."""

import onnx
from onnx import TensorProto

from server.engine.precision import Precision
from training.graphs.arithmetic import ARITHMETIC, Arithmetic
from training.graphs.builder import Graph
from training.graphs.grammar import Grammar
from training.graphs.inputs import inputs
from training.graphs.sampler import Sampler
from training.graphs.voices import WrittenVoices
from training.graphs.weights import Weights


def decode_graph(weights: Weights, steps: int, precision: Precision = "float32") -> onnx.ModelProto:
    """`steps` tokens for every row, sampling inside.

    Inputs, a row for each sequence: state `h`, `c` (layers, batch, hidden) float32; `clock` (batch,) int64 the clock's
    row; `grammar` (batch,) int64 the grammar's joint state; `registers` (batch, registers) float32, a row of
    `music.linear_voicing`, if the network has voices, else `token` (batch,) int64, the previous token; `uniforms`
    (batch, steps) float32 in [0, 1); `forced` (batch, steps) int64, a token to take or -1; `temperature`, `top_p`
    (batch,) float32; `top_k` (batch,) int64, 0 for no limit; `allowed` (batch, vocabulary) bool. `choices` (1,) int64
    need not be given: how many tokens any row may draw from, at least the greatest `top_k`; all, where one has no
    limit.
    Outputs: `tokens` (batch, steps) int64 and the state after them, each under its name with `_next`. Inside, the
    logits of step k are called `logits_k`.
    """
    graph = Graph(f"decode_{precision}_{steps}", weights)
    layers, hidden = weights.layers, weights.hidden
    h = _layers(graph, graph.input("h", TensorProto.FLOAT, (layers, "batch", hidden)))
    c = _layers(graph, graph.input("c", TensorProto.FLOAT, (layers, "batch", hidden)))
    clock = graph.input("clock", TensorProto.INT64, ("batch",))
    grammar = Grammar(graph)
    states = grammar.parted(graph.input("grammar", TensorProto.INT64, ("batch",)))
    uniforms = graph.split(graph.input("uniforms", TensorProto.FLOAT, ("batch", steps)), steps, axis=1)
    forced_tokens = graph.input("forced", TensorProto.INT64, ("batch", steps))
    told = graph.split(graph.op("GreaterOrEqual", forced_tokens, graph.integers(0)), steps, axis=1)
    forced = graph.split(forced_tokens, steps, axis=1)
    sampler = Sampler(graph)
    arithmetic: Arithmetic = ARITHMETIC[precision](graph)
    token, registers, voices, heard = "", "", None, ""
    if weights.linear is None:
        token = graph.input("token", TensorProto.INT64, ("batch",))
    else:
        registers = graph.input("registers", TensorProto.FLOAT, ("batch", weights.linear.size))
        voices = WrittenVoices(graph, registers)
    taken = [arithmetic.taken(part) for part in h]

    tokens = []
    for step in range(steps):
        if voices is None:
            values = inputs(graph, token, clock, states[0])
        else:
            values, heard = voices.embedding(clock)
        below = arithmetic.taken(values)
        seen = [below]
        for layer in range(layers):
            h[layer], c[layer] = _cell(graph, arithmetic.gates(layer, below, taken[layer]), c[layer])
            below = taken[layer] = arithmetic.taken(h[layer])
            seen.append(below)
        logits = arithmetic.output(seen if weights.skip else seen[-1:])
        if voices is not None:
            logits = voices.logits(logits, heard)
        logits = graph.named(f"logits_{step}", "Identity", logits)
        sampled = sampler.draw(logits, states, uniforms[step])
        tokens.append(graph.op("Where", told[step], forced[step], sampled))  # (batch, 1)
        token = graph.squeezed(tokens[-1], 1)
        states = grammar.after(states, token)
        clock = graph.op("Gather", graph.weight("clock_successor"), clock)
        if voices is not None:
            registers = voices.advance(token)

    joined = graph.op("Concat", *tokens, axis=1) if steps > 1 else tokens[0]
    graph.output(joined, "tokens", TensorProto.INT64, ("batch", steps))
    for name, parts in (("h_next", h), ("c_next", c)):
        stacked = [graph.unsqueezed(part, 0) for part in parts]
        graph.output(graph.op("Concat", *stacked, axis=0), name, TensorProto.FLOAT, (layers, "batch", hidden))
    for name, value in (("clock_next", clock), ("grammar_next", grammar.joint(states))):
        graph.output(value, name, TensorProto.INT64, ("batch",))
    if weights.linear is None:
        graph.output(token, "token_next", TensorProto.INT64, ("batch",))
    else:
        graph.output(registers, "registers_next", TensorProto.FLOAT, ("batch", weights.linear.size))
    return graph.model()


def _layers(graph: Graph, state: str) -> list[str]:
    """Each layer's state, (batch, hidden)."""
    return [graph.squeezed(part, 0) for part in graph.split(state, graph.weights.layers, axis=0)]


def _cell(graph: Graph, gates: list[str], c: str) -> tuple[str, str]:
    """One LSTM cell from its pre-activations, (batch, hidden) for each of `GATES`."""
    i, o, f = (graph.op("Sigmoid", gate) for gate in gates[:3])
    c = graph.op("Add", graph.op("Mul", f, c), graph.op("Mul", i, graph.op("Tanh", gates[3])))
    return graph.op("Mul", o, graph.op("Tanh", c)), c
