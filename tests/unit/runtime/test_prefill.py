"""The real prefill graph in ONNX Runtime, compared with single steps through the same tokens."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from music.bundle import Bundle, load_bundle
from music.errors import BundleMismatchError
from music.graph_names import POSITION, VOICE_STATE
from music.manifest import MANIFEST
from music.score import TICKS_PER_QUARTER, Meter
from music.tokenizers import EventsTokenizer, GridTokenizer, NoteChordTokenizer, Tokenizer
from runtime.host_runner import HostRunner
from runtime.prefill import Prefill, PrefillInputs
from runtime.runner import Chunk
from runtime.sampling import SamplingParams
from runtime.session import open_session
from server.engine.engine import Engine
from server.engine.prefill_queue import SLICE_TOKENS
from server.engine.request import EngineRequest
from tests.unit.music.voice_reference import next_profile, next_state

PRIMER_TOKENS = 2 * SLICE_TOKENS + 21


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def legal(tokenizer: Tokenizer, count: int, seed: int = 1) -> NDArray[np.int64]:
    """Tokens that the grammar accepts, without the end token."""
    random, grammar, state = np.random.default_rng(seed), tokenizer.grammar, tokenizer.grammar.joint_start
    tokens = np.empty(count, np.int64)
    for index in range(count):
        allowed = grammar.joint_allowed(state).copy()
        allowed[tokenizer.end_token] = False
        tokens[index] = random.choice(np.flatnonzero(allowed))
        state = grammar.joint_successor(state, int(tokens[index]))
    return tokens


@pytest.mark.parametrize(
    "tokenizer",
    [
        GridTokenizer(voices=4, lowest_pitch=36, highest_pitch=81, voice_order=(0, 3, 1, 2)),
        EventsTokenizer(lowest_pitch=40, highest_pitch=80, meters=(Meter(4, 4), Meter(3, 4))),
        NoteChordTokenizer(names=("A4", "B4", "C4"), step_ticks=TICKS_PER_QUARTER // 2),
    ],
    ids=lambda tokenizer: tokenizer.name,
)
@pytest.mark.parametrize("count", [1, 2, 3, 150])
def test_inputs_equal_those_of_single_steps(tokenizer: Tokenizer, count: int) -> None:
    tokens, position = legal(tokenizer, count), tokenizer.positions.start(tokenizer.positions.meters[-1])
    inputs = PrefillInputs(tokenizer, tokens, position)
    previous, grammar = tokenizer.start_token, tokenizer.grammar.joint_start
    tracker = tokenizer.voice_tracker
    voice_states = tracker.initial if tracker else np.zeros(0, np.int64)
    profile = inputs.profile[0] if inputs.profile is not None else np.zeros(0, np.float32)
    for row, token in enumerate([*tokens.tolist(), None]):
        assert (inputs.previous[row], inputs.position_indices[row], inputs.joint_grammar[row]) == (
            previous,
            position,
            grammar,
        )
        if tracker and inputs.voice_states is not None and inputs.profile is not None:
            assert inputs.voice_states[row].tolist() == voice_states.tolist()
            assert inputs.profile[row] == pytest.approx(profile, abs=1e-4)
        if token is None:
            break
        previous, position = token, int(tokenizer.positions.successor[position])
        grammar = tokenizer.grammar.joint_successor(grammar, token)
        if tracker:
            voice_states = next_state(tracker, voice_states, token)
            profile = next_profile(tracker, profile, int(voice_states[0]))
    assert len(inputs.previous) == count + 1


def forcing(slot: int, tokens: NDArray[np.int64], vocabulary: int) -> Chunk:
    return Chunk(
        rows=np.array([slot]),
        uniforms=np.zeros((1, len(tokens)), np.float32),
        forced=tokens[None],
        temperature=np.ones(1, np.float32),
        top_k=np.zeros(1, np.int64),
        top_p=np.ones(1, np.float32),
        bias=np.zeros((1, vocabulary), np.float32),
        bias_index=np.zeros((1, len(tokens)), np.int64),
    )


@pytest.mark.parametrize("slice_tokens", [1, 50, SLICE_TOKENS, 1000])
def test_a_prefill_leaves_the_state_of_single_steps(small: Bundle, slice_tokens: int) -> None:
    runner = HostRunner(small, slots=3, provider="cpu", threads=1, precision="float32")
    tokens = legal(small.tokenizer, PRIMER_TOKENS)
    runner.reset(0, 2, PRIMER_TOKENS + 9)
    for step in range(PRIMER_TOKENS):
        runner.decode(forcing(0, tokens[step : step + 1], runner.vocabulary))
    runner.reset(2, 2, PRIMER_TOKENS + 9)
    read = list(runner.prefill(2, tokens, slice_tokens))
    assert sum(read) == PRIMER_TOKENS
    assert max(read) <= slice_tokens
    stepped, untouched, primed = (runner.state(slot) for slot in range(3))
    assert np.abs(stepped["h"]).max() > 0.01
    for name in ("h", "c"):
        assert primed[name] == pytest.approx(stepped[name], abs=1e-4)
    assert primed["remaining"] == 9
    assert primed.keys() == {"h", "c", POSITION, "grammar", "remaining", VOICE_STATE}
    for name in (POSITION, "grammar", "remaining", VOICE_STATE):
        assert primed[name].tolist() == pytest.approx(stepped[name].tolist(), abs=1e-3)
    assert not untouched["h"].any()


def test_a_reset_ends_an_unfinished_prefill(small: Bundle) -> None:
    runner = HostRunner(small, slots=2, provider="cpu", threads=1)
    tokens = legal(small.tokenizer, PRIMER_TOKENS)
    runner.reset(0, 0)
    next(runner.prefill(0, tokens, SLICE_TOKENS))
    for slot in range(2):
        runner.reset(slot, 0)
    chunks = [runner.decode(forcing(slot, np.full(4, -1), runner.vocabulary)).tokens.tolist() for slot in range(2)]
    assert chunks[0] == chunks[1]


@pytest.mark.slow
def test_tokens_after_a_prefill_are_the_same_at_any_load(small: Bundle) -> None:
    """Alone, and with other requests that decode and prefill, in every slot."""
    requests = [
        EngineRequest(
            seed=seed,
            max_tokens=length + 60,
            position_index=seed % 3,
            remaining=length + 60,
            sampling=SamplingParams(temperature=1.2, top_p=0.95),
            forced=tuple(legal(small.tokenizer, length, seed).tolist()),
        )
        for seed, length in enumerate([PRIMER_TOKENS, 0, 300, SLICE_TOKENS, SLICE_TOKENS - 1, 70, 0, PRIMER_TOKENS + 9])
    ]

    def pieces(slots: int, asked: list[EngineRequest]) -> list[list[int]]:
        runner = HostRunner(small, slots=slots, provider="cpu", threads=1)
        engine = Engine(runner, queue_limit=len(asked), name="small")
        engine.start()
        handles = [engine.submit(request) for request in asked]
        tokens = [handle.future.result(60).tokens.tolist() for handle in handles]
        engine.stop()
        return tokens

    alone = [pieces(1, [request])[0] for request in requests]
    assert pieces(8, requests) == alone
    assert pieces(3, requests[::-1]) == alone[::-1]
    for request, tokens in zip(requests, alone, strict=True):
        assert tokens[: len(request.forced)] == list(request.forced)


def test_a_prefill_graph_of_another_network_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    swapped = Path(shutil.copytree(small_bundle, tmp_path / "swapped"))
    manifest = json.loads((swapped / MANIFEST).read_text())
    manifest["network"]["hidden"] += 1
    (swapped / MANIFEST).write_text(json.dumps(manifest))
    bundle = load_bundle(swapped)
    assert bundle.manifest.graphs.prefill is not None
    session = open_session(bundle, bundle.manifest.graphs.prefill, provider="cpu", threads=1)
    with pytest.raises(BundleMismatchError, match=r"prefill_float32.onnx: h has shape"):
        Prefill(bundle, session)
