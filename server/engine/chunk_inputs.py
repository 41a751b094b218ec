"""What the decode graphs take beside the state."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from server.engine.runner import Chunk


class Choices:
    """How many tokens the rows of a run may draw from, so that no more are sorted. For one thread."""

    def __init__(self, bundle: Bundle) -> None:
        self._most = bundle.tokenizer.grammar.choices
        self._top_k: NDArray[np.int64] | None = None
        self._choices = np.array([self._most], np.int64)

    def of(self, top_k: NDArray[np.int64]) -> NDArray[np.int64]:
        """The decode graphs' `choices`, (1,), for rows of `top_k` (width,), which nobody changes any more."""
        if top_k is not self._top_k:
            limits = np.where(top_k == 0, self._most, top_k)
            self._top_k, self._choices = top_k, np.minimum(limits.max(keepdims=True), self._most)
        return self._choices


def chunk_inputs(chunk: Chunk, choices: Choices) -> dict[str, NDArray[Any]]:
    """All inputs of a decode graph that are no state, by name."""
    return {
        "uniforms": chunk.uniforms,
        "forced": chunk.forced,
        "temperature": chunk.temperature,
        "top_k": chunk.top_k,
        "top_p": chunk.top_p,
        "allowed": chunk.allowed,
        "choices": choices.of(chunk.top_k),
    }
