"""A model that is arithmetic: what it writes follows from the grammar and the uniforms alone."""

import threading
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from music.tokenizers import GridTokenizer
from music.tokenizers.grid import END, FIRST_PITCH, HOLD
from server.engine.runner import Chunk, State


class ArithmeticRunner:
    """Writes what the grammar allows, chosen by the uniforms alone. Can be held, and made to fail."""

    chunk_sizes = (1, 8)
    provider = "ArithmeticProvider"
    precision = "exact"
    opener = None

    def __init__(self, tokenizer: GridTokenizer, slots: int = 4) -> None:
        self.slots = self.width = slots
        self.vocabulary = tokenizer.vocabulary_size
        self.go = threading.Event()
        """Cleared, it holds every run."""
        self.go.set()
        self.fail = False
        self.seconds_a_run = 0.0
        self.closed = False
        self._grammar = tokenizer.grammar
        self._state = np.zeros(slots, np.int32)

    def reset(self, slot: int, clock_row: int) -> None:
        self._state[slot] = self._grammar.start

    def resume(self, slot: int, state: State) -> None:
        raise NotImplementedError

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        for first in range(0, len(tokens), slice_tokens):
            part = tokens[first : first + slice_tokens]
            for token in part:
                self._state[slot] = self._grammar.successor[self._state[slot], token]
            yield len(part)

    def decode(self, chunk: Chunk) -> NDArray[np.int64]:
        assert self.go.wait(30)
        time.sleep(self.seconds_a_run)
        if self.fail:
            raise RuntimeError("the secret of the graph")
        tokens = np.empty((chunk.width, chunk.steps), np.int64)
        for index, row in enumerate(chunk.rows):
            for step in range(chunk.steps):
                allowed = self._grammar.allowed[self._state[row]] & chunk.allowed[index]
                token = _choose(allowed, float(chunk.uniforms[index, step]))
                tokens[index, step] = token
                self._state[row] = self._grammar.successor[self._state[row], token]
        return tokens

    def close(self) -> None:
        self.closed = True


def _choose(allowed: NDArray[np.bool_], uniform: float) -> int:
    if allowed[END] and uniform < 0.02:
        return END
    if allowed[HOLD] and uniform < 0.7:
        return HOLD
    choices = [token for token in np.flatnonzero(allowed) if token >= FIRST_PITCH]
    return int(choices[int(uniform * len(choices))]) if choices else END
