"""What one product of a voices' row with a matrix gives: every lookup of the step, the profile, and the next row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from music.linear_voicing import Features, LinearVoicing
from music.voicing import DECAYS, PITCH_CLASSES


@dataclass(frozen=True, slots=True, eq=False)
class Lookups:
    """A lookup is a number that is whole once it is cut off, plus where its table begins, which the clock decides.

    In order: rows of the table of embeddings (the previous token, the clock, what the network is told of the voices),
    rows of the table of columns (a heard token of each voice, and the plain output), and the root of the profile.
    """

    counts: tuple[int, ...]
    """How many there are of each."""
    widths: tuple[int, ...]
    """Columns of the parts of the product: lookups, the profile and its sums if the network is told of it, the row."""
    step: NDArray[np.float32]
    """(size, columns): the matrix."""
    begin: NDArray[np.float32]
    """(clock rows, lookups): what is added to them."""
    bound: NDArray[np.float32]
    """(clock rows, lookups): what bounds them then."""

    @classmethod
    def of(
        cls,
        linear: LinearVoicing,
        *,
        told: NDArray[np.integer],
        tables: NDArray[np.integer],
        heard_tables: list[int],
        profiled: bool,
    ) -> "Lookups":
        """Lookups of a network.

        Args:
            linear: the rows.
            told: which of `linear.features` the network is told.
            tables: (clock rows, 1 + told): the clock's own row of the embeddings, and where each feature's rows begin.
            heard_tables: where the rows of each voice begin in the table of columns; last, the row of the plain output.
            profiled: whether the network is told of the profile.
        """
        none = np.zeros((linear.size, 1), np.float32)
        constant = Features(none, none[0], np.full(1, np.inf, np.float32))
        parts = (
            Features.joined(linear.previous, constant, linear.features.chosen(told)),
            Features.joined(linear.heard, constant),
            linear.heard.chosen(np.array([linear.voicing.voices - 1])),
        )
        lookups = Features.joined(*parts)
        blocks = [lookups.weights]
        if profiled:
            sums = np.kron(np.eye(len(DECAYS)), np.ones((PITCH_CLASSES, PITCH_CLASSES))).astype(np.float32)
            blocks += [linear.profile.weights, linear.profile.weights @ sums]
        blocks.append(linear.advance)
        clocks = len(tables)
        begin = np.concatenate(
            [
                np.zeros((clocks, 1)),
                tables,
                np.broadcast_to(heard_tables, (clocks, len(heard_tables))),
                np.zeros((clocks, 1)),
            ],
            axis=1,
        ).astype(np.float32)
        return cls(
            counts=tuple(len(part.bias) for part in parts),
            widths=tuple(block.shape[1] for block in blocks),
            step=np.concatenate(blocks, axis=1),
            begin=begin + lookups.bias,
            bound=begin + lookups.bound,
        )
