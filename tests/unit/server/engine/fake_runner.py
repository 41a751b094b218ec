"""A runner without a network, an observer that records, and helpers: they drive and watch the real engine."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from music.grammar import FORBIDDEN
from music.remaining_length import UNKNOWN
from runtime.runner import Chunk, Decoded, FirstTokens, SequenceState
from server.engine.observer import EngineObserver, Outcome

_MASK = 2**64 - 1


def _mix(*values: int) -> int:
    """Hash integers into 64 bits (FNV-1a, then a final shift)."""
    mixed = 0xCBF29CE484222325
    for value in values:
        mixed = (mixed ^ (value & _MASK)) * 0x100000001B3 & _MASK
        mixed ^= mixed >> 29
    return mixed


class FakeRunner:
    """Its tokens are a pure function of the row's own history, draws, sampling parameters and biases.

    It checks what every runner may take for granted, and records its calls.

    Args:
        slots: number of slots.
        vocabulary: number of token ids.
        chunk_sizes: numbers of steps of a run.
        max_batch_size: maximum number of rows of a run; None for `slots`.
        first_steps: whether it has a first-token runner.
    """

    provider = "FakeExecutionProvider"
    precision = "exact"

    def __init__(
        self,
        slots: int = 4,
        vocabulary: int = 16,
        chunk_sizes: tuple[int, ...] = (1, 4),
        max_batch_size: int | None = None,
        *,
        first_steps: bool = False,
    ) -> None:
        self.slots = slots
        self.max_batch_size = slots if max_batch_size is None else max_batch_size
        self.vocabulary = vocabulary
        self.chunk_sizes = chunk_sizes
        self.before_decode: Callable[[Chunk], None] = lambda chunk: None
        self.before_reset: Callable[[int], None] = lambda slot: None
        self.before_prefill: Callable[[int, int], None] = lambda slot, tokens: None
        self.first_token_runner = FakeFirstTokenRunner(self) if first_steps else None
        self.resets: list[tuple[int, int]] = []
        self.resumed: list[int] = []
        self.slices: list[tuple[int, int]] = []
        self.runs: list[str] = []
        self.chunks: list[Chunk] = []
        self.threads: set[int] = set()
        self.closed = 0
        self._states: dict[int, int] = {}
        self._states_before: dict[int, int] = {}
        self._prefilling: set[int] = set()
        self._ran: set[int] = set()
        self._reset: set[int] = set()

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(batch_size, steps) of every chunk that ran."""
        return [(chunk.batch_size, chunk.steps) for chunk in self.chunks]

    def reset(self, slot: int, position_index: int, remaining: int = UNKNOWN) -> None:
        assert not self.closed
        assert 0 <= slot < self.slots
        self.before_reset(slot)
        self.threads.add(threading.get_ident())
        self.resets.append((slot, position_index))
        self._states[slot] = initial_state(position_index, remaining)
        self._prefilling.discard(slot)
        self._reset.add(slot)

    def resume(self, slot: int, state: SequenceState) -> None:
        assert not self.closed
        self.threads.add(threading.get_ident())
        self.resumed.append(slot)
        self._states[slot] = int(state["mixed"])
        self._prefilling.discard(slot)
        self._reset.add(slot)

    def state(self, slot: int) -> SequenceState:
        assert slot not in self._prefilling
        return {"mixed": np.array(self._states[slot], np.uint64)}

    def state_before_last_chunk(self, slot: int) -> SequenceState:
        return {"mixed": np.array(self._states_before[slot], np.uint64)}

    def rewind(self, slots: NDArray[np.intp]) -> None:
        last = self.chunks[-1].rows.tolist()
        for slot in slots.tolist():
            assert slot in last
            self._states[slot] = self._states_before[slot]

    def copy_states(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        assert len(set(targets.tolist())) == len(targets)
        states = [self._states[source] for source in sources.tolist()]
        self._states.update(zip(targets.tolist(), states, strict=True))
        self._reset.update(targets.tolist())

    def hold(self, slot: int) -> None:
        assert slot in self._ran | self._reset
        self._reset.add(slot)

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        """Leave the state that decode would leave."""
        assert slot in self._states
        assert tokens.dtype == np.int64
        assert ((tokens >= 0) & (tokens < self.vocabulary)).all()
        self._prefilling.add(slot)
        for first in range(0, len(tokens), slice_tokens):
            assert not self.closed
            self.threads.add(threading.get_ident())
            part = tokens[first : first + slice_tokens].tolist()
            self.slices.append((slot, len(part)))
            self.runs.append("slice")
            self.before_prefill(slot, len(part))
            for token in part:
                self._states[slot] = _mix(self._states[slot], token)
            if first + slice_tokens >= len(tokens):
                self._prefilling.discard(slot)
            yield len(part)

    def decode(self, chunk: Chunk) -> Decoded:
        assert not self.closed
        self.threads.add(threading.get_ident())
        self._check(chunk)
        self.chunks.append(replace(chunk, bias=chunk.bias.copy()))  # the table may change after the run
        self.runs.append("chunk")
        self.before_decode(chunk)
        self._states_before = {slot: self._states[slot] for slot in chunk.rows.tolist()}
        tokens = np.empty((chunk.batch_size, chunk.steps), np.int64)
        log_probabilities = np.empty(tokens.shape, np.float32)
        for index, slot in enumerate(chunk.rows.tolist()):
            for step in range(chunk.steps):
                tokens[index, step], self._states[slot] = step_of(chunk, index, step, self._states[slot])
                log_probabilities[index, step] = log_probability_of(self._states[slot])
        return Decoded(tokens, log_probabilities)

    def close(self) -> None:
        self.closed += 1

    def _check(self, chunk: Chunk) -> None:
        self.check_arrays(chunk)
        assert chunk.steps in self.chunk_sizes
        assert (np.diff(chunk.rows) > 0).all()
        assert set(chunk.rows.tolist()) <= self._states.keys()
        rows = set(chunk.rows.tolist())
        assert not rows & self._prefilling, "its prefill is not complete"
        if self.max_batch_size == self.slots:
            assert rows <= self._ran | self._reset, "it skipped a chunk and was not reset"
        self._ran = rows
        self._reset -= rows

    def check_arrays(self, chunk: Chunk) -> None:
        batch_size, steps = chunk.batch_size, chunk.steps
        assert 1 <= batch_size <= self.max_batch_size
        for array, shape, dtype in (
            (chunk.rows, (batch_size,), np.intp),
            (chunk.uniforms, (batch_size, steps), np.float32),
            (chunk.forced, (batch_size, steps), np.int64),
            (chunk.temperature, (batch_size,), np.float32),
            (chunk.top_k, (batch_size,), np.int64),
            (chunk.top_p, (batch_size,), np.float32),
            (chunk.bias, (len(chunk.bias), self.vocabulary), np.float32),
            (chunk.bias_index, (batch_size, steps), np.int64),
        ):
            assert array.shape == shape
            assert array.dtype == dtype
        assert ((chunk.uniforms >= 0) & (chunk.uniforms < 1)).all()
        assert ((chunk.bias_index >= 0) & (chunk.bias_index < len(chunk.bias))).all()
        assert ((chunk.forced >= -1) & (chunk.forced < self.vocabulary)).all()


def initial_state(position_index: int, remaining: int = UNKNOWN) -> int:
    """Return the state before the first token."""
    return _mix(position_index) if remaining == UNKNOWN else _mix(_mix(position_index) + remaining)


def step_of(chunk: Chunk, index: int, step: int, state: int) -> tuple[int, int]:
    """Return a token and the state after it."""
    token = int(chunk.forced[index, step])
    if token < 0:
        drawn = _mix(
            state,
            int(chunk.uniforms[index, step] * 2**24),
            int(chunk.temperature[index] * 1000),
            int(chunk.top_k[index]),
            int(chunk.top_p[index] * 1000),
        )
        choices = np.flatnonzero(chunk.bias[chunk.bias_index[index, step]] > FORBIDDEN)
        token = int(choices[drawn % len(choices)])
    return token, _mix(state, token)


def log_probability_of(state: int) -> float:
    """Return the log-probability of a token from the state after it, -4 to 0."""
    return -(state % 4096) / 1024


class FakeFirstTokenRunner:
    """Gives the tokens that its runner would give."""

    def __init__(self, runner: FakeRunner) -> None:
        self.before_decode: Callable[[Chunk], None] = lambda chunk: None
        self.chunks: list[Chunk] = []
        self.threads: set[int] = set()
        self._runner = runner

    def decode(self, position_indices: NDArray[np.int64], remaining: NDArray[np.int64], chunk: Chunk) -> FirstTokens:
        assert not self._runner.closed
        self._runner.check_arrays(chunk)
        assert chunk.steps % self._runner.chunk_sizes[0] == 0
        assert position_indices.shape == (chunk.batch_size,)
        assert remaining.shape == (chunk.batch_size,)
        assert position_indices.dtype == remaining.dtype == np.int64
        self.threads.add(threading.get_ident())
        self.chunks.append(replace(chunk, bias=chunk.bias.copy()))
        self.before_decode(chunk)
        assert not self._runner.closed
        tokens = np.empty((chunk.batch_size, chunk.steps), np.int64)
        log_probabilities = np.empty(tokens.shape, np.float32)
        states = []
        for index, start in enumerate(zip(position_indices.tolist(), remaining.tolist(), strict=True)):
            state = initial_state(*start)
            for step in range(chunk.steps):
                tokens[index, step], state = step_of(chunk, index, step, state)
                log_probabilities[index, step] = log_probability_of(state)
            states.append({"mixed": np.array(state, np.uint64)})
        return FirstTokens(tokens, log_probabilities, states)


class RecordingObserver(EngineObserver):
    """Records every event, and checks at each one that the counts agree."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.submissions = 0
        self.refusals = 0
        self.starts = 0
        self.first_tokens: list[float] = []
        self.chunks: list[tuple[int, int]] = []
        self.first_steps: list[tuple[int, int]] = []
        self.slices: list[int] = []
        self.freed: list[float] = []
        self.outcomes: Counter[Outcome] = Counter()
        self.tokens = 0
        self.wrong: list[str] = []

    @property
    def in_flight(self) -> int:
        return self.submissions - self.outcomes.total()

    def submitted(self) -> None:
        with self._lock:
            self.submissions += 1
            self._check()

    def refused(self) -> None:
        with self._lock:
            self.refusals += 1
            self._check()

    def started(self, queue_seconds: float) -> None:
        with self._lock:
            self.starts += 1
            self._check()
            if queue_seconds < 0:
                self.wrong.append("negative queue duration")

    def first_token(self, seconds: float) -> None:
        with self._lock:
            self.first_tokens.append(seconds)
            self._check()

    def chunk(self, batch_size: int, steps: int, seconds: float) -> None:
        with self._lock:
            self.chunks.append((batch_size, steps))

    def first_step(self, batch_size: int, steps: int, seconds: float) -> None:
        with self._lock:
            self.first_steps.append((batch_size, steps))

    def prefill(self, tokens: int, seconds: float) -> None:
        with self._lock:
            self.slices.append(tokens)

    def freed_after_cancel(self, seconds: float) -> None:
        with self._lock:
            self.freed.append(seconds)
            if seconds < 0:
                self.wrong.append("a slot was freed before the cancellation")

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            self.tokens += tokens
            self._check()

    def _check(self) -> None:
        if not len(self.first_tokens) <= self.starts <= self.submissions:
            self.wrong.append("an event came before the sequence was submitted or started")
        if self.in_flight < 0:
            self.wrong.append("more sequences finished than were submitted")


class Gate:
    """Holds a runner in its next chunk, or a first-token runner in its next run, while a test acts."""

    def __init__(self, held: FakeRunner | FakeFirstTokenRunner) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()
        if isinstance(held, FakeRunner):
            held.before_decode = self._pass
        else:
            held.before_decode = self._pass

    def wait_until_reached(self) -> None:
        assert self._reached.wait(10), "nothing ran"

    def open(self) -> None:
        self._opened.set()

    def _pass(self, chunk: Chunk) -> None:
        self._reached.set()
        assert self._opened.wait(10), "the gate was not opened"


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true that another thread makes true."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.001)
