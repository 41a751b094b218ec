"""The particles of one request: which of them wait for a resampling, and when it takes place."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from runtime.philox import resampling_uniform
from server.engine.particles import resampled


class ParticleGroup:
    """A barrier for the rows of a request, at each step after which they may be resampled.

    The result depends on the request alone: every row that can go on has arrived, whenever it ran, and rows count in
    the order of their candidates, whatever their slots.

    Args:
        seed: of the request.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._resamplings = 0
        self.arrived: set[int] = set()
        """Slots of rows that wait at the barrier."""
        self.stuck: set[int] = set()
        """Slots of rows that cannot go on. Copies of other rows may replace them."""

    def leave(self, slot: int) -> None:
        """Forget a row that is complete."""
        self.arrived.discard(slot)
        self.stuck.discard(slot)

    def is_ready(self, slots: Collection[int]) -> bool:
        """Whether a row has arrived, and all have that can go on.

        Args:
            slots: of the rows that are not complete.
        """
        return bool(self.arrived) and all(slot in self.arrived or slot in self.stuck for slot in slots)

    def resample(
        self, slots: Collection[int], log_weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
        """Open the barrier, and choose which rows are copied to which.

        Args:
            slots: of the rows that are not complete, in the order of their candidates.
            log_weights: (n,), of these rows; those of rows that cannot go on do not matter.

        Returns:
            Slots to copy from (m,) and to copy to (m,), the same order; None if all rows stay as they are.
        """
        assert self.is_ready(slots)
        places = np.array(list(slots), np.intp)
        is_stuck = np.isin(places, list(self.stuck))
        self.arrived.clear()
        copied = resampled(np.where(is_stuck, -np.inf, log_weights), resampling_uniform(self._seed, self._resamplings))
        if copied is None:
            return None
        self._resamplings += 1
        self.stuck.clear()  # the weight 0 has no copies, so all of them are replaced
        sources, targets = copied
        return places[sources], places[targets]
