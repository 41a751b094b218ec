"""The network as ONNX graphs: `prefill` reads a whole sequence, `decode` draws K tokens in one run.

All graphs share one file of weights. Decoding is unrolled: each step is a written-out LSTM cell whose first
input projection is folded into a table (embedding x W_ih, one row a token; the clock's embeddings and the bias,
one row a clock row), then the sampler, then the two automata, which are gathers too.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from music.tokenizers import Tokenizer
from training.model import MusicLSTM

OPSET: Final = 17
WEIGHTS: Final = "weights.bin"
_ALIGNMENT: Final = 64
_INLINE_BYTES: Final = 1024
FORBIDDEN: Final = -1e30
"""Added to the logits of tokens that may not come: exp() of it is exactly 0, and unlike -inf it never makes a NaN."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Where an array lies in the file of weights."""

    offset: int
    array: NDArray[np.generic]


class Weights:
    """Everything constant, by name, laid out in one external data file that the graphs share."""

    def __init__(self, model: MusicLSTM, tokenizer: Tokenizer) -> None:
        self.layers = model.config.layers
        self.hidden = model.config.hidden
        self.vocabulary = model.vocabulary
        self._spans: dict[str, _Span] = {}
        self._size = 0

        def parameter(name: str) -> torch.Tensor:
            tensor: torch.Tensor = getattr(model.lstm, name)
            return tensor

        with torch.no_grad():
            token = model.token.weight.double()
            clock = model.clock_embedding(torch.arange(len(tokenizer.clock.successor))).double()
            first = parameter("weight_ih_l0").double()
            bias = (parameter("bias_ih_l0") + parameter("bias_hh_l0")).double()
            self._add("token_embedding", token.float().numpy())
            self._add("clock_embedding", clock.float().numpy())
            self._add("input_0", _gates(parameter("weight_ih_l0").numpy()))
            self._add("token_table", _gates((token @ first.T).T.float().numpy()).T)
            self._add("clock_table", _gates((clock @ first.T + bias).T.float().numpy()).T)
            for layer in range(self.layers):
                if layer:
                    self._add(f"input_{layer}", _gates(parameter(f"weight_ih_l{layer}").numpy()))
                total = parameter(f"bias_ih_l{layer}") + parameter(f"bias_hh_l{layer}")
                self._add(f"recurrent_{layer}", _gates(parameter(f"weight_hh_l{layer}").numpy()))
                self._add(f"bias_{layer}", _gates(total.numpy()))
            self._add("output", model.output.weight.numpy())
            self._add("output_bias", model.output.bias.numpy())
        grammar = tokenizer.grammar
        self._add("grammar_penalty", np.where(grammar.allowed, 0.0, FORBIDDEN).astype(np.float32))
        self._add("grammar_successor", grammar.successor.astype(np.int64).reshape(-1))
        self._add("clock_successor", tokenizer.clock.successor.astype(np.int64))

    def _add(self, name: str, array: NDArray[np.generic]) -> None:
        self._spans[name] = _Span(self._size, np.ascontiguousarray(array))
        self._size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT

    def tensor(self, name: str, shape: tuple[int, ...] | None = None, alias: str | None = None) -> TensorProto:
        """An initializer that points into the file; `shape` may view the same bytes in another way.

        Short integer arrays lie in the graph itself: shape inference may want to read them, and cannot read them
        from another file.
        """
        span = self._spans[name]
        if span.array.dtype.kind == "i" and span.array.nbytes < _INLINE_BYTES:
            return numpy_helper.from_array(span.array, alias or name)
        tensor = TensorProto(
            name=alias or name,
            data_type=helper.np_dtype_to_tensor_dtype(span.array.dtype),
            dims=span.array.shape if shape is None else shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", WEIGHTS), ("offset", span.offset), ("length", span.array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def save(self, folder: Path) -> None:
        """Write the file of weights."""
        data = bytearray(self._size)
        for span in self._spans.values():
            data[span.offset : span.offset + span.array.nbytes] = span.array.tobytes()
        (folder / WEIGHTS).write_bytes(data)


def _gates(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the gates along the first axis from PyTorch's (i, f, g, o) to ONNX's (i, o, f, g)."""
    i, f, g, o = np.split(weights, 4)
    return np.concatenate([i, o, f, g])


class _Graph:
    """A graph under construction."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.name = name
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, kind: int, shape: tuple[int | str, ...]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, value: str, name: str, kind: int, shape: tuple[int | str, ...]) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def weight(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        alias = name if shape is None else f"{name}_viewed"
        self.initializers.setdefault(alias, self.weights.tensor(name, shape, alias))
        return alias

    def constant(self, value: NDArray[np.generic]) -> str:
        shape = "x".join(map(str, value.shape))
        name = f"{value.dtype}_{shape}_{hashlib.sha256(value.tobytes()).hexdigest()[:12]}"
        self.initializers.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, *inputs, count=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        names = [f"{kind}_{len(self.nodes)}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, list(self.initializers.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="fantasia")


def prefill_graph(weights: Weights) -> onnx.ModelProto:
    """A whole sequence at once.

    Inputs: `previous` and `clock_rows` (time, batch) int64, `lengths` (batch,) int32, `h` and `c`
    (layers, batch, hidden) float32. Outputs: `logits` (time, batch, vocabulary), and `h_next`, `c_next` after
    each row's own length; logits past it are meaningless.
    """
    graph = _Graph("prefill", weights)
    layers, hidden = weights.layers, weights.hidden
    previous = graph.input("previous", TensorProto.INT64, ("time", "batch"))
    clock_rows = graph.input("clock_rows", TensorProto.INT64, ("time", "batch"))
    lengths = graph.input("lengths", TensorProto.INT32, ("batch",))
    h = _split_layers(graph, graph.input("h", TensorProto.FLOAT, (layers, "batch", hidden)), layers, keep=True)
    c = _split_layers(graph, graph.input("c", TensorProto.FLOAT, (layers, "batch", hidden)), layers, keep=True)
    values = graph.op(
        "Add",
        graph.op("Gather", graph.weight("token_embedding"), previous),
        graph.op("Gather", graph.weight("clock_embedding"), clock_rows),
    )
    embedding = weights.tensor("token_embedding").dims[1]
    h_next, c_next = [], []
    for layer in range(layers):
        width = hidden if layer else embedding
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
        values = graph.op("Squeeze", values, graph.integers(1))
        h_next.append(last_h)
        c_next.append(last_c)
    logits = graph.op(
        "Add", graph.op("MatMul", values, graph.op("Transpose", graph.weight("output"))), graph.weight("output_bias")
    )
    graph.output(logits, "logits", TensorProto.FLOAT, ("time", "batch", weights.vocabulary))
    for name, parts in (("h_next", h_next), ("c_next", c_next)):
        graph.output(graph.op("Concat", *parts, axis=0), name, TensorProto.FLOAT, (layers, "batch", hidden))
    return graph.model()


def decode_graph(weights: Weights, steps: int) -> onnx.ModelProto:
    """`steps` tokens for every row, sampling inside.

    Inputs, a row for each sequence: state `h`, `c` (layers, batch, hidden) float32; `token` (batch,) int64 the
    previous token; `clock` and `grammar` (batch,) int64 rows of the automata; `uniforms` (batch, steps) float32
    in [0, 1); `forced` (batch, steps) int64, a token to take or -1; `temperature`, `top_p` (batch,) float32;
    `top_k` (batch,) int64, 0 for no limit; `allowed` (batch, vocabulary) bool.
    Outputs: `tokens` (batch, steps) int64 and the state after them, each under its name with `_next`.
    """
    graph = _Graph(f"decode_{steps}", weights)
    layers, hidden, vocabulary = weights.layers, weights.hidden, weights.vocabulary
    h = _split_layers(graph, graph.input("h", TensorProto.FLOAT, (layers, "batch", hidden)), layers)
    c = _split_layers(graph, graph.input("c", TensorProto.FLOAT, (layers, "batch", hidden)), layers)
    token = graph.input("token", TensorProto.INT64, ("batch",))
    clock = graph.input("clock", TensorProto.INT64, ("batch",))
    grammar = graph.input("grammar", TensorProto.INT64, ("batch",))
    uniforms = _columns(graph, graph.input("uniforms", TensorProto.FLOAT, ("batch", steps)), steps)
    forced = _columns(graph, graph.input("forced", TensorProto.INT64, ("batch", steps)), steps)
    sampler = _Sampler(graph)

    tokens = []
    for step in range(steps):
        values = graph.op(
            "Add",
            graph.op("Gather", graph.weight("token_table"), token),
            graph.op("Gather", graph.weight("clock_table"), clock),
        )
        for layer in range(layers):
            if layer:
                values = graph.op(
                    "Gemm", values, graph.weight(f"input_{layer}"), graph.weight(f"bias_{layer}"), transB=1
                )
            gates = graph.op("Gemm", h[layer], graph.weight(f"recurrent_{layer}"), values, transB=1)
            h[layer], c[layer] = _cell(graph, gates, c[layer])
            values = h[layer]
        logits = graph.op("Gemm", values, graph.weight("output"), graph.weight("output_bias"), transB=1)
        sampled = sampler.draw(logits, grammar, uniforms[step])
        told = graph.op("GreaterOrEqual", forced[step], graph.integers(0))
        column = graph.op("Where", told, forced[step], sampled)  # (batch, 1)
        token = graph.op("Squeeze", column, graph.integers(1))
        tokens.append(column)
        place = graph.op("Add", graph.op("Mul", grammar, graph.integers(vocabulary)), token)
        grammar = graph.op("Gather", graph.weight("grammar_successor"), place)
        clock = graph.op("Gather", graph.weight("clock_successor"), clock)

    joined = graph.op("Concat", *tokens, axis=1) if steps > 1 else tokens[0]
    graph.output(joined, "tokens", TensorProto.INT64, ("batch", steps))
    for name, parts in (("h_next", h), ("c_next", c)):
        stacked = [graph.op("Unsqueeze", part, graph.integers(0)) for part in parts]
        graph.output(graph.op("Concat", *stacked, axis=0), name, TensorProto.FLOAT, (layers, "batch", hidden))
    for name, value in (("token_next", token), ("clock_next", clock), ("grammar_next", grammar)):
        graph.output(value, name, TensorProto.INT64, ("batch",))
    return graph.model()


class _Sampler:
    """Temperature, the grammar and the caller's mask, top-k, top-p, and one draw a step.

    Tokens are sorted by logit (ties by id) and the draw inverts the cumulative distribution of those kept, so
    that one uniform number decides one token whatever else is in the batch.
    """

    def __init__(self, graph: _Graph) -> None:
        self._graph = graph
        vocabulary = graph.weights.vocabulary
        allowed = graph.input("allowed", TensorProto.BOOL, ("batch", vocabulary))
        column = graph.integers(1)
        zero, forbidden = (graph.constant(np.array(value, np.float32)) for value in (0.0, FORBIDDEN))
        self._penalty = graph.op("Where", allowed, zero, forbidden)
        self._temperature = graph.op("Unsqueeze", graph.input("temperature", TensorProto.FLOAT, ("batch",)), column)
        self._top_p = graph.op("Unsqueeze", graph.input("top_p", TensorProto.FLOAT, ("batch",)), column)
        top_k = graph.op("Unsqueeze", graph.input("top_k", TensorProto.INT64, ("batch",)), column)
        unlimited = graph.op("Equal", top_k, graph.integers(0))
        limit = graph.op("Where", unlimited, graph.integers(vocabulary), top_k)
        ranks = graph.constant(np.arange(vocabulary, dtype=np.int64)[None, :])
        self._within_k = graph.op("Less", ranks, limit)  # (batch, vocabulary)
        self._least = graph.constant(np.array(FORBIDDEN / 2, np.float32))

    def draw(self, logits: str, grammar: str, uniform: str) -> str:
        """Tokens (batch, 1) from logits (batch, vocabulary), grammar states (batch,) and uniforms (batch, 1)."""
        graph = self._graph
        scaled = graph.op("Div", logits, self._temperature)
        legal = graph.op("Add", scaled, graph.op("Gather", graph.weight("grammar_penalty"), grammar))
        masked = graph.op("Add", legal, self._penalty)
        ordered, ids = graph.ops(
            "TopK", masked, graph.integers(graph.weights.vocabulary), count=2, axis=1, largest=1, sorted=1
        )
        probabilities = graph.op("Softmax", ordered, axis=1)
        cumulative = graph.op("CumSum", probabilities, graph.constant(np.array(1, np.int64)))
        before = graph.op("Sub", cumulative, probabilities)
        kept = graph.op("And", graph.op("Less", before, self._top_p), self._within_k)
        kept = graph.op("And", kept, graph.op("Greater", ordered, self._least))
        count = graph.op("ReduceSum", graph.op("Cast", kept, to=TensorProto.INT64), graph.integers(1), keepdims=1)
        last = graph.op("Sub", count, graph.integers(1))
        mass = graph.op("GatherElements", cumulative, last, axis=1)
        passed = graph.op("LessOrEqual", cumulative, graph.op("Mul", uniform, mass))
        rank = graph.op("ReduceSum", graph.op("Cast", passed, to=TensorProto.INT64), graph.integers(1), keepdims=1)
        rank = graph.op("Min", rank, last)  # the product may round up to the whole mass
        return graph.op("GatherElements", ids, rank, axis=1)


def _cell(graph: _Graph, gates: str, c: str) -> tuple[str, str]:
    """One LSTM cell from its four pre-activations (batch, 4 * hidden), in the order i, o, f, g."""
    hidden = graph.weights.hidden
    sigmoids, g = graph.ops("Split", gates, graph.integers(3 * hidden, hidden), count=2, axis=1)
    i, o, f = graph.ops("Split", graph.op("Sigmoid", sigmoids), graph.integers(hidden, hidden, hidden), count=3, axis=1)
    c = graph.op("Add", graph.op("Mul", f, c), graph.op("Mul", i, graph.op("Tanh", g)))
    return graph.op("Mul", o, graph.op("Tanh", c)), c


def _split_layers(graph: _Graph, state: str, layers: int, *, keep: bool = False) -> list[str]:
    parts = graph.ops("Split", state, graph.integers(*[1] * layers), count=layers, axis=0) if layers > 1 else [state]
    return parts if keep else [graph.op("Squeeze", part, graph.integers(0)) for part in parts]


def _columns(graph: _Graph, matrix: str, steps: int) -> list[str]:
    return graph.ops("Split", matrix, graph.integers(*[1] * steps), count=steps, axis=1) if steps > 1 else [matrix]
