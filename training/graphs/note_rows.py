"""The order of the outputs of `NoteLayers` in the graphs."""

import numpy as np
from numpy.typing import NDArray

from training.network.note_layers import NoteLayers, score_sets


def output_rows(layers: NoteLayers) -> NDArray[np.intp]:
    """The rows of the graph's output projection behind those of the tokens: rows of `NoteLayers.masked_outputs`.

    -1 stands for a row of zeros. A graph needs them where a voice has no last key, and for sets that have no score.
    """
    intervals = layers.voices * layers.references * layers.span
    sets = layers.voices * len(score_sets(layers.tracker))
    suggestions = np.arange(layers.tracker.candidates) + intervals + sets
    scored = set_rows(layers)
    return np.concatenate([interval_rows(layers), np.where(scored < 0, -1, scored + intervals), suggestions])


def interval_rows(layers: NoteLayers) -> NDArray[np.intp]:
    """Rows of `NoteLayers.intervals`: those of each reference, then -1."""
    rows = np.arange(layers.voices * layers.references * layers.span).reshape(-1, layers.span)
    return np.pad(rows, ((0, 0), (0, 1)), constant_values=-1).reshape(-1)


def set_rows(layers: NoteLayers) -> NDArray[np.intp]:
    """Rows of `NoteLayers.weights`: for each voice, those of all sets, with -1 for the present chord, then the rest."""
    voices, names = layers.voices, len(layers.tracker.set_names)
    rows = []
    for voice, first in enumerate(np.arange(voices) * len(score_sets(layers.tracker))):
        own = np.arange(voices) == voice
        chords = [first + name - 1 + np.where(own, 0, names - 1) for name in range(1, names)]
        rest = first + np.arange(2 * (names - 1), len(score_sets(layers.tracker)))
        rows += [np.full(voices, -1), *chords, rest]
    return np.concatenate(rows)
