"""What the engine answers: one finished sequence."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class FinishReason(Enum):
    """Why a sequence ended."""

    LENGTH = "length"
    """It has `max_tokens` tokens, or all its stop tokens."""
    END = "end"
    """Its end token was sampled."""


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """A finished sequence and where its time went. All times count from its submission."""

    tokens: NDArray[np.int32]
    """(n,): forced tokens included, and the end token when that is why it finished."""
    finish_reason: FinishReason
    """Why it ended."""
    queue_seconds: float
    """Until it got a slot."""
    first_token_seconds: float
    """Until its first sampled token was there; the last forced one if none was sampled."""
    total_seconds: float
    """Until its last token was there."""
