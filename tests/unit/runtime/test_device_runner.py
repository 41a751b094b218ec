"""The device runner on the CPU; `test_device_runner_cuda.py` has the tests on CUDA."""

import dataclasses
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.bundle import Bundle, load_bundle
from music.graph_names import POSITION
from runtime import device_runner
from runtime.device_graph import DeviceGraph
from runtime.device_runner import DeviceRunner
from runtime.device_state import DeviceState
from runtime.errors import PrecisionUnavailableError, ProviderUnavailableError
from runtime.host_runner import HostRunner
from runtime.session import open_session
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

SLOTS = 6


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture(scope="module")
def runner(small: Bundle) -> Iterator[DeviceRunner]:
    """With captures, as far as a CPU has them: it runs graphs with any graph id."""
    runner = DeviceRunner(small, slots=SLOTS, device="cpu")
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def host(small: Bundle) -> HostRunner:
    return HostRunner(small, slots=SLOTS, provider="cpu", threads=1, precision="float32")


@given(steps=driver_steps(SLOTS), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_tokens_equal_those_of_the_host_runner(
    runner: DeviceRunner, host: HostRunner, steps: list[DriverStep], seed: int
) -> None:
    """Token by token, with additions, removals, resets and prefills between chunks."""
    both = [RunnerDriver(runner, seed), RunnerDriver(host, seed)]
    for step in steps:
        for play in both:
            play.act(step)
    assert both[0].tokens == both[1].tokens


@pytest.mark.slow
def test_an_engine_returns_the_same_as_on_the_host_runner(small: Bundle) -> None:
    """With the real batch and prefills, four times as many requests as slots, and some cancelled requests."""
    requests = engine_requests(4 * SLOTS)
    pieces: list[list[list[int]]] = []
    for made in (
        DeviceRunner(small, slots=SLOTS, device="cpu"),
        HostRunner(small, slots=SLOTS, provider="cpu", threads=1, precision="float32"),
    ):
        engine = Engine(made, queue_limit=len(requests), name="small")
        engine.warm_up()
        handles = [engine.submit(request) for request in requests]
        handles[2].cancel()
        engine.start()
        handles[5].cancel()
        pieces.append([handle.future.result(60).tokens.tolist() for n, handle in enumerate(handles) if n not in (2, 5)])
        engine.stop()
    assert pieces[0] == pieces[1]


def test_a_slot_that_skipped_a_chunk_must_be_reset(runner: DeviceRunner) -> None:
    random = np.random.default_rng(0)
    for slot in range(3):
        runner.reset(slot, 0)
    runner.decode(chunk_of(runner, np.array([0, 1, 2]), 4, random))
    runner.decode(chunk_of(runner, np.array([0, 2]), 4, random))
    with pytest.raises(AssertionError, match=r"slots \[1\] skipped a chunk"):
        runner.decode(chunk_of(runner, np.array([0, 1, 2]), 4, random))
    runner.reset(1, 0)
    runner.decode(chunk_of(runner, np.array([0, 1, 2]), 4, random))


@pytest.mark.slow
def test_runs_have_all_slots_and_arrays_keep_their_addresses(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = DeviceRunner(small, slots=SLOTS, device="cpu")
    state, graphs = runner._state, runner._graphs

    def arrays() -> list[Any]:
        kept = [value for values in state.sets for value in values.values()]
        kept += runner._sampling._arrays.values()
        return kept + [
            a for graph in graphs.values() for a in (*graph._inputs.values(), graph._tokens, graph._log_probabilities)
        ]

    def described() -> list[tuple[int, list[int]]]:
        return [(array.data_ptr(), list(array.shape())) for array in arrays()]

    before, random = described(), np.random.default_rng(1)
    for turn in range(200):
        rows = np.flatnonzero(random.random(SLOTS) < 0.5)
        if len(rows):
            for slot in rows.tolist():
                runner.reset(slot, 0)
            runner.decode(chunk_of(runner, rows, small.chunk_sizes[turn % 3], random))
    assert described() == before
    assert len({address for address, _ in before}) == len(before)
    assert all(shape[0] == SLOTS or shape[1] == SLOTS for _, shape in before)
    runner.close()


class Traffic:
    """Counts what goes to the device and comes back, by kind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, runner: DeviceRunner) -> None:
        self.count: Counter[str] = Counter()
        names = {id(value): "state" for values in runner._state.sets for value in values.values()}
        names |= {id(value): "sampling" for value in runner._sampling._arrays.values()}
        names[id(runner._biases._array)] = "biases"
        for graph in runner._graphs.values():
            names |= {id(value): name for name, value in graph._inputs.items()} | {
                id(graph._tokens): "tokens",
                id(graph._log_probabilities): "log_probabilities",
            }
        kind = onnxruntime.OrtValue
        for method in ("update_inplace", "numpy"):
            self._spy(monkeypatch, kind, method, lambda value: names[id(value)])
        self._spy(monkeypatch, DeviceState, "_write", lambda state: "rows")

    def _spy(self, monkeypatch: pytest.MonkeyPatch, kind: Any, method: str, named: Any) -> None:
        real = getattr(kind, method)

        def spied(this: Any, *arguments: Any) -> Any:
            self.count[f"{method} {named(this)}"] += 1
            return real(this, *arguments)

        monkeypatch.setattr(kind, method, spied)

    def taken(self) -> dict[str, int]:
        count, self.count = dict(self.count), Counter()
        return count


def test_a_chunk_sends_random_numbers_and_receives_tokens_only(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = DeviceRunner(small, slots=SLOTS, device="cpu")
    traffic = Traffic(monkeypatch, runner)
    for slot in (1, 2, 4):
        runner.reset(slot, 0)
    assert traffic.taken() == {}
    first = chunk_of(runner, np.array([1, 2, 4]), 4, np.random.default_rng(2))
    every = {"update_inplace uniforms": 1, "update_inplace forced": 1, "numpy tokens": 1, "numpy log_probabilities": 1}
    changed = {"update_inplace sampling": 3, "update_inplace biases": 1, "update_inplace bias_index": 1}
    runner.decode(first)
    assert traffic.taken() == every | changed | {"_write rows": 1}
    for _ in range(5):
        runner.decode(first)
        assert traffic.taken() == every
    for slot in (0, 3):
        runner.reset(slot, 0)
    runner.decode(chunk_of(runner, np.arange(5), 16, np.random.default_rng(3)))
    assert traffic.taken() == every | changed | {"_write rows": 1}
    runner.decode(chunk_of(runner, np.array([0, 3]), 16, np.random.default_rng(4)))
    assert traffic.taken() == every | changed, "a removed sequence sends nothing"
    runner.close()


def test_states_are_those_of_the_host_runner(runner: DeviceRunner, host: HostRunner) -> None:
    """Held, copied, resumed from the other runner, and read before the last chunk."""
    random = np.random.default_rng(14)
    chunks = [chunk_of(host, np.array(rows), 16, random) for rows in ([0, 1, 2, 3], [0, 2], [0, 1, 2, 4, 5])]
    for either in (runner, host):
        for slot in range(4):
            either.reset(slot, slot, some_length(slot))
        either.decode(chunks[0])
        either.hold(1)
        either.decode(chunks[1])
        either.copy_states(np.array([2, 2, 1, 0]), np.array([0, 4, 5, 2]))
    for slot in (0, 1, 2, 4, 5):
        here, there = runner.state(slot), host.state(slot)
        assert {name: value.tobytes() for name, value in here.items()} == {
            name: value.tobytes() for name, value in there.items()
        }
    for slot in (0, 2):
        before, expected = runner.state_before_last_chunk(slot), host.state_before_last_chunk(slot)
        assert before["h"].tobytes() == expected["h"].tobytes()
        assert before["h"].tobytes() != runner.state(slot)["h"].tobytes()
    here, there = runner.state(0), host.state(1)
    runner.resume(1, there)
    host.resume(0, here)
    decoded = [either.decode(chunks[2]) for either in (runner, host)]
    assert decoded[0].tokens.tolist() == decoded[1].tokens.tolist()
    assert decoded[0].log_probabilities.tobytes() == decoded[1].log_probabilities.tobytes()


def test_a_staged_row_waits_through_any_number_of_chunks(runner: DeviceRunner, host: HostRunner) -> None:
    """Like the row of a prefill: reset or prefilled long before its first chunk."""
    forced = np.full(21, 2, np.int64)
    results = []
    for either in (runner, host):
        random = np.random.default_rng(5)
        for slot in (0, 1, 2):
            either.reset(slot, slot, some_length(slot))
        reading = either.prefill(2, forced, 8)
        for _ in range(4):
            either.decode(chunk_of(either, np.array([0]), 16, random))
            next(reading, None)
        results.append(either.decode(chunk_of(either, np.array([0, 1, 2]), 16, random)).tokens.tolist())
    assert results[0] == results[1]


def test_a_slot_may_be_reset_between_two_chunks_of_the_same_rows(runner: DeviceRunner, host: HostRunner) -> None:
    """And other slots may get the same parameters: cached parameters belong to the rows of their chunk."""
    chunk = chunk_of(runner, np.array([0, 2]), 16, np.random.default_rng(9))
    moved = dataclasses.replace(chunk, rows=np.array([1, 2]))
    results = []
    for either in (runner, host):
        either.reset(0, 0)
        either.reset(2, 1)
        tokens = [either.decode(chunk).tokens.tolist()]
        either.reset(2, 3)
        tokens.append(either.decode(chunk).tokens.tolist())
        either.reset(1, 0)
        tokens.append(either.decode(moved).tokens.tolist())
        results.append(tokens)
    assert results[0] == results[1]
    plain = {name: values[[0, 3, 4, 5]].min() for name, values in runner._sampling._host.items()}
    assert plain == {"temperature": 1, "top_k": 0, "top_p": 1}, "of slots outside the chunk"


def test_idle_rows_stay_at_the_start_state(runner: DeviceRunner, host: HostRunner) -> None:
    """After any number of idle chunks, a sequence starts as in a new runner, and no index leaves its table."""
    random = np.random.default_rng(6)
    runner.reset(3, 0)
    for _ in range(100):
        runner.decode(chunk_of(runner, np.array([3]), 16, random))
    state = runner._state
    runner.reset(0, 4)
    before = state.read(state.side)
    state.load(np.array([0, 3]))
    for name, values in state.read(state.side).items():
        rows = np.moveaxis(values, slot_axis(name), 0)
        assert all(row.tolist() == state.start[name].tolist() for row in rows[[1, 2, 4, 5]]), name
        assert name == POSITION or rows[0].tolist() == state.start[name].tolist()
        assert rows[3].tolist() == np.moveaxis(before[name], slot_axis(name), 0)[3].tolist(), "it runs on"
    chunk = free_run(runner, 16)
    for either in (runner, host):
        for slot in range(SLOTS):
            either.reset(slot, slot % 5, some_length(slot))
    assert runner.decode(chunk).tokens.tolist() == host.decode(chunk).tokens.tolist()


def test_precision_and_provider(small: Bundle, runner: DeviceRunner) -> None:
    assert (runner.precision, runner.provider, runner.slots) == ("float32", "CPUExecutionProvider", SLOTS)
    assert runner.chunk_sizes == tuple(sorted(small.manifest.graphs.decode))
    with pytest.raises(PrecisionUnavailableError, match="int8"):
        DeviceRunner(small, slots=1, device="cpu", precision="int8")


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA may really be here")
def test_cuda_is_refused_where_there_is_none(small: Bundle) -> None:
    with pytest.raises(ProviderUnavailableError, match="has no CUDA"):
        DeviceRunner(small, slots=1)


def log_fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a log record."""
    fields: dict[str, Any] = getattr(record, "fields")  # noqa: B009  # not declared
    return fields


class Sessions:
    """Records the options of sessions, and the graph ids and threads of their runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[dict[str, str]] = []
        self.runs: list[tuple[str, int, int]] = []
        self.threads: set[int] = set()
        self.refuse = False
        self.frozen: dict[tuple[str, int], NDArray[Any]] = {}
        monkeypatch.setattr(device_runner, "open_session", self._open)
        real = DeviceGraph.run

        def run(graph: DeviceGraph, side: int, *, captured: bool = True) -> None:
            options = graph._options[side] if captured else graph._uncaptured
            self.runs.append(("run", graph.steps, int(options.get_run_config_entry("gpu_graph_id"))))
            self.threads.add(threading.get_ident())
            real(graph, side, captured=captured)

        monkeypatch.setattr(DeviceGraph, "run", run)

    def _open(self, bundle: Bundle, name: str, *, cuda_options: dict[str, str], **rest: Any) -> Any:
        self.opened.append(cuda_options)
        if self.refuse and "enable_cuda_graph" in cuda_options:
            raise RuntimeError("not all nodes are on the CUDA execution provider")
        return open_session(bundle, name, cuda_options=cuda_options, **rest)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    return Sessions(monkeypatch)


def test_each_direction_of_each_size_is_captured_and_checked_at_once(
    small: Bundle, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        runner = DeviceRunner(small, slots=SLOTS, device="cpu")
    tried = Counter((steps, graph_id) for _, steps, graph_id in sessions.runs)

    assert runner.captured
    assert [log_fields(record)["captured"] for record in caplog.records] == [True]
    # Every capture twice, each time beside a run without.
    assert tried == {(steps, graph_id): 2 for steps in small.chunk_sizes for graph_id in (1, 2)} | {
        (steps, -1): 4 for steps in small.chunk_sizes
    }
    graphs = len(small.chunk_sizes)
    assert sessions.opened == [{"use_tf32": "0"}] + graphs * [{"use_tf32": "0", "enable_cuda_graph": "1"}]
    sessions.runs.clear()
    runner.reset(0, 0)
    chunk = chunk_of(runner, np.array([0]), 4, np.random.default_rng(7))
    for _ in range(4):
        runner.decode(chunk)
    assert [graph_id for _, _, graph_id in sessions.runs] == [2, 1, 2, 1], (
        "the reset row was written from the first set into the second"
    )
    assert len(sessions.threads) == 1, "captures are of use only in the thread that made them"
    assert threading.get_ident() not in sessions.threads
    runner.close()


def test_captures_do_not_change_the_state(small: Bundle) -> None:
    runner = DeviceRunner(small, slots=SLOTS, device="cpu")
    for side in range(2):
        for name, values in runner._state.initial().items():
            assert runner._state.read(side)[name].tolist() == values.tolist()
    runner.close()


def test_a_refused_capture_is_logged_and_the_runner_works(
    small: Bundle, sessions: Sessions, host: HostRunner, caplog: pytest.LogCaptureFixture
) -> None:
    sessions.refuse = True
    with caplog.at_level(logging.INFO):
        runner = DeviceRunner(small, slots=SLOTS, device="cpu")

    assert not runner.captured
    warning, info = caplog.records
    assert (warning.levelname, log_fields(warning)["model"]) == ("WARNING", "small")
    assert "no CUDA graphs" in warning.getMessage()
    assert log_fields(info)["captured"] is False
    assert "not all nodes are on the CUDA execution provider" in caplog.text
    assert sessions.opened[-3:] == 3 * [{"use_tf32": "0"}]
    check_free_run(runner, host)
    assert {graph_id for _, _, graph_id in sessions.runs} == {-1}
    assert sessions.threads == {threading.get_ident()}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["tokens", "state", "input"])
def test_a_capture_with_other_results_is_not_used(
    small: Bundle, host: HostRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """The replay of the last capture repeats its first tokens, writes no state, or writes to its input."""
    real, first = DeviceGraph.run, dict[int, NDArray[Any]]()

    def run(graph: DeviceGraph, side: int, *, captured: bool = True) -> None:
        if fault == "state" and captured and graph.steps == 16:
            state = runners[0]._state
            kept = state.read(1 - side)
            real(graph, side)
            state.overwrite(1 - side, kept)
            return
        real(graph, side, captured=captured)
        if not captured or graph.steps != 16:
            return
        if fault == "tokens":
            graph._tokens.update_inplace(first.setdefault(side, np.array(graph._tokens.numpy())))
        elif side in first:
            h = runners[0]._state.sets[side]["h"]
            h.update_inplace(np.zeros(h.shape(), np.float32))
        first.setdefault(side, np.zeros(0))

    runners: list[DeviceRunner] = []
    states = DeviceRunner._check_capture

    def tried(runner: DeviceRunner, *arguments: Any) -> None:
        runners[:] = [runner]
        states(runner, *arguments)

    monkeypatch.setattr(DeviceRunner, "_check_capture", tried)
    monkeypatch.setattr(DeviceGraph, "run", run)
    with caplog.at_level(logging.WARNING):
        runner = DeviceRunner(small, slots=SLOTS, device="cpu")
    monkeypatch.undo()

    assert not runner.captured
    assert "a captured chunk of 16 steps" in caplog.text
    check_free_run(runner, host)


def check_free_run(runner: DeviceRunner, host: HostRunner) -> None:
    chunk = free_run(runner, 16)
    for either in (runner, host):
        for slot in range(SLOTS):
            either.reset(slot, 0)
    for _ in range(3):
        assert runner.decode(chunk).tokens.tolist() == host.decode(chunk).tokens.tolist()


def test_nothing_is_captured_without_capture(small: Bundle, sessions: Sessions, host: HostRunner) -> None:
    runner = DeviceRunner(small, slots=SLOTS, device="cpu", capture=False, tf32=True)

    assert not runner.captured
    assert not sessions.runs
    assert sessions.opened == (1 + len(small.chunk_sizes)) * [{"use_tf32": "1"}]
    check_free_run(runner, host)


def test_no_session_falls_back_to_the_cpu(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start or after a failed run, the Python package would open it again there, and only print a message."""
    made: list[int] = []
    left: list[int] = []

    class Watched(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, *arguments: Any, enable_fallback: int, **keywords: Any) -> None:
            made.append(enable_fallback)
            super().__init__(*arguments, enable_fallback=enable_fallback, **keywords)

        def disable_fallback(self) -> None:
            left.append(1)
            super().disable_fallback()

    monkeypatch.setattr(onnxruntime, "InferenceSession", Watched)
    DeviceRunner(small, slots=1, device="cpu").close()
    assert made == [1, 1] + [0] * len(small.chunk_sizes), "those to be captured tell when they cannot"
    assert len(left) == len(made)


def test_a_failed_chunk_reaches_the_caller(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = DeviceRunner(small, slots=SLOTS, device="cpu")

    def fail(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(DeviceGraph, "run", fail)
    runner.reset(0, 0)
    with pytest.raises(RuntimeError, match="the device is gone"):
        runner.decode(chunk_of(runner, np.array([0]), 1, np.random.default_rng(8)))
    runner.close()
