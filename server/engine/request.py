"""What a caller asks the engine for: one request, as numbers."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import Guide
from music.grammar import FORBIDDEN
from music.remaining_length import UNKNOWN
from runtime.philox import derive_seed
from runtime.sampling import SamplingParams
from server.engine.errors import EngineRequestError
from server.engine.snapshot import Snapshot

MAX_CANDIDATES: Final = 64
"""Most candidates of a request."""
_DEFAULT_SAMPLING: Final = SamplingParams()


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A request for one sequence or several candidates. The same request gives the same tokens at any load.

    Raises:
        EngineRequestError: a value is out of range, or two values contradict each other.
    """

    seed: int
    """Key of the random stream, 0 to 2^64 - 1."""
    max_tokens: int
    """Maximum number of tokens, at least 1. Forced tokens and the end token count."""
    position_index: int = 0
    """Position index of the first token."""
    remaining: int = UNKNOWN
    """Remaining length before the first token (`music.remaining_length`), for a network that gets it; or `UNKNOWN`."""
    sampling: SamplingParams = _DEFAULT_SAMPLING
    """How tokens are sampled."""
    forced: tuple[int, ...] = ()
    """The first tokens, given instead of sampled; without the end token."""
    end_token: int | None = None
    """The token that ends the sequence when it is sampled; None if the model has none."""
    may_end: bool = True
    """False: the end token is never sampled, so `max_tokens` or the stop tokens alone decide the length."""
    stop_token: int | None = None
    """A token that stops the sequence when it has occurred `stop_count` times; None for none."""
    stop_count: int = 0
    """Occurrences of the stop token that stop the sequence; 0 if there is no stop token."""
    guide: Guide | None = None
    """Instructions for every step, those of the forced tokens included; None: only `forced` is given."""
    candidates: int = 1
    """Number of sequences to write side by side, 1 to `MAX_CANDIDATES`."""
    particles: bool = False
    """Whether the candidates are particles of one filter, which copy each other where the guide's instructions allow
    it. Else they are independent: candidate i is what a request for one candidate with `derive_seed(seed, i)` gives."""
    resume: Snapshot | None = None
    """Where an earlier sequence stood that this one continues; its tokens count. Its seed replaces `seed`. The other
    values must be those of the earlier request, but for `max_tokens` and `snapshots`, if the same bytes are wanted.
    `remaining` is not read: the snapshot's state has its own."""
    snapshots: bool = False
    """Whether candidates and listeners get snapshots. Each costs a copy of the state."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise EngineRequestError(f"seed must be 0 to 2^64 - 1, not {self.seed}")
        if self.max_tokens < 1:
            raise EngineRequestError(f"max_tokens must be at least 1, not {self.max_tokens}")
        if self.remaining < 0 and self.remaining != UNKNOWN:
            raise EngineRequestError(f"remaining must be at least 0, or {UNKNOWN} if unknown, not {self.remaining}")
        if len(self.forced) > self.max_tokens:
            raise EngineRequestError(f"{len(self.forced)} forced tokens exceed max_tokens {self.max_tokens}")
        if self.end_token is not None and self.end_token in self.forced:
            raise EngineRequestError("the end token cannot be forced")
        if (self.stop_token is None) != (self.stop_count == 0) or self.stop_count < 0:
            raise EngineRequestError(
                f"stop_count must be at least 1 with a stop token and 0 without one, not {self.stop_count}"
            )
        if not 1 <= self.candidates <= MAX_CANDIDATES:
            raise EngineRequestError(f"candidates must be 1 to {MAX_CANDIDATES}, not {self.candidates}")
        if self.resume is not None:
            self._check_resume(self.resume)

    def _check_resume(self, snapshot: Snapshot) -> None:
        count = len(snapshot.tokens)
        if self.candidates > 1:
            raise EngineRequestError(f"candidates must be 1 to resume a sequence, not {self.candidates}")
        if count >= self.max_tokens:
            raise EngineRequestError(f"max_tokens must be above the {count} tokens to resume, not {self.max_tokens}")
        if not 0 <= snapshot.state_tokens <= count:
            raise EngineRequestError(f"state_tokens must be 0 to {count}, not {snapshot.state_tokens}")
        if not 0 <= snapshot.seed < 2**64 or not 0 <= snapshot.stream < MAX_CANDIDATES:
            raise EngineRequestError(
                f"seed {snapshot.seed} or stream {snapshot.stream} of the snapshot is out of range"
            )
        if snapshot.tokens[: len(self.forced)].tolist() != list(self.forced[:count]):
            raise EngineRequestError("the tokens to resume do not begin with the forced tokens")
        if self.end_token is not None and (snapshot.tokens == self.end_token).any():
            raise EngineRequestError("the tokens to resume contain the end token")
        if self.stop_token is not None and np.count_nonzero(snapshot.tokens == self.stop_token) >= self.stop_count:
            raise EngineRequestError("the tokens to resume contain all stop tokens")

    def check_tokens(self, vocabulary: int) -> None:
        """Check that every token is in a vocabulary of `vocabulary` tokens.

        Raises:
            EngineRequestError: a token is not, or the guide is for another vocabulary.
        """
        if self.guide is not None and self.guide.biases.shape[1] != vocabulary:
            raise EngineRequestError(f"the guide is for {self.guide.biases.shape[1]} tokens, not {vocabulary}")
        special = (token for token in (self.end_token, self.stop_token) if token is not None)
        tokens = (*self.forced, *special)
        if self.resume is not None and len(self.resume.tokens):
            tokens += (int(self.resume.tokens.min()), int(self.resume.tokens.max()))
        # Only the extremes: there may be many forced tokens, and this runs on the event loop.
        for token in (min(tokens, default=0), max(tokens, default=0)):
            if not 0 <= token < vocabulary:
                raise EngineRequestError(f"token {token} is not one of 0 to {vocabulary - 1}")

    @property
    def known_count(self) -> int:
        """Number of tokens that are known at the start: the forced ones, or those of the sequence to resume."""
        return len(self.forced) if self.resume is None else len(self.resume.tokens)

    @property
    def banned_token(self) -> int | None:
        """A token that is never sampled."""
        return None if self.may_end else self.end_token

    @property
    def has_particles(self) -> bool:
        """Whether the candidates may copy each other."""
        return self.particles and self.candidates > 1

    def random_stream(self, index: int) -> tuple[int, int]:
        """Return the seed of a candidate and the number of its stream."""
        if self.resume is not None:
            return self.resume.seed, self.resume.stream
        return (self.seed, index) if self.particles else (derive_seed(self.seed, index), 0)

    def bias(self, vocabulary: int) -> NDArray[np.float32]:
        """Return the bias of each token, (vocabulary,): 0, or `FORBIDDEN`. The grammar may forbid more tokens."""
        bias = np.zeros(vocabulary, np.float32)
        if self.banned_token is not None:
            bias[self.banned_token] = FORBIDDEN
        return bias
