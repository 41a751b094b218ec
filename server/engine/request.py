"""What the engine is asked: one request, as numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.engine.errors import EngineRequestError


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a token is drawn: temperature first; then both top-k and top-p must leave it, top-p of all probabilities.

    Raises:
        EngineRequestError: a value is out of range.
    """

    temperature: float = 1.0
    """Divides the logits; above 0."""
    top_k: int = 0
    """Only the k likeliest tokens may be drawn; 0 for no limit."""
    top_p: float = 1.0
    """Only the likeliest tokens whose probabilities sum to this may be drawn; above 0, 1 for no limit."""

    def __post_init__(self) -> None:
        # Written so that NaN fails too.
        if not 0.0 < self.temperature < float("inf"):
            raise EngineRequestError(f"temperature must be finite and above 0, not {self.temperature}")
        if self.top_k < 0:
            raise EngineRequestError(f"top_k must be at least 0, not {self.top_k}")
        if not 0.0 < self.top_p <= 1.0:
            raise EngineRequestError(f"top_p must be above 0 and at most 1, not {self.top_p}")


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One sequence to decode; the same request gives the same tokens, whatever runs beside it.

    Raises:
        EngineRequestError: a value is out of range, or two contradict each other.
    """

    seed: int
    """Key of the random stream, 0 to 2^64 - 1."""
    max_tokens: int
    """Tokens to decode at most, at least 1; forced ones and the end token count."""
    clock_row: int = 0
    """Clock row of the first token."""
    sampling: SamplingParams = SamplingParams()
    """How tokens are drawn."""
    forced: tuple[int, ...] = ()
    """The first tokens, told instead of sampled; no end token among them."""
    end_token: int | None = None
    """The token that ends the sequence when it is sampled; None if only `max_tokens` does."""
    may_end: bool = True
    """False: the end token is never sampled, so the sequence becomes as long as it may."""
    stop_token: int | None = None
    """A token that makes the sequence full when it has come often enough; None if there is none."""
    stop_count: int = 0
    """How often that is; 0 if there is no stop token."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise EngineRequestError(f"seed must be 0 to 2^64 - 1, not {self.seed}")
        if self.max_tokens < 1:
            raise EngineRequestError(f"max_tokens must be at least 1, not {self.max_tokens}")
        if len(self.forced) > self.max_tokens:
            raise EngineRequestError(f"{len(self.forced)} forced tokens exceed max_tokens {self.max_tokens}")
        if self.end_token is not None and self.end_token in self.forced:
            raise EngineRequestError("the end token cannot be forced")
        if (self.stop_token is None) != (self.stop_count == 0) or self.stop_count < 0:
            raise EngineRequestError(f"a stop token needs a stop_count of at least 1, none needs 0: {self.stop_count}")

    def allowed(self, vocabulary: int) -> NDArray[np.bool_]:
        """Which tokens it lets be sampled, (vocabulary,), on top of the grammar."""
        allowed = np.ones(vocabulary, np.bool_)
        if self.end_token is not None:
            allowed[self.end_token] = self.may_end
        return allowed
