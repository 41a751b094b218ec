from pathlib import Path

import pytest

from bench import operators
from bench.operators import measure_operators, rows_of
from bench.options import Options, parse_options
from bench.workload import plan_requests
from music.bundle import load_bundle


@pytest.fixture
def options() -> Options:
    return parse_options(["--provider", "cpu", "--steps", "4"])


def test_what_the_profiler_takes_is_taken_off_every_node() -> None:
    # Two steps of three nodes, each told 3 us too long.
    kernels = [("MatMul", 13e-6), ("Mul", 4e-6), ("Mul", 5e-6)] * 2
    rows = {row.operator: row for row in rows_of(kernels, steps=2, step_seconds=13e-6)}

    assert rows["MatMul"].seconds == pytest.approx(10e-6)
    assert rows["Mul"].seconds == pytest.approx(3e-6)
    assert rows["Mul"].nodes == 2.0


def test_nothing_takes_less_than_no_time() -> None:
    rows = {row.operator: row for row in rows_of([("MatMul", 9e-6), ("Mul", 1e-6)], steps=1, step_seconds=4e-6)}

    assert rows["Mul"].seconds == 0.0
    assert rows["MatMul"].seconds == pytest.approx(6e-6)


def test_every_product_of_a_step_is_seen(
    small_bundle: Path, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = load_bundle(small_bundle)
    monkeypatch.setattr(operators, "_MOST_TOKENS", 8)
    requests = plan_requests(bundle, 64, range(3))
    nodes = {row.operator: row.nodes for row in measure_operators(bundle, options, "int8", requests)}

    gates, output = 4 * bundle.network.layers, 1
    assert nodes["MatMulIntegerToFloat"] == gates + output
    assert not list(tmp_path.iterdir()), "the profile is left lying about"
