"""How long chunks take, and so which are short enough for whoever may come."""

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Final

PATIENCE_SECONDS: Final = 0.010
"""How long a chunk may take while somebody may come who gets no first token before it is over: twice what a call's way
over the wire takes."""
USHERED_PATIENCE_SECONDS: Final = 0.060
"""The same where first tokens are found beside the chunk: so late does a newcomer go on, and does who gave up leave."""
DEAREST: Final = 1.25
"""What a step of a shorter chunk may cost, in those of the longer one. A run has a fixed price, and so has what is done
between two runs: where that is much of a chunk, a shorter one would be over hardly sooner, and everybody would pay for
it."""
_REMEMBERED: Final = 5  # chunks of each size; their median counts, since the machine may do something else at times
_BETWEEN_TRIALS: Final = 128  # chunks


class Pace:
    """Remembers how long the latest chunks of each size took; until three are known, they took nothing.

    Args:
        chunk_sizes: numbers of steps.
        patience: seconds that a chunk may take while somebody may come.
    """

    def __init__(self, chunk_sizes: Sequence[int], patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._seconds = {size: deque([0.0] * _REMEMBERED, maxlen=_REMEMBERED) for size in chunk_sizes}
        self._chunks = 0
        self._last_size = chunk_sizes[0]

    @property
    def usual_seconds(self) -> float:
        """How long chunks of the latest one's size take."""
        return median(self._seconds[self._last_size])

    def ran(self, steps: int, seconds: float) -> None:
        """Hear how long a chunk took."""
        self._seconds[steps].append(seconds)
        self._chunks += 1
        self._last_size = steps

    def shortened(self, sizes: Sequence[int]) -> int:
        """Choose among sizes, at least one, ascending: the longest unless it tries patience and a shorter one does not.

        Once in a while it is the longest whatever is known, for it may have become faster: fewer sequences run.
        """
        *shorter, chosen = sizes
        if self._chunks % _BETWEEN_TRIALS == 0:
            return chosen
        for size in reversed(shorter):
            seconds, long_seconds = median(self._seconds[size]), median(self._seconds[chosen])
            if long_seconds <= self._patience or seconds / size > DEAREST * long_seconds / chosen:
                break
            chosen = size
        return chosen
