"""The real graphs in ONNX Runtime, compared with a NumPy reference and with other batches."""

import dataclasses
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.bundle import Bundle, load_bundle
from music.grammar import FORBIDDEN
from runtime.host_runner import HostRunner
from runtime.runner import Chunk, Decoded
from runtime.scorer import Scorer, log_probabilities
from tests.unit.runtime.runner_driver import some_length
from training.evaluation.decode_scoring import DecodeScorer

SLOTS = 24
STEPS = 32


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture(scope="module", params=["float32", "int8"])
def runner(small: Bundle, request: pytest.FixtureRequest) -> HostRunner:
    return HostRunner(small, slots=SLOTS, provider="cpu", threads=1, precision=request.param)


def scorer_of(bundle: Bundle, runner: HostRunner) -> DecodeScorer:
    """Computes the logits that the runner samples from; in float32 those of the scoring graph, except for rounding."""
    return DecodeScorer(bundle, runner.precision, threads=1)


def logits_of(scorer: DecodeScorer, tokens: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """The logits before the tokens (rows, steps) that `decode` returned for the first rows."""
    rows = range(len(tokens))
    return scorer.logits(list(tokens), [row % 5 for row in rows], [some_length(row) for row in rows])


class Requests:
    """Random sampling inputs for every slot, for `STEPS` steps."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.uniforms = random.random((SLOTS, STEPS), dtype=np.float32)
        self.temperature = random.uniform(0.5, 2.0, SLOTS).astype(np.float32)
        self.top_k = random.integers(0, vocabulary + 5, SLOTS)
        self.top_p = random.uniform(0.3, 1.0, SLOTS).astype(np.float32)
        self.bias = random.normal(0, 1, (40, vocabulary)).astype(np.float32)
        self.bias[random.random(self.bias.shape) < 0.5] = 0
        self.bias[random.random(self.bias.shape) < 0.2] = FORBIDDEN
        self.bias[:, 2:4] = 0  # REST and HOLD, so that something is always left
        self.bias_index = random.integers(0, len(self.bias), (SLOTS, STEPS))
        self.forced = np.where(random.random((SLOTS, STEPS)) < 0.1, 2, -1).astype(np.int64)

    def chunk(self, rows: NDArray[np.intp], first: int, steps: int) -> Chunk:
        part = slice(first, first + steps)
        return Chunk(
            rows=rows,
            uniforms=np.ascontiguousarray(self.uniforms[rows, part]),
            forced=np.ascontiguousarray(self.forced[rows, part]),
            temperature=self.temperature[rows],
            top_k=self.top_k[rows],
            top_p=self.top_p[rows],
            bias=self.bias,
            bias_index=np.ascontiguousarray(self.bias_index[rows, part]),
        )


def joined(parts: Iterable[Decoded]) -> Decoded:
    """Several results of the same rows as one."""
    tokens, log_probabilities = zip(*((part.tokens, part.log_probabilities) for part in parts), strict=True)
    return Decoded(np.concatenate(tokens, axis=1), np.concatenate(log_probabilities, axis=1))


def bits(decoded: Decoded) -> tuple[list[list[int]], list[list[int]]]:
    """The tokens, and the bits of their log-probabilities."""
    return decoded.tokens.tolist(), decoded.log_probabilities.view(np.int32).tolist()


def decode(runner: HostRunner, requests: Requests, rows: list[int], sizes: list[int]) -> Decoded:
    for row in rows:
        runner.reset(row, row % 5, some_length(row))
    first = np.cumsum([0, *sizes[:-1]]).tolist()
    return joined(
        runner.decode(requests.chunk(np.array(rows), at, steps)) for at, steps in zip(first, sizes, strict=True)
    )


def state_of(runner: HostRunner, slot: int) -> dict[str, bytes]:
    """The slot's state, bit by bit."""
    return {name: values.tobytes() for name, values in runner.state(slot).items()}


@pytest.mark.slow
@given(
    rows=st.sets(st.integers(0, SLOTS - 1), min_size=1).map(sorted),
    sizes=st.sampled_from([[1] * STEPS, [4] * 8, [16] * 2, [16, 4, 4, 1, 1, 1, 1, 4], [1, 16, 1, 4, 4, 4, 1, 1]]),
    seed=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_a_row_is_independent_of_other_rows_and_of_the_chunks(
    runner: HostRunner, rows: list[int], sizes: list[int], seed: int
) -> None:
    """Its tokens, their log-probabilities, and every bit of its state, which would affect later tokens."""
    requests = Requests(runner.vocabulary, seed)
    together = decode(runner, requests, rows, sizes)
    states = {row: state_of(runner, row) for row in (rows[0], rows[len(rows) // 2], rows[-1])}
    for row, state in states.items():
        alone = decode(runner, requests, [row], [1] * STEPS)
        place = slice(rows.index(row), rows.index(row) + 1)
        assert bits(alone) == bits(Decoded(together.tokens[place], together.log_probabilities[place]))
        assert state_of(runner, row) == state


@given(
    rows=st.sets(st.integers(0, SLOTS - 1), min_size=1).map(sorted),
    seed=st.integers(0, 3),
    steps=st.sampled_from([1, 5, 15]),
)
@settings(max_examples=20, deadline=None)
def test_first_tokens_equal_those_of_a_chunk(runner: HostRunner, rows: list[int], seed: int, steps: int) -> None:
    requests = Requests(runner.vocabulary, seed)
    expected = decode(runner, requests, rows, [1] * steps + [16])
    states = {row: state_of(runner, row) for row in rows}
    assert runner.first_token_runner is not None
    position_indices = np.array(rows, np.int64) % 5
    lengths = np.array([some_length(row) for row in rows])
    opened = runner.first_token_runner.decode(position_indices, lengths, requests.chunk(np.array(rows), 0, steps))
    for row, state in zip(rows, opened.states, strict=True):
        runner.resume(row, state)
    rest = runner.decode(requests.chunk(np.array(rows), steps, 16))
    assert bits(joined([opened, rest])) == bits(expected)
    assert {row: state_of(runner, row) for row in rows} == states


def test_first_tokens_may_be_decoded_while_the_runner_runs(runner: HostRunner) -> None:
    requests, rows = Requests(runner.vocabulary, 7), list(range(SLOTS))
    expected = decode(runner, requests, rows, [16, 16])
    first_token_runner = runner.first_token_runner
    assert first_token_runner is not None
    chunk = requests.chunk(np.array([5]), 0, 1)
    stopping = threading.Event()

    def open_on_and_on() -> list[int]:
        tokens = []
        while not stopping.is_set():
            tokens.append(int(first_token_runner.decode(np.array([0]), np.array([9]), chunk).tokens[0, 0]))
        return tokens

    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(open_on_and_on)
        try:
            for _ in range(10):
                assert bits(decode(runner, requests, rows, [16, 16])) == bits(expected)
        finally:
            stopping.set()
    assert len(set(opened.result())) == 1


def test_a_row_does_not_depend_on_its_slot(runner: HostRunner) -> None:
    requests = Requests(runner.vocabulary, 9)
    here = decode(runner, requests, [3], [16, 16])
    for name in ("uniforms", "forced", "temperature", "top_k", "top_p", "bias_index"):
        getattr(requests, name)[20] = getattr(requests, name)[3]
    runner.reset(20, 3, some_length(3))
    chunks = [runner.decode(requests.chunk(np.array([20]), first, 16)) for first in (0, 16)]
    assert bits(joined(chunks)) == bits(here)


def reference_draw(
    logits: NDArray[np.float32],
    bias: NDArray[np.float64],
    uniform: float,
    temperature: float,
    top_k: int,
    top_p: float,
) -> set[int]:
    """The tokens that temperature, bias, top-k and top-p, in this order, allow; several if rounding decides."""
    scaled = logits.astype(np.float64) / temperature + bias
    order = np.argsort(-scaled, kind="stable")
    probabilities = np.exp(scaled[order] - scaled[order[0]])
    probabilities /= probabilities.sum()
    cumulative = probabilities.cumsum()
    answers = set()
    for slack in (-1e-5, 0.0, 1e-5):
        kept = cumulative - probabilities < top_p + slack
        kept &= (np.arange(len(order)) < (top_k or len(order))) & (probabilities > 0)
        mass = cumulative[kept][-1]
        for nudge in (-1e-5, 0.0, 1e-5):
            rank = int(np.searchsorted(cumulative[kept], min(max(uniform * mass + nudge, 0), mass), side="right"))
            answers.add(int(order[min(rank, int(kept.sum()) - 1)]))
    return answers


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_graph_samples_like_numpy(small: Bundle, runner: HostRunner, seed: int) -> None:
    """Each token is one that the definition allows for its logits."""
    requests = Requests(runner.vocabulary, seed + 100)
    tokens = decode(runner, requests, list(range(SLOTS)), [16, 16]).tokens
    scorer, grammar = scorer_of(small, runner), small.tokenizer.grammar
    logits = logits_of(scorer, tokens)
    for row in range(SLOTS):
        states = grammar.own_states(tokens[row])
        for step in range(STEPS):
            if requests.forced[row, step] >= 0:
                assert tokens[row, step] == requests.forced[row, step]
                continue
            bias = requests.bias[requests.bias_index[row, step]].astype(np.float64)
            expected = reference_draw(
                logits[row][step],
                np.where(grammar.allowed[states[step]] & (bias > FORBIDDEN), bias, -np.inf),
                float(requests.uniforms[row, step]),
                float(requests.temperature[row]),
                int(requests.top_k[row]),
                float(requests.top_p[row]),
            )
            assert tokens[row, step] in expected


def test_samples_follow_the_distribution(small: Bundle) -> None:
    """First tokens of many sequences, against the softmax of the first logits (chi-square, fixed draws)."""
    count = 4096
    runner = HostRunner(small, slots=count, provider="cpu", threads=1, precision="float32")
    for slot in range(count):
        runner.reset(slot, 0)
    vocabulary = runner.vocabulary
    uniforms = ((np.random.default_rng(5).permutation(count) + 0.5) / count).astype(np.float32)[:, None]
    ones = np.ones(count, np.float32)
    chunk = Chunk(
        rows=np.arange(count),
        uniforms=uniforms,
        forced=np.full((count, 1), -1, np.int64),
        temperature=ones,
        top_k=np.zeros(count, np.int64),
        top_p=ones,
        bias=np.zeros((1, vocabulary), np.float32),
        bias_index=np.zeros((count, 1), np.int64),
    )
    seen = np.bincount(runner.decode(chunk).tokens[:, 0], minlength=vocabulary)
    (logits,) = Scorer(small).logits([np.array([2], np.int64)], [0])
    legal = small.tokenizer.grammar.allowed[small.tokenizer.grammar.start]
    weights = np.where(legal, np.exp(logits[0].astype(np.float64)), 0)
    expected = count * weights / weights.sum()
    assert np.abs(seen - expected).max() <= 1.5  # evenly spread uniforms: each count is within one of its share
    assert seen[~legal].sum() == 0


def test_every_sequence_obeys_the_grammar_even_at_extreme_settings(small: Bundle, runner: HostRunner) -> None:
    requests = Requests(runner.vocabulary, 77)
    requests.forced[:] = -1
    requests.temperature[:] = np.where(np.arange(SLOTS) % 2, 10.0, 0.01)
    requests.uniforms[::3] = np.float32(1 - 2**-24)
    requests.uniforms[1::3] = 0.0
    for row, tokens in enumerate(decode(runner, requests, list(range(SLOTS)), [16, 16]).tokens):
        assert small.tokenizer.grammar.accepts(tokens), row


def test_top_k_of_one_takes_the_most_likely_token(small: Bundle, runner: HostRunner) -> None:
    requests = Requests(runner.vocabulary, 3)
    requests.forced[:], requests.top_k[:], requests.bias[:] = -1, 1, 0
    tokens = decode(runner, requests, [0, 1, 2], [16, 16]).tokens
    logits = logits_of(scorer_of(small, runner), tokens)
    grammar = small.tokenizer.grammar
    for row in range(3):
        legal = grammar.allowed[grammar.own_states(tokens[row])]
        assert tokens[row].tolist() == np.where(legal, logits[row], -np.inf).argmax(axis=1).tolist()


def test_other_slots_keep_their_state(runner: HostRunner) -> None:
    requests = Requests(runner.vocabulary, 4)
    whole = decode(runner, requests, [1], [16, 16])
    runner.reset(1, 1, some_length(1))
    first = runner.decode(requests.chunk(np.array([1]), 0, 16))
    decode(runner, requests, [0, 2, 5], [16, 16])
    second = runner.decode(requests.chunk(np.array([1]), 16, 16))
    assert bits(joined([first, second])) == bits(whole)


@pytest.mark.parametrize("sizes", [[16, 16], [4, 16, 1, 1, 4, 4, 1, 1]])
def test_log_probabilities_are_those_of_the_scores(small: Bundle, runner: HostRunner, sizes: list[int]) -> None:
    """Of forced and sampled tokens, whatever temperature, biases, top-k and top-p the request has."""
    decoded = decode(runner, Requests(runner.vocabulary, 11), list(range(SLOTS)), sizes)
    scorer, grammar = scorer_of(small, runner), small.tokenizer.grammar
    logits = logits_of(scorer, decoded.tokens)
    for row, tokens in enumerate(decoded.tokens[:, : sum(sizes)]):
        expected = log_probabilities(logits[row], grammar.masks(tokens), tokens)
        legal = expected > -np.inf
        assert decoded.log_probabilities[row][legal] == pytest.approx(expected[legal], abs=1e-4)
        assert (decoded.log_probabilities[row][~legal] < -1e29).all(), "a forced token that the grammar forbids"
        assert legal.any()


def test_a_state_can_be_resumed_anywhere(small: Bundle, runner: HostRunner) -> None:
    """In another slot and another runner, after a copy through bytes, and from before the last chunk."""
    requests = Requests(runner.vocabulary, 12)
    whole = decode(runner, requests, [3], [16, 16])
    runner.reset(3, 3, some_length(3))
    first = runner.decode(requests.chunk(np.array([3]), 0, 16))
    between = runner.state(3)
    rest = requests.chunk(np.array([3]), 16, 16)
    assert bits(joined([first, runner.decode(rest)])) == bits(whole)
    before = runner.state_before_last_chunk(3)
    assert {name: value.tobytes() for name, value in before.items()} == {
        name: value.tobytes() for name, value in between.items()
    }
    other = HostRunner(small, slots=8, provider="cpu", threads=1, precision=runner.precision)
    sent = {name: (value.tobytes(), value.dtype, value.shape) for name, value in between.items()}
    received = {name: np.frombuffer(data, dtype).reshape(shape) for name, (data, dtype, shape) in sent.items()}
    other.resume(5, received)
    assert bits(joined([first, other.decode(dataclasses.replace(rest, rows=np.array([5])))])) == bits(whole)


def test_copied_states_continue_like_their_source(runner: HostRunner) -> None:
    """One primer in many rows: with equal inputs, all rows write what the source writes."""
    requests = Requests(runner.vocabulary, 13)
    rows = [0, 1, 2, 9]
    decode(runner, requests, rows, [16])
    runner.hold(9)
    state = state_of(runner, 1)
    runner.copy_states(np.array([1, 1, 1]), np.array([0, 9, 20]))
    assert [state_of(runner, slot) for slot in (0, 1, 9, 20)] == [state] * 4
    for name in ("uniforms", "forced", "temperature", "top_k", "top_p", "bias_index"):
        getattr(requests, name)[[0, 9, 20]] = getattr(requests, name)[1]
    decoded = runner.decode(requests.chunk(np.array([0, 1, 9, 20]), 16, 16))
    assert len(np.unique(decoded.tokens, axis=0)) == len(np.unique(decoded.log_probabilities, axis=0)) == 1
