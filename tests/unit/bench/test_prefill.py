from pathlib import Path

import pytest

from bench import prefill
from bench.bare_loop import BareLoop
from bench.comparison import MIN_ROUNDS
from bench.options import BenchError
from bench.prefill import RunTimes, measure_prefill
from bench.record import Prefill
from bench.systems import make_requests
from music.bundle import load_bundle
from runtime.host_runner import HostRunner
from server.engine.engine import Engine


def measure(path: Path, monkeypatch: pytest.MonkeyPatch, *, tokens: int, steps: int) -> Prefill:
    monkeypatch.setattr(prefill, "TOKENS", tokens)
    bundle, times = load_bundle(path), RunTimes()
    engine = Engine(
        HostRunner(bundle, slots=8, provider="cpu", threads=1, precision="float32"),
        queue_limit=0,
        observer=times,
        name="small",
    )
    engine.start()
    try:
        bare = BareLoop(bundle, provider="cpu", threads=1)
        return measure_prefill(bare, engine, times, make_requests(bundle, steps, range(3)), seconds=0.01)
    finally:
        engine.stop()


@pytest.mark.slow
def test_a_primer_is_timed_alone_and_beside_running_pieces(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure(small_bundle, monkeypatch, tokens=64, steps=load_bundle(small_bundle).max_steps)

    assert (found.tokens, found.concurrent) == (64, 2)
    assert len(found.comparison.rates) == len(found.gap_seconds) == len(found.run_seconds) == MIN_ROUNDS
    assert min(found.gap_seconds) > 0.0
    assert found.stall > 0.0


@pytest.mark.slow
def test_pieces_that_are_too_short_are_refused(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill, "_TIMEOUT_SECONDS", 2.0)
    with pytest.raises(BenchError, match="the pieces beside the primer"):
        measure(small_bundle, monkeypatch, tokens=16, steps=16)
