"""The decode graph: samples K tokens for every row."""

import onnx
from onnx import TensorProto

from music.graph_names import NEXT, NOTE_PROFILE, NOTE_STATE, POSITION, POSITION_SUCCESSOR, REMAINING, VOICE_STATE
from runtime.precision import Precision
from training.graphs.arithmetic import ARITHMETIC, Arithmetic
from training.graphs.builder import Graph
from training.graphs.grammar import Grammar
from training.graphs.notes import DecodeNotes
from training.graphs.remaining import DecodeRemaining
from training.graphs.sampler import Sampler, bounded_below
from training.graphs.voices import DecodeVoices
from training.graphs.weights import Weights


def decode_graph(
    weights: Weights, steps: int, precision: Precision = "float32", *, closing_temperature: float = 1.0
) -> onnx.ModelProto:
    """Build the graph that samples `steps` tokens for every row.

    In the last bar of a piece whose length is known, the temperature is multiplied by `closing_temperature`.

    Inputs, with one row for each sequence:
        h, c: (layers, batch, hidden) float32, the LSTM state.
        clock: (batch,) int64, the position index of the next token.
        grammar: (batch,) int64, the joint state of the grammar.
        remaining: (batch,) int64, the remaining length (`music.remaining_length`), or -1 if it is not known; only if
            the network has this input.
        registers: (batch, size) float32, a row of `music.linear_voice_tracker`; only if the network has voices.
        token: (batch,) int64, the previous token; only if the network has no voices.
        notes, note_profile: (batch, size) int32 and (batch, decays * 12) float32, the state of
            `music.tokenizers.note_tracker`; only if the network sees the notes of `events`.
        uniforms: (batch, steps) float32 in [0, 1).
        forced: (batch, steps) int64, a forced token, or -1 to sample.
        temperature, top_p: (batch,) float32.
        top_k: (batch,) int64, 0 for no limit.
        bias: (biases, vocabulary) float32, a table of biases. A bias is added to a logit after the temperature divided
            it: `music.grammar.FORBIDDEN` forbids the token, any other number makes it more or less likely.
        bias_index: (batch, steps) int64, the row of the table for each step.
        choices: (1,) int64, optional. Number of tokens to sort: at least the greatest `top_k`. By default all tokens,
            which a row without a limit needs.

    Outputs: `tokens` (batch, steps) int64; `log_probabilities` (batch, steps) float32, the natural log-probability of
    each token, sampled or forced, under the network's own distribution: temperature 1, masked by the grammar alone; and
    the state after the tokens as `h_next`, `c_next`, `clock_next`, `grammar_next`, perhaps `remaining_next`, and
    `registers_next`, or `token_next` and perhaps `notes_next` and `note_profile_next`. The logits of step k are the
    inner value `logits_k`.
    """
    graph = Graph(f"decode_{precision}_{steps}", weights)
    layers, hidden = weights.layers, weights.hidden
    h = _layers(graph, graph.input("h", TensorProto.FLOAT, (layers, "batch", hidden)))
    c = _layers(graph, graph.input("c", TensorProto.FLOAT, (layers, "batch", hidden)))
    positions = _positions(graph, steps)
    grammar = Grammar(graph)
    states = grammar.split(graph.input("grammar", TensorProto.INT64, ("batch",)))
    uniforms = graph.split(graph.input("uniforms", TensorProto.FLOAT, ("batch", steps)), steps, axis=1)
    forced_tokens = graph.input("forced", TensorProto.INT64, ("batch", steps))
    is_forced = graph.split(graph.op("GreaterOrEqual", forced_tokens, graph.integers(0)), steps, axis=1)
    forced = graph.split(forced_tokens, steps, axis=1)
    biases = _biases(graph, steps)
    remaining: DecodeRemaining | None = None
    if weights.remaining is not None:
        left = graph.input(REMAINING, TensorProto.INT64, ("batch",))
        remaining = DecodeRemaining(graph, left, positions[:-1], closing_temperature)
    sampler = Sampler(graph, bounded=precision == "int8")  # which runs on CPUs alone
    arithmetic: Arithmetic = ARITHMETIC[precision](graph)
    token, voice_states, voices, columns = "", "", None, ""
    if weights.linear is None:
        token = graph.input("token", TensorProto.INT64, ("batch",))
    else:
        voice_states = graph.input(VOICE_STATE, TensorProto.FLOAT, ("batch", weights.linear.size))
        voices = DecodeVoices(graph, voice_states)
    notes = None if weights.notes is None else DecodeNotes(graph, arithmetic)
    recurrent = [arithmetic.activations(part) for part in h]

    tokens, masked = [], []
    for step in range(steps):
        if voices is None:
            values = graph.embedding(token, positions[step], states[: weights.feature_automata])
        else:
            values, columns = voices.embedding(positions[step])
        factor: str | None = None
        if remaining is not None:
            embedded, factor = remaining.step(step)
            values = graph.op("Add", values, embedded)
        if notes is not None:
            values = graph.op("Add", values, notes.embedding())
        below = arithmetic.activations(values)
        activations = [below]
        for layer in range(layers):
            h[layer], c[layer] = _cell(graph, arithmetic.gates(layer, below, recurrent[layer]), c[layer])
            below = recurrent[layer] = arithmetic.activations(h[layer])
            activations.append(below)
        logits = arithmetic.output(activations if weights.skip else activations[-1:])
        if voices is not None:
            logits = voices.logits(logits, columns)
        if notes is not None:
            logits = notes.logits(logits)
        logits = graph.named(f"logits_{step}", "Identity", logits)
        masked.append(grammar.mask(logits, states))
        sampled = sampler.sample(masked[-1], biases[step], uniforms[step], factor)
        tokens.append(graph.op("Where", is_forced[step], forced[step], sampled))  # (batch, 1)
        token = graph.squeeze(tokens[-1], 1)
        states = grammar.advance(states, token)
        if remaining is not None:
            remaining.advance(token)
        if voices is not None:
            voice_states = voices.advance(token)
        if notes is not None:
            notes.advance(token)

    joined = graph.op("Concat", *tokens, axis=1) if steps > 1 else tokens[0]
    graph.output(joined, "tokens", TensorProto.INT64, ("batch", steps))
    graph.output(_log_probabilities(graph, masked, joined), "log_probabilities", TensorProto.FLOAT, ("batch", steps))
    for name, parts in (("h" + NEXT, h), ("c" + NEXT, c)):
        stacked = [graph.unsqueeze(part, 0) for part in parts]
        graph.output(graph.op("Concat", *stacked, axis=0), name, TensorProto.FLOAT, (layers, "batch", hidden))
    after = {POSITION: positions[-1], "grammar": grammar.joint(states)}
    if remaining is not None:
        after[REMAINING] = remaining.after()
    for name, value in after.items():
        graph.output(value, name + NEXT, TensorProto.INT64, ("batch",))
    if notes is not None:
        row, profile = notes.after()
        graph.output(row, NOTE_STATE + NEXT, TensorProto.INT32, ("batch", notes.size))
        graph.output(profile, NOTE_PROFILE + NEXT, TensorProto.FLOAT, ("batch", notes.profile_size))
    if weights.linear is None:
        graph.output(token, "token" + NEXT, TensorProto.INT64, ("batch",))
    else:
        graph.output(voice_states, VOICE_STATE + NEXT, TensorProto.FLOAT, ("batch", weights.linear.size))
    return graph.model()


