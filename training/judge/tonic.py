"""The tonic of a piece, so that keys do not blur what pitch classes say."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MAJOR: Final = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR: Final = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_KEYS: Final = np.array([np.roll(profile, tonic) for tonic in range(12) for profile in (_MAJOR, _MINOR)])
_CENTRED: Final = (_KEYS - _KEYS.mean(axis=1, keepdims=True)) / _KEYS.std(axis=1, keepdims=True)


def tonic(durations: NDArray[np.float64]) -> int:
    """Pitch class of the tonic, from how long each pitch class sounds, (12,).

    The key whose probe-tone profile (Krumhansl and Kessler, 1982) correlates best: the Krumhansl-Schmuckler
    algorithm (Krumhansl, "Cognitive Foundations of Musical Pitch", 1990).
    """
    return int((_CENTRED @ (durations - durations.mean())).argmax()) // 2
