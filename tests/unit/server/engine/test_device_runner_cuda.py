"""The runner on CUDA against the runner on the CPU. All of it waits for a machine with a GPU and `onnxruntime-gpu`.

Where that package is installed and CUDA does not run, it fails rather than being skipped.

`pytest -s tests/unit/server/engine/test_device_runner_cuda.py` prints what is measured beside what is judged.
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
from server.engine.device_runner import DeviceRunner
from server.engine.engine import Engine
from server.engine.onnx_runner import CUDA
from server.engine.request import EngineRequest
from server.engine.runner import Chunk
from tests.unit.server.engine.playing import Play, Step, chunk_of, free_run, plays

DEVICE: Final[Literal["cpu", "cuda"]] = "cuda"
SLOTS: Final = 64
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
            runner.reset(slot, slot % 5)


def told(chunk: Chunk, tokens: NDArray[np.int64]) -> Chunk:
    """The same chunk, all of its tokens forced."""
    fields = {name: getattr(chunk, name) for name in Chunk.__slots__}
    return Chunk(**fields | {"forced": tokens})


def tell(sentence: str) -> None:
    print(f"\n{sentence}", end="")  # noqa: T201


def test_it_runs_there_and_from_captures(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        runner = DeviceRunner(bundle, slots=SLOTS, device=DEVICE)

    assert not caplog.records, caplog.text
    assert runner.captured
    assert DEVICE == "cpu" or runner.provider == CUDA
    for session in (runner._prefill._session, *(graph._session for graph in runner._graphs.values())):
        assert runner.provider in session.get_providers()
    for values in runner._state.sets:
        assert {array.device_name().lower() for array in values.values()} == {DEVICE}
    runner.close()


def test_told_the_same_tokens_it_comes_to_the_same_state(runner: DeviceRunner, host: DeviceRunner) -> None:
    """Within 1e-3 after every chunk; what counts in whole numbers exactly."""
    begin(runner, host)
    worst: dict[str, float] = {}
    for steps in (1, 4, 16, 16, 4, 1, 16):
        chunk = free_run(host, steps)
        tokens = host.decode(chunk)
        assert runner.decode(told(chunk, tokens)).tolist() == tokens.tolist()
        here, there = runner._state.read(runner._state.side), host._state.read(host._state.side)
        for name, values in here.items():
            if values.dtype == np.int64:
                assert values.tolist() == there[name].tolist(), name
            else:
                worst[name] = max(worst.get(name, 0.0), float(np.abs(values - there[name]).max()))
    tell(f"largest differences from the CPU after 58 tokens: {worst}")
    assert max(worst.values()) <= 1e-3


def test_from_the_same_state_it_draws_the_same_tokens(runner: DeviceRunner, host: DeviceRunner) -> None:
    """All but those whose uniform lies within rounding of the border between two tokens: at most one in a thousand."""
    begin(runner, host)
    random, every, equal = np.random.default_rng(1), np.arange(SLOTS), 0
    for _ in range(STEPS):
        chunk = chunk_of(host, every, 1, random)
        for either in (runner, host):
            either._state.enter(every)
        runner._state.overwrite(runner._state.side, host._state.read(host._state.side))
        equal += int(np.count_nonzero(runner.decode(chunk) == host.decode(chunk)))
    share = equal / (SLOTS * STEPS)
    tell(f"tokens drawn as on the CPU from equal state: {equal} of {SLOTS * STEPS} ({share:.4%})")
    assert share >= 0.999


def test_primers_are_read_as_on_the_cpu(runner: DeviceRunner, host: DeviceRunner) -> None:
    begin(host)
    primers = np.concatenate([host.decode(free_run(host, 16)) for _ in range(5)], axis=1)
    begin(runner, host)
    for slot in range(4):
        for either in (runner, host):
            assert sum(either.prefill(slot, primers[slot], 32)) == 80
    for slot in range(4):
        here, there = runner._state._waiting[slot], host._state._waiting[slot]
        for name, values in here.items():
            np.testing.assert_allclose(values, there[name], atol=1e-3, rtol=0, err_msg=name)


@given(
    rows=st.sets(st.integers(0, SLOTS - 1), min_size=1).map(sorted),
    sizes=st.sampled_from([[1] * 16, [4] * 4, [16], [1, 4, 4, 4, 1, 1, 1], [4, 1, 1, 1, 1, 4, 4]]),
    seed=st.integers(0, 3),
)
@settings(max_examples=30)
def test_a_row_depends_neither_on_its_company_nor_on_its_slot_nor_on_the_chunks(
    runner: DeviceRunner, rows: list[int], sizes: list[int], seed: int
) -> None:
    """Its tokens and its state, bit by bit."""
    whole = chunk_of(runner, np.arange(len(rows)), 16, np.random.default_rng(seed))

    def written(index: list[int], slots: list[int], sizes: list[int]) -> tuple[list[list[int]], list[bytes]]:
        for one, slot in zip(index, slots, strict=True):
            runner.reset(slot, one % 5)
        tokens, first = [], 0
        fields = {name: getattr(whole, name)[index] for name in Chunk.__slots__}
        for steps in sizes:
            part = slice(first, first + steps)
            cut = {name: np.ascontiguousarray(fields[name][:, part]) for name in ("uniforms", "forced")}
            tokens.append(runner.decode(Chunk(**fields | cut | {"rows": np.array(slots)})))
            first += steps
        state = runner._state.read(runner._state.side)
        ends = [
            b"".join(np.take(values, slot, runner._state._axes[name]).tobytes() for name, values in state.items())
            for slot in slots
        ]
        return np.concatenate(tokens, axis=1).tolist(), ends

    tokens, ends = written(list(range(len(rows))), rows, sizes)
    for one in {0, len(rows) // 2, len(rows) - 1}:
        for slot in (rows[one], (rows[one] + 17) % SLOTS):
            assert written([one], [slot], [4, 4, 4, 4]) == ([tokens[one]], [ends[one]])


@given(steps=plays(SLOTS), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_captured_it_writes_what_it_writes_without(
    runner: DeviceRunner, uncaptured: DeviceRunner, steps: list[Step], seed: int
) -> None:
    both = [Play(runner, seed), Play(uncaptured, seed)]
    for step in steps:
        for play in both:
            play.act(step)
    assert both[0].tokens == both[1].tokens


def test_captured_it_comes_to_the_same_state_to_the_last_bit(runner: DeviceRunner, uncaptured: DeviceRunner) -> None:
    begin(runner, uncaptured)
    for steps in (16, 1, 4, 16, 16, 4, 1, 1):
        chunk = free_run(runner, steps)
        assert runner.decode(chunk).tolist() == uncaptured.decode(chunk).tolist()
        here, there = (either._state.read(either._state.side) for either in (runner, uncaptured))
        assert {name: values.tobytes() for name, values in here.items()} == {
            name: values.tobytes() for name, values in there.items()
        }


def test_an_engine_on_it_gives_alone_what_it_gives_in_company(bundle: Bundle) -> None:
    """With primers, more requests than slots, and some that are given up; from another thread than the captures'."""
    requests = [
        EngineRequest(seed=n, max_tokens=130 + 37 * n % 200, forced=(2,) * (n % 3 * 60), clock_row=n % 5)
        for n in range(3 * SLOTS)
    ]
    engine = Engine(DeviceRunner(bundle, slots=SLOTS, device=DEVICE), queue_limit=len(requests), name=bundle.name)
    engine.warm_up()
    engine.start()
    tickets = [engine.submit(request) for request in requests]
    for ticket in tickets[::7]:
        ticket.cancel()
    together = {n: ticket.future.result(120).tokens.tolist() for n, ticket in enumerate(tickets) if n % 7}
    for n in (1, 2, 3, SLOTS + 4, 2 * SLOTS + 6):
        assert engine.submit(requests[n]).future.result(60).tokens.tolist() == together[n]
    engine.stop()


def test_how_long_a_step_takes_at_width_256_is_told(bundle: Bundle) -> None:
    """Told, not judged: times depend on the machine."""
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
    tell(f"{bundle.name}, a step at width 256, transfers included: {seconds[True] * 1e6:.1f} us captured, ")
    print(f"{seconds[False] * 1e6:.1f} us without; {256 / seconds[True]:,.0f} tokens/s")  # noqa: T201
