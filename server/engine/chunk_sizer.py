"""Chooses the number of steps of a chunk from the measured durations of earlier chunks."""

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Final

MAX_CHUNK_SECONDS: Final = 0.010
"""Maximum chunk duration while a new request could be waiting for its first token: twice what the network and the
protocol add to a call."""
MAX_CHUNK_SECONDS_WITH_ADMISSION_WORKER: Final = 0.060
"""The same if the admission worker decodes first tokens beside the chunk. A new sequence still waits until the end of
the chunk for its second step, and a cancelled one keeps its slot until then."""
MAX_STEP_COST_RATIO: Final = 1.25
"""Maximum cost of a step in a shorter chunk, relative to a step in the longer one. A run has a fixed cost, and so has
the work between two runs. Where these are a large part of a chunk, a shorter chunk ends hardly sooner and slows down
all sequences."""
_WINDOW: Final = 5  # durations kept for each size; the median ignores those that another process made longer
_TRIAL_INTERVAL: Final = 128  # chunks between two trials of the longest size


class ChunkSizer:
    """Keeps the durations of the latest chunks of each size. An unknown duration counts as 0.

    Args:
        chunk_sizes: the numbers of steps that a chunk may have, ascending.
        max_chunk_seconds: maximum chunk duration while a new request could be waiting.
    """

    def __init__(self, chunk_sizes: Sequence[int], max_chunk_seconds: float = MAX_CHUNK_SECONDS) -> None:
        self.max_chunk_seconds = max_chunk_seconds
        self._seconds = {size: deque([0.0] * _WINDOW, maxlen=_WINDOW) for size in chunk_sizes}
        self._chunks = 0
        self._last_size = chunk_sizes[0]

    @property
    def median_seconds(self) -> float:
        """Median duration of the latest chunks that had as many steps as the last one."""
        return median(self._seconds[self._last_size])

    def record(self, steps: int, seconds: float) -> None:
        """Record the duration of a chunk."""
        self._seconds[steps].append(seconds)
        self._chunks += 1
        self._last_size = steps

    def choose(self, sizes: Sequence[int]) -> int:
        """Choose the longest size that takes at most `max_chunk_seconds`.

        It stops at a longer size if a step in the next shorter one costs more than `MAX_STEP_COST_RATIO` as much.
        Every 128 chunks it returns the longest size, because that may have become faster: fewer sequences run.

        Args:
            sizes: to choose from; at least one, ascending.
        """
        *shorter, chosen = sizes
        if self._chunks % _TRIAL_INTERVAL == 0:
            return chosen
        for size in reversed(shorter):
            seconds, chosen_seconds = median(self._seconds[size]), median(self._seconds[chosen])
            step_cost_ratio_exceeded = seconds / size > MAX_STEP_COST_RATIO * chosen_seconds / chosen
            if chosen_seconds <= self.max_chunk_seconds or step_cost_ratio_exceeded:
                break
            chosen = size
        return chosen
