"""Where in the bar each token is: a table that advances by one index with every token."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from music.errors import UnsupportedMeterError
from music.score import TICKS_PER_QUARTER, Meter


@dataclass(frozen=True, slots=True, eq=False)
class MetricalPositions:
    """Where in the bar each token is, as an index into tables.

    An index stands for one place in a bar of one meter and, where voices are interleaved, for one voice. The index of
    the next token follows from the index of the last one, whatever the tokens are. The network sees an index through
    its features, each embedded on its own.
    """

    successor: NDArray[np.int32]
    """(positions,): index of the next token."""
    features: NDArray[np.int32]
    """(positions, features): inputs of the network for each index."""
    feature_sizes: tuple[int, ...]
    """Number of values of each feature."""
    meters: tuple[Meter, ...]
    """Meters that have positions of their own."""
    starts: dict[tuple[Meter | None, int], int]
    """Index of the first token, by (meter, pickup in ticks); meter None where the meter is not known."""

    @classmethod
    def single(cls, meters: tuple[Meter, ...]) -> "MetricalPositions":
        """One index for all tokens, for tokenizers whose tokens state the position or have none."""
        return cls(
            successor=np.zeros(1, np.int32),
            features=np.zeros((1, 1), np.int32),
            feature_sizes=(1,),
            meters=meters,
            starts={(meter, 0): 0 for meter in (*meters, None)},
        )

    def __len__(self) -> int:
        return len(self.successor)

    def start(self, meter: Meter | None, pickup_ticks: int = 0) -> int:
        """Index of a piece's first token.

        Raises:
            UnsupportedMeterError: the meter has no positions, or no grid step falls on this pickup.
        """
        index = self.starts.get((meter, pickup_ticks))
        if index is None:
            known = ", ".join(map(str, self.meters))
            if meter is not None and meter not in self.meters:
                raise UnsupportedMeterError(f"meter {meter} is not supported; this model supports {known}")
            raise UnsupportedMeterError(f"a pickup of {pickup_ticks} ticks does not fit meter {meter}")
        return index

    @property
    def beat_starts(self) -> list[int]:
        """Every index on a quarter at which a piece may begin, in all meters; without the unknown meter."""
        quarter = (key for key in self.starts if key[0] is not None and key[1] % TICKS_PER_QUARTER == 0)
        return sorted({self.starts[key] for key in quarter})

    def indices(self, start: int, count: int) -> NDArray[np.int32]:
        """The indices of `count` tokens, (count,), of which the first has index `start`."""
        indices = np.empty(count, np.int32)
        index = start
        for token in range(count):
            indices[token] = index
            index = int(self.successor[index])
        return indices
