"""Requests that arrive, are cancelled and fail at given runs of one engine."""

from collections.abc import Collection
from dataclasses import dataclass

from hypothesis import strategies as st

from music.remaining_length import UNKNOWN
from runtime.runner import Chunk
from runtime.sampling import SamplingParams
from server.engine.completion import RequestHandle
from server.engine.engine import Engine
from server.engine.request import EngineRequest
from tests.unit.server.engine.fake_guide import FakeGuide
from tests.unit.server.engine.fake_runner import FakeRunner, RecordingObserver, eventually

VOCABULARY = 8


@dataclass(frozen=True)
class Arrival:
    """A request that is submitted before one run of the runner and, perhaps, cancelled before a later one."""

    request: EngineRequest
    run: int
    cancel_run: int | None


@st.composite
def guides(draw: st.DrawFn, primer: tuple[int, ...]) -> FakeGuide:
    period = draw(st.sampled_from([0, 2, 3, 5, 7]))
    return FakeGuide(
        VOCABULARY,
        primer=primer,
        period=period,
        after=draw(st.none() | st.integers(0, 3)),
        ahead=draw(st.sampled_from([1, 3, 100])),
        is_dynamic=draw(st.booleans()),
        unlucky=draw(st.sampled_from([0, 0, 5, 13])),
        length=draw(st.none() | st.integers(len(primer) + 1, len(primer) + 40)),
    )


@st.composite
def requests(draw: st.DrawFn, *, max_candidates: int = 1, has_guides: bool = False) -> EngineRequest:
    """Requests. Guides need a chunk size of one step."""
    has_primer = draw(st.integers(0, 3)) == 0
    max_tokens = draw(st.integers(60, 300) if has_primer else st.integers(1, 40))
    primer_tokens = draw(st.integers(0, min(250, max_tokens))) if has_primer else 0
    end_token = draw(st.none() | st.just(VOCABULARY - 1))
    stop_token = draw(st.none() | st.integers(0, VOCABULARY - 2))
    primer = tuple(index * index % (VOCABULARY - 1) for index in range(primer_tokens)) or tuple(
        draw(st.lists(st.integers(0, VOCABULARY - 2), max_size=min(10, max_tokens)))
    )
    return EngineRequest(
        seed=draw(st.integers(0, 3) | st.integers(0, 2**64 - 1)),
        max_tokens=max_tokens,
        position_index=draw(st.integers(0, 2)),
        remaining=draw(st.integers(UNKNOWN, 1)),
        sampling=SamplingParams(
            temperature=draw(st.sampled_from([0.5, 1.0])),
            top_k=draw(st.integers(0, 3)),
            top_p=draw(st.sampled_from([0.9, 1.0])),
        ),
        forced=primer,
        end_token=end_token,
        may_end=draw(st.booleans()),
        stop_token=stop_token,
        stop_count=0 if stop_token is None else draw(st.integers(1, 4)),
        guide=draw(st.none() | guides(primer)) if has_guides else None,
        candidates=draw(st.integers(1, max_candidates)),
        particles=draw(st.booleans()),
    )


@st.composite
def arrivals(draw: st.DrawFn, *, max_candidates: int = 1, has_guides: bool = False) -> Arrival:
    run = draw(st.integers(0, 12))
    cancel_run = draw(st.none() | st.integers(run, run + 8))
    request = draw(requests(max_candidates=max_candidates, has_guides=has_guides))
    return Arrival(request, run, cancel_run)


CHUNK_SIZES = st.sampled_from([(1,), (1, 4), (1, 3, 8), (2, 5), (16,)])


class Scenario:
    """One engine and its arrivals. The events between its runs always have the same order, unless the runner has a
    first-token runner: then the admission worker's thread sets the order.

    Args:
        slots: number of slots.
        max_batch_size: maximum number of rows of one run.
        chunk_sizes: of the runner.
        arrivals: the requests.
        first_steps: whether the runner has a first-token runner.
        failing_runs: numbers of the decode and prefill runs that raise.
        failing_first_steps: numbers of the first-token runner's runs that raise.
    """

    def __init__(
        self,
        slots: int,
        max_batch_size: int,
        chunk_sizes: tuple[int, ...],
        arrivals: list[Arrival],
        *,
        first_steps: bool = False,
        failing_runs: Collection[int] = (),
        failing_first_steps: Collection[int] = (),
    ) -> None:
        self.observer = RecordingObserver()
        self.runner = FakeRunner(slots, VOCABULARY, chunk_sizes, max_batch_size, first_steps=first_steps)
        self.runner.before_decode = lambda chunk: self._before_run()
        self.runner.before_prefill = lambda slot, tokens: self._before_run()
        if self.runner.first_token_runner is not None:
            self.runner.first_token_runner.before_decode = self._before_first_step
        self.engine = Engine(self.runner, queue_limit=100, observer=self.observer, name="scenario")
        self.handles: dict[int, RequestHandle] = {}
        self.unbalanced: list[str] = []
        self._arrivals = arrivals
        self._failing_runs = failing_runs
        self._failing_first_steps = failing_first_steps
        self._failed_run = -1

    def run(self) -> None:
        """Submit every request, wait until all are finished, and stop the engine."""
        self._submit_and_cancel(0)
        self.engine.start()
        for number, arrival in enumerate(self._arrivals):
            # Runs happen only while a sequence runs. When all are finished, the next request is submitted here.
            eventually(lambda: self.observer.in_flight == 0)
            if number not in self.handles:
                self.handles[number] = self.engine.submit(arrival.request)
        assert self.engine.drain(10)
        self.engine.stop()

    def _before_run(self) -> None:
        run = len(self.runner.runs)
        self._check_balance()
        self._submit_and_cancel(run)
        self._check_balance()
        # The run after a failed one is the engine's probe. If it fails too, the engine ends.
        if run in self._failing_runs and run - 1 != self._failed_run:
            self._failed_run = run
            raise RuntimeError(f"run {run} fails")

    def _before_first_step(self, chunk: Chunk) -> None:
        assert self.runner.first_token_runner is not None
        run = len(self.runner.first_token_runner.chunks)
        if run in self._failing_first_steps:
            raise RuntimeError(f"first step {run} fails")

    def _submit_and_cancel(self, run: int) -> None:
        for number, arrival in enumerate(self._arrivals):
            if arrival.run == run and number not in self.handles:
                self.handles[number] = self.engine.submit(arrival.request)
            if arrival.cancel_run == run and number in self.handles:
                self.handles[number].cancel()

    def _check_balance(self) -> None:
        with self.engine._lock:  # no thread may admit a sequence meanwhile
            held = len(set(self.engine._scheduler.running.values()))
            balanced = self.observer.in_flight == len(self.engine._scheduler.waiting) + held
        if not balanced:
            self.unbalanced.append(f"at run {len(self.runner.runs)}")
