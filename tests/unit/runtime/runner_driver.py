"""Drives runners the way the engine does, without an engine."""

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.grammar import FORBIDDEN
from music.remaining_length import UNKNOWN
from runtime.runner import Chunk, Runner
from server.engine.request import EngineRequest

_SLICE = 8
DriverStep = tuple[str, int, int]


def driver_steps(slots: int) -> st.SearchStrategy[list[DriverStep]]:
    """Generate what may happen to slots: additions, prefills, chunks, in any order."""
    kinds = ["add", "add", "prefill", "slice", "slice", "remove", "reset", "chunk", "chunk", "chunk", "rewind"]
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, slots - 1), st.integers(1, 30)), max_size=60)


def chunk_of(runner: Runner, rows: NDArray[np.intp], steps: int, random: np.random.Generator) -> Chunk:
    width, vocabulary = len(rows), runner.vocabulary
    # One table more than the chunk uses; half of its numbers are finite.
    bias = random.normal(0, 1, (width + 3, vocabulary)).astype(np.float32)
    bias[random.random(bias.shape) < 0.5] = 0
    bias[random.random(bias.shape) < 0.2] = FORBIDDEN
    bias[:, 2:4] = 0  # REST and HOLD, so that a token is always allowed
    return Chunk(
        rows=rows,
        uniforms=random.random((width, steps), dtype=np.float32),
        forced=np.where(random.random((width, steps)) < 0.1, 2, -1).astype(np.int64),
        temperature=random.uniform(0.5, 2.0, width).astype(np.float32),
        top_k=random.integers(0, vocabulary + 5, width),
        top_p=random.uniform(0.3, 1.0, width).astype(np.float32),
        bias=bias,
        bias_index=random.integers(0, len(bias), (width, steps)),
    )


def free_run(runner: Runner, steps: int) -> Chunk:
    """Make a chunk of every slot that samples what the grammar allows."""
    every, ones = np.arange(runner.slots), np.ones(runner.slots, np.float32)
    return Chunk(
        rows=every,
        uniforms=np.random.default_rng(steps).random((runner.slots, steps), dtype=np.float32),
        forced=np.full((runner.slots, steps), -1, np.int64),
        temperature=ones,
        top_k=np.zeros(runner.slots, np.int64),
        top_p=ones,
        bias=np.zeros((1, runner.vocabulary), np.float32),
        bias_index=np.zeros((runner.slots, steps), np.int64),
    )


def some_length(number: int) -> int:
    """Return an unknown remaining length, or one of up to 49 tokens."""
    return UNKNOWN + number * 7 % 50


def engine_requests(count: int) -> list[EngineRequest]:
    """Requests of different lengths, two thirds of them with forced tokens to prefill."""
    return [
        EngineRequest(
            seed=n,
            max_tokens=130 + 37 * n % 200,
            forced=(2,) * (n % 3 * 60),
            position_index=n % 5,
            remaining=some_length(n),
        )
        for n in range(count)
    ]


class RunnerDriver:
    """Drives a runner as the engine does: every running slot runs in every chunk, and prefills run between chunks."""

    def __init__(self, runner: Runner, seed: int) -> None:
        self.runner = runner
        self.random = np.random.default_rng(seed)
        self.running: set[int] = set()
        self.prefilling: dict[int, Iterator[int]] = {}
        self.tokens: list[tuple[list[int], list[list[int]], list[list[float]]]] = []

    def act(self, step: DriverStep) -> None:
        kind, slot, number = step
        free = slot not in self.running and slot not in self.prefilling
        if kind == "add" and free:
            self.runner.reset(slot, number % 5, some_length(number))
            self.running.add(slot)
        elif kind == "prefill" and free:
            self.runner.reset(slot, number % 5, some_length(number))
            self.prefilling[slot] = self.runner.prefill(slot, np.full(number, 2, np.int64), _SLICE)
        elif kind == "slice" and slot in self.prefilling:
            if next(self.prefilling[slot], None) is None:
                del self.prefilling[slot]
                self.running.add(slot)
        elif kind == "remove":
            self.running.discard(slot)
            self.prefilling.pop(slot, None)
        elif kind == "reset" and slot in self.running:  # another sequence takes the slot between two chunks
            self.runner.reset(slot, number % 5, some_length(number))
        elif kind == "chunk" and self.running:
            rows = np.array(sorted(self.running))
            for _ in range(2):
                chunk = chunk_of(self.runner, rows, (1, 4, 16)[number % 3], self.random)
                decoded = self.runner.decode(chunk)
                self.tokens.append((rows.tolist(), decoded.tokens.tolist(), decoded.log_probabilities.tolist()))
        elif kind == "rewind" and self.running:
            rows = np.array(sorted(self.running))
            chunk = chunk_of(self.runner, rows, (1, 4)[number % 2], self.random)
            first = self.runner.decode(chunk)
            again = self.random.random(len(rows)) < 0.5
            self.runner.rewind(rows[again])
            second = self.runner.decode(chunk)
            assert second.tokens[again].tolist() == first.tokens[again].tolist()
            assert second.log_probabilities[again].tolist() == first.log_probabilities[again].tolist()
            self.tokens.append((rows.tolist(), second.tokens.tolist(), second.log_probabilities.tolist()))
