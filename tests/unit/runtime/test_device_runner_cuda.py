"""The device runner on CUDA, compared with the CPU. Skipped without `onnxruntime-gpu`.

If that package is installed and CUDA does not run, the tests fail; they are not skipped.

`pytest -s tests/unit/runtime/test_device_runner_cuda.py` also prints measurements.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.bundle import Bundle, load_bundle
from runtime.device_runner import DeviceRunner
from runtime.prefill import Prefill
from runtime.runner import Chunk
from runtime.session import CUDA
from runtime.state import slot_axis
from server.engine.engine import Engine
from tests.unit.runtime.runner_driver import (
    DriverStep,
    RunnerDriver,
    chunk_of,
    driver_steps,
    engine_requests,
    free_run,
    some_length,
)

DEVICE: Final[Literal["cpu", "cuda"]] = "cuda"
SLOTS: Final = 64
PER_STEP: Final = ("uniforms", "forced", "bias_index")
STEPS: Final = 64
SHIPPED: Final = Path(__file__).parents[4] / "models" / "chorales"

pytestmark = pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers(), reason="this ONNX Runtime has no CUDA"
)


@pytest.fixture(scope="module", params=["small", "chorales"])
def bundle(request: pytest.FixtureRequest, small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle if request.param == "small" else SHIPPED)


@pytest.fixture(scope="module")
def runner(bundle: Bundle) -> Iterator[DeviceRunner]:
    runner = DeviceRunner(bundle, slots=SLOTS, device=DEVICE)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def uncaptured(bundle: Bundle) -> Iterator[DeviceRunner]:
    runner = DeviceRunner(bundle, slots=SLOTS, device=DEVICE, capture=False)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def host(bundle: Bundle) -> Iterator[DeviceRunner]:
    runner = DeviceRunner(bundle, slots=SLOTS, device="cpu", capture=False)
    yield runner
    runner.close()


def begin(*runners: DeviceRunner) -> None:
    for runner in runners:
        for slot in range(runner.slots):
            runner.reset(slot, slot % 5, some_length(slot))


def forcing(chunk: Chunk, tokens: NDArray[np.int64]) -> Chunk:
    """The same chunk, all of its tokens forced."""
    fields = {name: getattr(chunk, name) for name in Chunk.__slots__}
    return Chunk(**fields | {"forced": tokens})


def report(sentence: str) -> None:
    print(f"\n{sentence}", end="")  # noqa: T201


def test_the_runner_runs_on_cuda_from_captures(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        runner = DeviceRunner(bundle, slots=SLOTS, device=DEVICE)

    assert not caplog.records, caplog.text
    assert runner.captured
    assert DEVICE == "cpu" or runner.provider == CUDA
    assert isinstance(runner._prefill, Prefill)
    for session in (runner._prefill._session, *(graph._session for graph in runner._graphs.values())):
        assert runner.provider in session.get_providers()
    for values in runner._state.sets:
        assert {array.device_name().lower() for array in values.values()} == {DEVICE}
    runner.close()


def test_equal_forced_tokens_lead_to_equal_states(runner: DeviceRunner, host: DeviceRunner) -> None:
    """Within 1e-3 after every chunk; integers exactly."""
    begin(runner, host)
    worst: dict[str, float] = {}
    for steps in (1, 4, 16, 16, 4, 1, 16):
        chunk = free_run(host, steps)
        tokens = host.decode(chunk).tokens
        assert runner.decode(forcing(chunk, tokens)).tokens.tolist() == tokens.tolist()
        here, there = runner._state.read(runner._state.side), host._state.read(host._state.side)
        for name, values in here.items():
            if values.dtype == np.int64:
                assert values.tolist() == there[name].tolist(), name
            else:
                worst[name] = max(worst.get(name, 0.0), float(np.abs(values - there[name]).max()))
    report(f"largest differences from the CPU after 58 tokens: {worst}")
    assert max(worst.values()) <= 1e-3


def test_equal_states_sample_equal_tokens(runner: DeviceRunner, host: DeviceRunner) -> None:
    """Except if the random number is within rounding of the border of two tokens: at most one in a thousand."""
    begin(runner, host)
    random, every, equal = np.random.default_rng(1), np.arange(SLOTS), 0
    for _ in range(STEPS):
        chunk = chunk_of(host, every, 1, random)
        for either in (runner, host):
            either._state.load(every)
        runner._state.overwrite(runner._state.side, host._state.read(host._state.side))
        equal += int(np.count_nonzero(runner.decode(chunk).tokens == host.decode(chunk).tokens))
    share = equal / (SLOTS * STEPS)
    report(f"tokens drawn as on the CPU from equal state: {equal} of {SLOTS * STEPS} ({share:.4%})")
    assert share >= 0.999


def test_prefill_equals_the_cpu(runner: DeviceRunner, host: DeviceRunner) -> None:
    begin(host)
    given = np.concatenate([host.decode(free_run(host, 16)).tokens for _ in range(5)], axis=1)
    begin(runner, host)
    for slot in range(4):
        for either in (runner, host):
            assert sum(either.prefill(slot, given[slot], 32)) == 80
    for slot in range(4):
        here, there = runner._state._staged[slot], host._state._staged[slot]
        for name, values in here.items():
            np.testing.assert_allclose(values, there[name], atol=1e-3, rtol=0, err_msg=name)


@given(
    rows=st.sets(st.integers(0, SLOTS - 1), min_size=1).map(sorted),
    sizes=st.sampled_from([[1] * 16, [4] * 4, [16], [1, 4, 4, 4, 1, 1, 1], [4, 1, 1, 1, 1, 4, 4]]),
    seed=st.integers(0, 3),
)
@settings(max_examples=30)
def test_a_row_is_independent_of_other_rows_slot_and_chunks(
    runner: DeviceRunner, rows: list[int], sizes: list[int], seed: int
) -> None:
    """Its tokens, their log-probabilities and its state, bit by bit."""
    whole = chunk_of(runner, np.arange(len(rows)), 16, np.random.default_rng(seed))

    def written(index: list[int], slots: list[int], sizes: list[int]) -> tuple[list[list[int]], list[bytes]]:
        for one, slot in zip(index, slots, strict=True):
            runner.reset(slot, one % 5, some_length(one))
        tokens, log_probabilities, first = [], [], 0
        fields = {name: getattr(whole, name)[index] for name in Chunk.__slots__ if name != "bias"} | {
            "bias": whole.bias
        }
        for steps in sizes:
            part = slice(first, first + steps)
            cut = {name: np.ascontiguousarray(fields[name][:, part]) for name in PER_STEP}
            decoded = runner.decode(Chunk(**fields | cut | {"rows": np.array(slots)}))
            tokens.append(decoded.tokens)
            log_probabilities.append(decoded.log_probabilities)
            first += steps
        state = runner._state.read(runner._state.side)
        ends = [
            b"".join(np.take(values, slot, slot_axis(name)).tobytes() for name, values in state.items())
            + np.concatenate([part[row] for part in log_probabilities]).tobytes()
            for row, slot in enumerate(slots)
        ]
        return np.concatenate(tokens, axis=1).tolist(), ends

    tokens, ends = written(list(range(len(rows))), rows, sizes)
    for one in {0, len(rows) // 2, len(rows) - 1}:
        for slot in (rows[one], (rows[one] + 17) % SLOTS):
            assert written([one], [slot], [4, 4, 4, 4]) == ([tokens[one]], [ends[one]])


@given(steps=driver_steps(SLOTS), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_captured_runs_return_the_same_tokens(
    runner: DeviceRunner, uncaptured: DeviceRunner, steps: list[DriverStep], seed: int
) -> None:
    both = [RunnerDriver(runner, seed), RunnerDriver(uncaptured, seed)]
    for step in steps:
        for play in both:
            play.act(step)
    assert both[0].tokens == both[1].tokens


def test_captured_runs_have_bit_equal_states(runner: DeviceRunner, uncaptured: DeviceRunner) -> None:
    begin(runner, uncaptured)
    for steps in (16, 1, 4, 16, 16, 4, 1, 1):
        chunk = free_run(runner, steps)
        assert runner.decode(chunk).tokens.tolist() == uncaptured.decode(chunk).tokens.tolist()
        here, there = (either._state.read(either._state.side) for either in (runner, uncaptured))
        assert {name: values.tobytes() for name, values in here.items()} == {
            name: values.tobytes() for name, values in there.items()
        }


def test_an_engine_returns_the_same_at_any_load(bundle: Bundle) -> None:
    """With prefills, more requests than slots, and some cancelled; called from another thread than the captures."""
    requests = engine_requests(3 * SLOTS)
    engine = Engine(DeviceRunner(bundle, slots=SLOTS, device=DEVICE), queue_limit=len(requests), name=bundle.name)
    engine.warm_up()
    engine.start()
    handles = [engine.submit(request) for request in requests]
    for handle in handles[::7]:
        handle.cancel()
    together = {n: handle.future.result(120).tokens.tolist() for n, handle in enumerate(handles) if n % 7}
    for n in (1, 2, 3, SLOTS + 4, 2 * SLOTS + 6):
        assert engine.submit(requests[n]).future.result(60).tokens.tolist() == together[n]
    engine.stop()


def test_print_the_duration_of_a_step_at_width_256(bundle: Bundle) -> None:
    """Printed, not asserted: durations depend on the machine."""
    steps, seconds = 16, {}
    for capture in (True, False):
        runner = DeviceRunner(bundle, slots=256, device=DEVICE, capture=capture)
        begin(runner)
        chunk = free_run(runner, steps)
        for _ in range(5):
            runner.decode(chunk)
        took = []
        for _ in range(50):
            began = time.perf_counter()
            runner.decode(chunk)
            took.append(time.perf_counter() - began)
        seconds[capture] = sorted(took)[25] / steps
        runner.close()
    report(f"{bundle.name}, a step at width 256, transfers included: {seconds[True] * 1e6:.1f} us captured, ")
    print(f"{seconds[False] * 1e6:.1f} us without; {256 / seconds[True]:,.0f} tokens/s")  # noqa: T201
