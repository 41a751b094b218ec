"""Drives runners the way the engine does, without one."""

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.engine.runner import Chunk, Runner

_SLICE = 8
Step = tuple[str, int, int]


def plays(slots: int) -> st.SearchStrategy[list[Step]]:
    """What may happen to slots: joins, primers, chunks, in any order."""
    kinds = ["join", "join", "primer", "read", "read", "leave", "again", "chunk", "chunk", "chunk"]
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, slots - 1), st.integers(1, 30)), max_size=60)


def chunk_of(runner: Runner, rows: NDArray[np.intp], steps: int, random: np.random.Generator) -> Chunk:
    width, vocabulary = len(rows), runner.vocabulary
    allowed = random.random((width, vocabulary)) < 0.8
    allowed[:, 2:4] = True  # REST and HOLD, so that something is always left
    return Chunk(
        rows=rows,
        uniforms=random.random((width, steps), dtype=np.float32),
        forced=np.where(random.random((width, steps)) < 0.1, 2, -1).astype(np.int64),
        temperature=random.uniform(0.5, 2.0, width).astype(np.float32),
        top_k=random.integers(0, vocabulary + 5, width),
        top_p=random.uniform(0.3, 1.0, width).astype(np.float32),
        allowed=allowed,
    )


def free_run(runner: Runner, steps: int) -> Chunk:
    """Every slot, sampling whatever the grammar allows."""
    every, ones = np.arange(runner.slots), np.ones(runner.slots, np.float32)
    return Chunk(
        rows=every,
        uniforms=np.random.default_rng(steps).random((runner.slots, steps), dtype=np.float32),
        forced=np.full((runner.slots, steps), -1, np.int64),
        temperature=ones,
        top_k=np.zeros(runner.slots, np.int64),
        top_p=ones,
        allowed=np.ones((runner.slots, runner.vocabulary), np.bool_),
    )


class Play:
    """Drives a runner as the engine does: who is in runs in every chunk; a primer is read while others run."""

    def __init__(self, runner: Runner, seed: int) -> None:
        self.runner = runner
        self.random = np.random.default_rng(seed)
        self.running: set[int] = set()
        self.reading: dict[int, Iterator[int]] = {}
        self.tokens: list[tuple[list[int], list[list[int]]]] = []

    def act(self, step: Step) -> None:
        kind, slot, number = step
        free = slot not in self.running and slot not in self.reading
        if kind == "join" and free:
            self.runner.reset(slot, number % 5)
            self.running.add(slot)
        elif kind == "primer" and free:
            self.runner.reset(slot, number % 5)
            self.reading[slot] = self.runner.prefill(slot, np.full(number, 2, np.int64), _SLICE)
        elif kind == "read" and slot in self.reading:
            if next(self.reading[slot], None) is None:
                del self.reading[slot]
                self.running.add(slot)
        elif kind == "leave":
            self.running.discard(slot)
            self.reading.pop(slot, None)
        elif kind == "again" and slot in self.running:  # it left and another came, between two chunks
            self.runner.reset(slot, number % 5)
        elif kind == "chunk" and self.running:
            rows = np.array(sorted(self.running))
            for _ in range(2):
                chunk = chunk_of(self.runner, rows, (1, 4, 16)[number % 3], self.random)
                self.tokens.append((rows.tolist(), self.runner.decode(chunk).tolist()))