def _positions(graph: Graph, steps: int) -> list[str]:
    """Position indices (batch,) of each step and after the last one."""
    positions = [graph.input(POSITION, TensorProto.INT64, ("batch",))]
    for _ in range(steps):
        positions.append(graph.op("Gather", graph.weight(POSITION_SUCCESSOR), positions[-1]))
    return positions


def _layers(graph: Graph, state: str) -> list[str]:
    """The state of each layer, (batch, hidden)."""
    return [graph.squeeze(part, 0) for part in graph.split(state, graph.weights.layers, axis=0)]


def _biases(graph: Graph, steps: int) -> list[str]:
    """The biases of each step, (batch, vocabulary). One Gather and one Split cost less than a Gather in every step."""
    table = graph.input("bias", TensorProto.FLOAT, ("biases", graph.weights.vocabulary))
    index = graph.input("bias_index", TensorProto.INT64, ("batch", steps))
    by_step = graph.op("Reshape", graph.op("Transpose", index, perm=[1, 0]), graph.integers(-1))
    rows = graph.op("Gather", table, by_step)
    return graph.ops("Split", rows, count=steps, axis=0) if steps > 1 else [rows]


def _log_probabilities(graph: Graph, masked: list[str], tokens: str) -> str:
    """Log-probabilities (batch, steps) of tokens (batch, steps), from each step's masked logits (batch, vocabulary).

    All steps at once, after the last one: a node for each step would cost more.
    """
    steps, vocabulary = len(masked), graph.weights.vocabulary
    joined = graph.op("Concat", *masked, axis=1) if steps > 1 else masked[0]
    by_step = graph.op("Reshape", joined, graph.integers(-1, steps, vocabulary))
    logits, bounded = bounded_below(graph, by_step, axis=2)
    places = graph.unsqueeze(tokens, 2)
    logarithm, logit, lifted = (
        graph.op("GatherElements", values, places, axis=2)
        for values in (graph.op("LogSoftmax", bounded, axis=2), logits, bounded)
    )
    # A forced token may lie below the bound. For all others the difference is 0.
    return graph.squeeze(graph.op("Add", logarithm, graph.op("Sub", logit, lifted)), 2)


def _cell(graph: Graph, gates: list[str], c: str) -> tuple[str, str]:
    """One LSTM cell from its pre-activations, (batch, hidden) for each of `GATES`."""
    i, o, f = (graph.op("Sigmoid", gate) for gate in gates[:3])
    c = graph.op("Add", graph.op("Mul", f, c), graph.op("Mul", i, graph.op("Tanh", gates[3])))
    return graph.op("Mul", o, graph.op("Tanh", c)), c
