"""The shipped network is large enough for ONNX Runtime to share its products out among threads."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import server.engine.onnx_runner
from music.bundle import load_bundle
from server.engine.onnx_runner import OnnxRunner
from server.engine.primers import SLICE_TOKENS
from server.engine.runner import Chunk

SLOTS = 64
RUNS = 3


def written(precision: Literal["auto", "float32"], *, threads: int) -> NDArray[np.int64]:
    """What every slot writes after a primer, (slots, tokens): as a rule another for another last bit of the state."""
    bundle = load_bundle(Path("models/chorales"))
    runner = OnnxRunner(bundle, slots=SLOTS, provider="cpu", threads=threads, precision=precision)
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
            allowed=np.ones((SLOTS, runner.vocabulary), np.bool_),
        )
        chunks.append(runner.decode(chunk))
    state = np.stack([runner._state.of(slot)["h"].view(np.int32).reshape(-1) for slot in range(SLOTS)])  # bit for bit
    return np.concatenate([*chunks, state], axis=1)


@pytest.mark.parametrize("spinning", [False, True])
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_threads_do_not_change_a_bit(
    monkeypatch: pytest.MonkeyPatch, precision: Literal["auto", "float32"], spinning: bool
) -> None:
    alone = written(precision, threads=1)
    monkeypatch.setattr(server.engine.onnx_runner, "may_spin", lambda threads, cpu: spinning)
    for threads in (2, 3):
        assert np.array_equal(written(precision, threads=threads), alone)
