"""The real graph in ONNX Runtime, against a NumPy reference and against itself in other company."""

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.bundle import Bundle, load_bundle
from music.errors import BundleMismatchError
from music.manifest import MANIFEST
from server.engine.errors import ProviderUnavailableError
from server.engine.onnx_runner import OnnxRunner, OnnxScorer
from server.engine.runner import Chunk
from training.decoded import DecodeScorer

SLOTS = 24
STEPS = 32


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture(scope="module", params=["float32", "int8"])
def runner(small: Bundle, request: pytest.FixtureRequest) -> OnnxRunner:
    return OnnxRunner(small, slots=SLOTS, provider="cpu", threads=1, precision=request.param)


def scorer_of(bundle: Bundle, runner: OnnxRunner) -> DecodeScorer:
    """The logits that the runner draws from; those of float32 are, but for rounding, the prefill graph's."""
    return DecodeScorer(bundle, runner.precision, threads=1)


class Requests:
    """Random sampling inputs for every slot, for `STEPS` steps."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.uniforms = random.random((SLOTS, STEPS), dtype=np.float32)
        self.temperature = random.uniform(0.5, 2.0, SLOTS).astype(np.float32)
        self.top_k = random.integers(0, vocabulary + 5, SLOTS)
        self.top_p = random.uniform(0.3, 1.0, SLOTS).astype(np.float32)
        self.allowed = random.random((SLOTS, vocabulary)) < 0.8
        self.allowed[:, 2:4] = True  # REST and HOLD, so that something is always left
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
            allowed=self.allowed[rows],
        )


def decode(runner: OnnxRunner, requests: Requests, rows: list[int], sizes: list[int]) -> NDArray[np.int64]:
    for row in rows:
        runner.reset(row, row % 5)
    parts, first = [], 0
    for steps in sizes:
        parts.append(runner.decode(requests.chunk(np.array(rows), first, steps)))
        first += steps
    return np.concatenate(parts, axis=1)


def state_of(runner: OnnxRunner, slot: int) -> dict[str, bytes]:
    """The slot's state, bit by bit."""
    return {name: values.tobytes() for name, values in runner._state.of(slot).items()}


