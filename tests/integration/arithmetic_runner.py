"""A runner without a network: its tokens depend only on the grammar and the uniforms."""

import threading
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from music.grammar import FORBIDDEN
from music.remaining_length import UNKNOWN
from music.tokenizers import GridTokenizer
from music.tokenizers.grid_vocabulary import END, FIRST_PITCH, HOLD
from runtime.runner import Chunk, Decoded, SequenceState


class ArithmeticRunner:
    """Chooses tokens that the grammar allows, by the uniforms alone. Tests can block it and make it fail."""

    chunk_sizes = (1, 8)
    provider = "ArithmeticProvider"
    precision = "exact"
    first_token_runner = None

    def __init__(self, tokenizer: GridTokenizer, slots: int = 4) -> None:
        self.slots = self.max_batch_size = slots
        self.vocabulary = tokenizer.vocabulary_size
        self.go = threading.Event()
        """While it is cleared, every run blocks."""
        self.go.set()
        self.fail = False
        self.run_seconds = 0.0
        self.closed = False
        self._grammar = tokenizer.grammar
        self._state = np.zeros(slots, np.int32)
        self._before = self._state

    def reset(self, slot: int, position_index: int, remaining: int = UNKNOWN) -> None:
        self._state[slot] = self._grammar.start

    def resume(self, slot: int, state: SequenceState) -> None:
        self._state[slot] = state["grammar"]

    def state(self, slot: int) -> SequenceState:
        return {"grammar": self._state[slot].copy()}

    def state_before_last_chunk(self, slot: int) -> SequenceState:
        return {"grammar": self._before[slot].copy()}

    def rewind(self, slots: NDArray[np.intp]) -> None:
        self._state[slots] = self._before[slots]

    def copy_states(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        self._state[targets] = self._state[sources]

    def hold(self, slot: int) -> None:
        pass

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        for first in range(0, len(tokens), slice_tokens):
            assert self.go.wait(30)
            part = tokens[first : first + slice_tokens]
            for token in part:
                self._state[slot] = self._grammar.successor[self._state[slot], token]
            yield len(part)

    def decode(self, chunk: Chunk) -> Decoded:
        assert self.go.wait(30)
        time.sleep(self.run_seconds)
        if self.fail:
            raise RuntimeError("the secret of the graph")
        self._before = self._state.copy()
        tokens = np.empty((chunk.batch_size, chunk.steps), np.int64)
        log_probabilities = np.empty(tokens.shape, np.float32)
        for index, row in enumerate(chunk.rows):
            for step in range(chunk.steps):
                legal = self._grammar.allowed[self._state[row]]
                allowed = legal & (chunk.bias[chunk.bias_index[index, step]] > FORBIDDEN)
                token = int(chunk.forced[index, step])
                if token < 0:
                    token = _choose(allowed, float(chunk.uniforms[index, step]))
                tokens[index, step] = token
                log_probabilities[index, step] = -np.log(np.count_nonzero(legal))
                self._state[row] = self._grammar.successor[self._state[row], token]
        return Decoded(tokens, log_probabilities)

    def close(self) -> None:
        self.closed = True


def _choose(allowed: NDArray[np.bool_], uniform: float) -> int:
    if allowed[END] and uniform < 0.02:
        return END
    if allowed[HOLD] and uniform < 0.7:
        return HOLD
    choices = [token for token in np.flatnonzero(allowed) if token >= FIRST_PITCH]
    return int(choices[int(uniform * len(choices))]) if choices else END
