"""A model without a network, and an observer that keeps accounts: what drives and watches the real engine."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from server.engine.observer import Outcome
from server.engine.runner import Chunk, Opened, State

_MASK = 2**64 - 1


def _mix(*values: int) -> int:
    """Scramble integers into one of 64 bits (FNV-1a, then a finishing shift)."""
    mixed = 0xCBF29CE484222325
    for value in values:
        mixed = (mixed ^ (value & _MASK)) * 0x100000001B3 & _MASK
        mixed ^= mixed >> 29
    return mixed


class FakeRunner:
    """Tokens are a pure function of the row's own history, draws, sampling parameters and mask.

    It checks what every runner may take for granted, and keeps a record of what it was asked.
    """

    provider = "FakeExecutionProvider"
    precision = "exact"

    def __init__(
        self,
        slots: int = 4,
        vocabulary: int = 16,
        chunk_sizes: tuple[int, ...] = (1, 4),
        width: int | None = None,
        *,
        opens: bool = False,
    ) -> None:
        self.slots = slots
        self.width = slots if width is None else width
        self.vocabulary = vocabulary
        self.chunk_sizes = chunk_sizes
        self.before_decode: Callable[[Chunk], None] = lambda chunk: None
        self.before_reset: Callable[[int], None] = lambda slot: None
        self.before_prefill: Callable[[int, int], None] = lambda slot, tokens: None
        self.opener = FakeOpener(self) if opens else None
        self.resets: list[tuple[int, int]] = []
        self.resumed: list[int] = []
        self.slices: list[tuple[int, int]] = []
        self.runs: list[str] = []
        self.chunks: list[Chunk] = []
        self.threads: set[int] = set()
        self.closed = 0
        self._states: dict[int, int] = {}
        self._reading: set[int] = set()
        self._ran: set[int] = set()
        self._reset: set[int] = set()

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(width, steps) of every chunk that ran."""
        return [(chunk.width, chunk.steps) for chunk in self.chunks]

    def reset(self, slot: int, clock_row: int) -> None:
        assert not self.closed
        assert 0 <= slot < self.slots
        self.before_reset(slot)
        self.threads.add(threading.get_ident())
        self.resets.append((slot, clock_row))
        self._states[slot] = _mix(clock_row)
        self._reading.discard(slot)
        self._reset.add(slot)

    def resume(self, slot: int, state: State) -> None:
        assert not self.closed
        self.threads.add(threading.get_ident())
        self.resumed.append(slot)
        self._states[slot] = state["mixed"]
        self._reading.discard(slot)
        self._reset.add(slot)

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        """The state is what decode would have left."""
        assert slot in self._states
        assert tokens.dtype == np.int64
        assert ((tokens >= 0) & (tokens < self.vocabulary)).all()
        self._reading.add(slot)
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
                self._reading.discard(slot)
            yield len(part)

    def decode(self, chunk: Chunk) -> NDArray[np.int64]:
        assert not self.closed
        self.threads.add(threading.get_ident())
        self._check(chunk)
        self.chunks.append(chunk)
        self.runs.append("chunk")
        self.before_decode(chunk)
        tokens = np.empty((chunk.width, chunk.steps), np.int64)
        for index, slot in enumerate(chunk.rows.tolist()):
            for step in range(chunk.steps):
                tokens[index, step], self._states[slot] = step_of(chunk, index, step, self._states[slot])
        return tokens

    def close(self) -> None:
        self.closed += 1

    def _check(self, chunk: Chunk) -> None:
        self.check_arrays(chunk)
        assert chunk.steps in self.chunk_sizes
        assert (np.diff(chunk.rows) > 0).all()
        assert set(chunk.rows.tolist()) <= self._states.keys()
        rows = set(chunk.rows.tolist())
        assert not rows & self._reading, "its primer is not read yet"
        if self.width == self.slots:
            assert rows <= self._ran | self._reset, "it sat out a chunk and was not reset"
        self._ran = rows
        self._reset -= rows

    def check_arrays(self, chunk: Chunk) -> None:
        width, steps = chunk.width, chunk.steps
        assert 1 <= width <= self.width
        for array, shape, dtype in (
            (chunk.rows, (width,), np.intp),
            (chunk.uniforms, (width, steps), np.float32),
            (chunk.forced, (width, steps), np.int64),
            (chunk.temperature, (width,), np.float32),
            (chunk.top_k, (width,), np.int64),
            (chunk.top_p, (width,), np.float32),
            (chunk.allowed, (width, self.vocabulary), np.bool_),
        ):
            assert array.shape == shape
            assert array.dtype == dtype
        assert ((chunk.uniforms >= 0) & (chunk.uniforms < 1)).all()
        assert ((chunk.forced >= -1) & (chunk.forced < self.vocabulary)).all()


