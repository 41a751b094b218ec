"""Sampling: a sequence's parameters, and the sampling inputs of a decode graph."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.graph_names import CANDIDATE_LIMIT
from runtime.errors import SamplingError
from runtime.runner import Chunk


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The sampling parameters of a sequence.

    The temperature is applied first. Then a token can be sampled if both top-k and top-p keep it. Top-p counts the
    probabilities of all tokens, not only of those that top-k keeps.

    Raises:
        SamplingError: a value is out of range.
    """

    temperature: float = 1.0
    """Divisor of the logits; above 0."""
    top_k: int = 0
    """Keeps the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keeps the most likely tokens up to this total probability; above 0; 1 keeps all."""

    def __post_init__(self) -> None:
        # The comparisons are written so that NaN fails too.
        if not 0.0 < self.temperature < float("inf"):
            raise SamplingError(f"temperature must be finite and above 0, not {self.temperature}")
        if self.top_k < 0:
            raise SamplingError(f"top_k must be at least 0, not {self.top_k}")
        if not 0.0 < self.top_p <= 1.0:
            raise SamplingError(f"top_p must be above 0 and at most 1, not {self.top_p}")


def candidate_limit(top_k: NDArray[np.int64], max_allowed: int) -> NDArray[np.int64]:
    """The number of most likely tokens that the sampler must sort, (1,).

    Args:
        top_k: (batch,), 0 for no limit.
        max_allowed: maximum number of legal tokens in any state of the grammar.
    """
    limits = np.where(top_k == 0, max_allowed, top_k)
    limit: NDArray[np.int64] = np.minimum(limits.max(keepdims=True), max_allowed)
    return limit


class SamplingInputs:
    """Makes the inputs of a decode graph that are not state. Not thread-safe: it caches the last candidate limit."""

    def __init__(self, bundle: Bundle) -> None:
        self._max_allowed = bundle.tokenizer.grammar.max_allowed
        self._top_k: NDArray[np.int64] | None = None
        self._limit = np.array([self._max_allowed], np.int64)

    def of(self, chunk: Chunk) -> dict[str, NDArray[Any]]:
        """The inputs for a chunk, by name."""
        if chunk.top_k is not self._top_k:  # chunks of the same rows share the array
            self._top_k, self._limit = chunk.top_k, candidate_limit(chunk.top_k, self._max_allowed)
        return {
            "uniforms": chunk.uniforms,
            "forced": chunk.forced,
            "temperature": chunk.temperature,
            "top_k": chunk.top_k,
            "top_p": chunk.top_p,
            "bias": chunk.bias,
            "bias_index": chunk.bias_index,
            CANDIDATE_LIMIT: self._limit,
        }
