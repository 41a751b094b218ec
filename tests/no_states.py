"""The part of the `Runner` protocol that reads and writes states, for runners that tests drive without it."""

import numpy as np
from numpy.typing import NDArray

from runtime.runner import SequenceState


class NoStates:
    """A base class. None of its methods may be called."""

    def resume(self, slot: int, state: SequenceState) -> None:
        raise NotImplementedError

    def state(self, slot: int) -> SequenceState:
        raise NotImplementedError

    def state_before_last_chunk(self, slot: int) -> SequenceState:
        raise NotImplementedError

    def rewind(self, slots: NDArray[np.intp]) -> None:
        raise NotImplementedError

    def copy_states(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        raise NotImplementedError

    def hold(self, slot: int) -> None:
        raise NotImplementedError