@given(
    rows=st.sets(st.integers(0, SLOTS - 1), min_size=1).map(sorted),
    sizes=st.sampled_from([[1] * STEPS, [4] * 8, [16] * 2, [16, 4, 4, 1, 1, 1, 1, 4], [1, 16, 1, 4, 4, 4, 1, 1]]),
    seed=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_a_row_depends_neither_on_its_company_nor_on_the_chunks(
    runner: OnnxRunner, rows: list[int], sizes: list[int], seed: int
) -> None:
    """Neither its tokens nor a bit of its state, which would show in some later token of some other request."""
    requests = Requests(runner.vocabulary, seed)
    together = decode(runner, requests, rows, sizes)
    states = {row: state_of(runner, row) for row in (rows[0], rows[len(rows) // 2], rows[-1])}
    for row, state in states.items():
        alone = decode(runner, requests, [row], [1] * STEPS)
        assert alone[0].tolist() == together[rows.index(row)].tolist()
        assert state_of(runner, row) == state


@given(
    rows=st.sets(st.integers(0, SLOTS - 1), min_size=1).map(sorted),
    seed=st.integers(0, 3),
    steps=st.sampled_from([1, 5, 15]),
)
@settings(max_examples=20, deadline=None)
def test_an_opener_begins_as_a_chunk_would(runner: OnnxRunner, rows: list[int], seed: int, steps: int) -> None:
    requests = Requests(runner.vocabulary, seed)
    expected = decode(runner, requests, rows, [1] * steps + [16])
    states = {row: state_of(runner, row) for row in rows}
    assert runner.opener is not None
    clock_rows = np.array(rows, np.int64) % 5
    opened = runner.opener.open(clock_rows, requests.chunk(np.array(rows), 0, steps))
    for row, state in zip(rows, opened.states, strict=True):
        runner.resume(row, state)
    rest = runner.decode(requests.chunk(np.array(rows), steps, 16))
    assert np.concatenate([opened.tokens, rest], axis=1).tolist() == expected.tolist()
    assert {row: state_of(runner, row) for row in rows} == states


def test_an_opener_may_be_called_while_the_runner_runs(runner: OnnxRunner) -> None:
    requests, rows = Requests(runner.vocabulary, 7), list(range(SLOTS))
    expected = decode(runner, requests, rows, [16, 16])
    opener = runner.opener
    assert opener is not None
    chunk = requests.chunk(np.array([5]), 0, 1)
    stopping = threading.Event()

    def open_on_and_on() -> list[int]:
        tokens = []
        while not stopping.is_set():
            tokens.append(int(opener.open(np.array([0]), chunk).tokens[0, 0]))
        return tokens

    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(open_on_and_on)
        try:
            for _ in range(10):
                assert decode(runner, requests, rows, [16, 16]).tolist() == expected.tolist()
        finally:
            stopping.set()
    assert len(set(opened.result())) == 1


def test_a_row_does_not_depend_on_its_slot(runner: OnnxRunner) -> None:
    requests = Requests(runner.vocabulary, 9)
    here = decode(runner, requests, [3], [16, 16])
    for name in ("uniforms", "forced", "temperature", "top_k", "top_p", "allowed"):
        getattr(requests, name)[20] = getattr(requests, name)[3]
    runner.reset(20, 3)
    chunks = [runner.decode(requests.chunk(np.array([20]), first, 16)) for first in (0, 16)]
    assert np.concatenate(chunks, axis=1).tolist() == here.tolist()


def reference_draw(
    logits: NDArray[np.float32], legal: NDArray[np.bool_], uniform: float, temperature: float, top_k: int, top_p: float
) -> set[int]:
    """The tokens that temperature, top-k and top-p in that order may give; several where rounding decides."""
    scaled = np.where(legal, logits.astype(np.float64) / temperature, -np.inf)
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


@pytest.mark.parametrize("seed", range(4))
def test_the_graph_samples_what_numpy_says(small: Bundle, runner: OnnxRunner, seed: int) -> None:
    """Each token is one that the definition allows, given the logits."""
    requests = Requests(runner.vocabulary, seed + 100)
    tokens = decode(runner, requests, list(range(SLOTS)), [16, 16])
    scorer, grammar = scorer_of(small, runner), small.tokenizer.grammar
    logits = scorer.logits(list(tokens), [row % 5 for row in range(SLOTS)])
    for row in range(SLOTS):
        states = grammar.states(tokens[row])
        for step in range(STEPS):
            if requests.forced[row, step] >= 0:
                assert tokens[row, step] == requests.forced[row, step]
                continue
            expected = reference_draw(
                logits[row][step],
                grammar.allowed[states[step]] & requests.allowed[row],
                float(requests.uniforms[row, step]),
                float(requests.temperature[row]),
                int(requests.top_k[row]),
                float(requests.top_p[row]),
            )
            assert tokens[row, step] in expected


def test_the_draws_follow_the_distribution(small: Bundle) -> None:
    """First tokens of many sequences, against the softmax of the first logits (chi-square, fixed draws)."""
    count = 4096
    runner = OnnxRunner(small, slots=count, provider="cpu", threads=1, precision="float32")
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
        allowed=np.ones((count, vocabulary), np.bool_),
    )
    seen = np.bincount(runner.decode(chunk)[:, 0], minlength=vocabulary)
    (logits,) = OnnxScorer(small).logits([np.array([2], np.int64)], [0])
    legal = small.tokenizer.grammar.allowed[small.tokenizer.grammar.start]
    weights = np.where(legal, np.exp(logits[0].astype(np.float64)), 0)
    expected = count * weights / weights.sum()
    assert np.abs(seen - expected).max() <= 1.5  # evenly spread uniforms: each count is within one of its share
    assert seen[~legal].sum() == 0


def test_every_sequence_obeys_the_grammar_even_at_extreme_settings(small: Bundle, runner: OnnxRunner) -> None:
    requests = Requests(runner.vocabulary, 77)
    requests.forced[:] = -1
    requests.temperature[:] = np.where(np.arange(SLOTS) % 2, 10.0, 0.01)
    requests.uniforms[::3] = np.float32(1 - 2**-24)
    requests.uniforms[1::3] = 0.0
    for row, tokens in enumerate(decode(runner, requests, list(range(SLOTS)), [16, 16])):
        assert small.tokenizer.grammar.accepts(tokens), row


def test_top_k_of_one_takes_the_likeliest(small: Bundle, runner: OnnxRunner) -> None:
    requests = Requests(runner.vocabulary, 3)
    requests.forced[:], requests.top_k[:], requests.allowed[:] = -1, 1, True
    tokens = decode(runner, requests, [0, 1, 2], [16, 16])
    logits = scorer_of(small, runner).logits(list(tokens), [0, 1, 2])
    grammar = small.tokenizer.grammar
    for row in range(3):
        legal = grammar.allowed[grammar.states(tokens[row])]
        assert tokens[row].tolist() == np.where(legal, logits[row], -np.inf).argmax(axis=1).tolist()


def test_other_slots_keep_their_state(runner: OnnxRunner) -> None:
    requests = Requests(runner.vocabulary, 4)
    whole = decode(runner, requests, [1], [16, 16])
    runner.reset(1, 1)
    first = runner.decode(requests.chunk(np.array([1]), 0, 16))
    decode(runner, requests, [0, 2, 5], [16, 16])
    second = runner.decode(requests.chunk(np.array([1]), 16, 16))
    assert np.concatenate([first, second], axis=1).tolist() == whole.tolist()


def test_cuda_is_refused_where_there_is_none(small: Bundle) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ProviderUnavailableError, match="has no CUDA"):
        OnnxRunner(small, slots=1, provider="cuda")
    assert OnnxRunner(small, slots=1, provider="auto").provider == "CPUExecutionProvider"


class Fallen:
    """A session that was asked for CUDA and fell back without a word."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_a_session_that_fell_back_to_the_cpu_is_found_out(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """`get_available_providers` names CUDA on machines without a GPU; the session tells the truth."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
    with pytest.raises(ProviderUnavailableError, match="no session runs on it"):
        OnnxRunner(small, slots=1, provider="cuda")


def test_graphs_that_are_not_what_the_manifest_says_are_refused(small_bundle: Path, tmp_path: Path) -> None:
    from music.bundle_files import file_sha256

    swapped = Path(shutil.copytree(small_bundle, tmp_path / "swapped"))
    shutil.copyfile(swapped / "decode_float32_4.onnx", swapped / "decode_float32_1.onnx")
    manifest = json.loads((swapped / MANIFEST).read_text())
    manifest["files"]["decode_float32_1.onnx"] = file_sha256(swapped / "decode_float32_1.onnx")
    (swapped / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleMismatchError, match=r"decode_float32_1.onnx: uniforms has shape"):
        OnnxRunner(load_bundle(swapped), slots=1, precision="float32")
    (swapped / "decode_float32_1.onnx").write_bytes(b"no graph")
    manifest["files"]["decode_float32_1.onnx"] = file_sha256(swapped / "decode_float32_1.onnx")
    (swapped / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleMismatchError, match=r"decode_float32_1.onnx is no ONNX graph"):
        load_bundle(swapped)
    (swapped / "decode_float32_1.onnx").write_bytes(b"\x08\x09")  # a model without a graph
    manifest["files"]["decode_float32_1.onnx"] = file_sha256(swapped / "decode_float32_1.onnx")
    (swapped / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleMismatchError, match=r"decode_float32_1.onnx does not load"):
        OnnxRunner(load_bundle(swapped), slots=1, precision="float32")


def test_onnx_runtime_is_told_to_keep_to_itself_before_it_is_imported() -> None:
    """In a fresh process, since this one has imported it long ago."""
    spy = (
        "import builtins, os; real = builtins.__import__\n"
        "def spy(name, *rest, **more):\n"
        "    if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = spy\n"
        "import server.engine.onnx_runner"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    ended = subprocess.run([sys.executable, "-c", spy], capture_output=True, text=True, check=True, env=environment)  # noqa: S603
    assert ended.stdout.splitlines()[0] == "1"