def step_of(chunk: Chunk, index: int, step: int, state: int) -> tuple[int, int]:
    """A token and the state after it."""
    token = int(chunk.forced[index, step])
    if token < 0:
        drawn = _mix(
            state,
            int(chunk.uniforms[index, step] * 2**24),
            int(chunk.temperature[index] * 1000),
            int(chunk.top_k[index]),
            int(chunk.top_p[index] * 1000),
        )
        choices = np.flatnonzero(chunk.allowed[index])
        token = int(choices[drawn % len(choices)])
    return token, _mix(state, token)


class FakeOpener:
    """Writes what its runner would."""

    def __init__(self, runner: FakeRunner) -> None:
        self.before_open: Callable[[Chunk], None] = lambda chunk: None
        self.chunks: list[Chunk] = []
        self.threads: set[int] = set()
        self._runner = runner

    def open(self, clock_rows: NDArray[np.int64], chunk: Chunk) -> Opened:
        assert not self._runner.closed
        self._runner.check_arrays(chunk)
        assert chunk.steps % self._runner.chunk_sizes[0] == 0
        assert clock_rows.shape == (chunk.width,)
        assert clock_rows.dtype == np.int64
        self.threads.add(threading.get_ident())
        self.chunks.append(chunk)
        self.before_open(chunk)
        assert not self._runner.closed
        tokens = np.empty((chunk.width, chunk.steps), np.int64)
        states = []
        for index, clock_row in enumerate(clock_rows.tolist()):
            state = _mix(clock_row)
            for step in range(chunk.steps):
                tokens[index, step], state = step_of(chunk, index, step, state)
            states.append({"mixed": state})
        return Opened(tokens, states)


class Ledger:
    """Counts what an observer hears; the books must balance at every entry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.admissions = 0
        self.starts = 0
        self.first_tokens: list[float] = []
        self.chunks: list[tuple[int, int]] = []
        self.openings: list[tuple[int, int]] = []
        self.slices: list[int] = []
        self.freed: list[float] = []
        self.outcomes: Counter[Outcome] = Counter()
        self.tokens = 0
        self.wrong: list[str] = []

    @property
    def in_flight(self) -> int:
        return self.admissions - self.outcomes.total()

    def admitted(self) -> None:
        with self._lock:
            self.admissions += 1
            self._audit()

    def started(self, queue_seconds: float) -> None:
        with self._lock:
            self.starts += 1
            self._audit()
            if queue_seconds < 0:
                self.wrong.append("negative time in the queue")

    def first_token(self, seconds: float) -> None:
        with self._lock:
            self.first_tokens.append(seconds)
            self._audit()

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        with self._lock:
            self.chunks.append((width, steps))

    def opening(self, width: int, steps: int, seconds: float) -> None:
        with self._lock:
            self.openings.append((width, steps))

    def prefill(self, tokens: int, seconds: float) -> None:
        with self._lock:
            self.slices.append(tokens)

    def freed_after_cancel(self, seconds: float) -> None:
        with self._lock:
            self.freed.append(seconds)
            if seconds < 0:
                self.wrong.append("freed before it was cancelled")

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            self.tokens += tokens
            self._audit()

    def _audit(self) -> None:
        if not len(self.first_tokens) <= self.starts <= self.admissions:
            self.wrong.append("a sequence did something before it was admitted or started")
        if self.in_flight < 0:
            self.wrong.append("more finished than admitted")


class Gate:
    """Holds a runner in its next chunk, or an opener in its next opening, so that a test can act while it runs."""

    def __init__(self, held: FakeRunner | FakeOpener) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()
        if isinstance(held, FakeRunner):
            held.before_decode = self._pass
        else:
            held.before_open = self._pass

    def wait_until_reached(self) -> None:
        assert self._reached.wait(10), "nothing ran"

    def open(self) -> None:
        self._opened.set()

    def _pass(self, chunk: Chunk) -> None:
        self._reached.set()
        assert self._opened.wait(10), "nobody opened the gate"


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so that another thread brings about."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.001)
