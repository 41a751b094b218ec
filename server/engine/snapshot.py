"""A point of a sequence from which any engine of the same bundle continues it, bit for bit."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime.runner import SequenceState
from server.engine.nats import NatsSums


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Tokens, a state and the random stream of a sequence.

    The state may be older than the last token. A sequence that continues from here takes the tokens after the state as
    forced ones, and then samples as if it had never been interrupted.
    """

    tokens: NDArray[np.int32]
    """(n,): all tokens so far, without an end token."""
    state: SequenceState
    """The runner's state after the first `state_tokens` tokens."""
    state_tokens: int
    """0 to n."""
    nats: float
    """`Candidate.nats` of the first `state_tokens` tokens."""
    given_nats: float
    """`Candidate.given_nats` of the same tokens."""
    started: bool
    """Whether one of these tokens was sampled."""
    seed: int
    """Key of the random stream, 0 to 2^64 - 1."""
    stream: int = 0
    """Number of the stream of this seed."""
    sums: NatsSums = field(init=False, repr=False)
    """`nats`, `given_nats` and `started` as the sums to go on with."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sums", NatsSums(self.nats, self.given_nats, self.started))
