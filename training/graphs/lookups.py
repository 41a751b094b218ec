"""The matrix of a decode step: its product with a row of the voices gives lookups, profile and next row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from music.linear_voice_tracker import LinearFeatures, LinearVoiceTracker
from music.voice_tracker import DECAYS, PITCH_CLASSES


@dataclass(frozen=True, slots=True, eq=False)
class Lookups:
    """Lookups are row indices of tables: whole numbers, after a bound, plus the table's first row.

    In order: rows of the table of embeddings (previous token, position, features of the voices), rows of the table of
    columns (the last pitch of each voice, and the plain output), and the root of the profile.
    """

    counts: tuple[int, ...]
    """Number of lookups of each of these three kinds."""
    widths: tuple[int, ...]
    """Columns of the parts of the product: lookups, profile and its sums if the network has one, next row."""
    step: NDArray[np.float32]
    """(size, columns) float32, the matrix."""
    begin: NDArray[np.float32]
    """(position indices, lookups) float32, first rows of the tables, added to the lookups."""
    bound: NDArray[np.float32]
    """(position indices, lookups) float32, upper bounds of the sums."""

    @classmethod
    def of(
        cls,
        linear: LinearVoiceTracker,
        *,
        features: NDArray[np.integer],
        tables: NDArray[np.integer],
        column_rows: list[int],
        with_profile: bool,
    ) -> "Lookups":
        """The lookups of a network.

        Args:
            linear: the voices.
            features: indices of those of `linear.features` that the network sees.
            tables: (position indices, 1 + features): the row of the position's embedding, and the first row of each
                feature's embeddings.
            column_rows: first row of each voice in the table of columns; last, the row of the plain output.
            with_profile: whether the network sees the profile.
        """
        none = np.zeros((linear.size, 1), np.float32)
        constant = LinearFeatures(none, none[0], np.full(1, np.inf, np.float32))
        parts = (
            LinearFeatures.concatenate(linear.previous, constant, linear.features.select(features)),
            LinearFeatures.concatenate(linear.last_pitches, constant),
            linear.last_pitches.select(np.array([linear.tracker.voices - 1])),
        )
        lookups = LinearFeatures.concatenate(*parts)
        blocks = [lookups.weights]
        if with_profile:
            sums = np.kron(np.eye(len(DECAYS)), np.ones((PITCH_CLASSES, PITCH_CLASSES))).astype(np.float32)
            blocks += [linear.profile.weights, linear.profile.weights @ sums]
        blocks.append(linear.advance)
        positions = len(tables)
        begin = np.concatenate(
            [
                np.zeros((positions, 1)),
                tables,
                np.broadcast_to(column_rows, (positions, len(column_rows))),
                np.zeros((positions, 1)),
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
