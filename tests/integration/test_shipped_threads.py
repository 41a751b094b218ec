"""The shipped network is large enough for ONNX Runtime to use several threads."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import runtime.session
from music.bundle import load_bundle
from runtime.host_runner import HostRunner
from runtime.runner import Chunk
from server.engine.prefill_queue import SLICE_TOKENS

SLOTS = 64
RUNS = 3


def written(precision: Literal["auto", "float32"], *, threads: int) -> NDArray[np.int64]:
    """Tokens of every slot after a primer, their log-probabilities, and the state, (slots, values)."""
    bundle = load_bundle(Path("models/chorales"))
    runner = HostRunner(bundle, slots=SLOTS, provider="cpu", threads=threads, precision=precision)
    steps = runner.chunk_sizes[-1]
    for slot in range(SLOTS):
        runner.reset(slot, slot)
        list(runner.prefill(slot, np.full(SLICE_TOKENS + 5, 2 + slot % 40), SLICE_TOKENS))
    chunks, rows = [], np.arange(SLOTS)
    for run in range(RUNS):
        chunk = Chunk(
            rows=rows,
            uniforms=np.random.default_rng(run).random((SLOTS, steps), dtype=np.float32),
            forced=np.full((SLOTS, steps), -1, np.int64),
            temperature=np.full(SLOTS, 1.5, np.float32),
            top_k=np.zeros(SLOTS, np.int64),
            top_p=np.ones(SLOTS, np.float32),
            bias=np.zeros((1, runner.vocabulary), np.float32),
            bias_index=np.zeros((SLOTS, steps), np.int64),
        )
        decoded = runner.decode(chunk)
        chunks += [decoded.tokens, decoded.log_probabilities.view(np.int32)]  # bit for bit
    state = np.stack([runner.state(slot)["h"].view(np.int32).reshape(-1) for slot in range(SLOTS)])
    return np.concatenate([*chunks, state], axis=1)


@pytest.mark.parametrize("spinning", [False, True])
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_threads_do_not_change_a_bit(
    monkeypatch: pytest.MonkeyPatch, precision: Literal["auto", "float32"], spinning: bool
) -> None:
    alone = written(precision, threads=1)
    monkeypatch.setattr(runtime.session, "may_spin", lambda threads, cpu: spinning)
    for threads in (2, 3):
        assert np.array_equal(written(precision, threads=threads), alone)
