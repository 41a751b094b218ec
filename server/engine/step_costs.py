"""Measures how long a step takes, by the batch size and by the number of steps of the chunk."""

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MEMORY_STEPS: Final = 1024
"""About how many of the latest steps decide a mean. They span a few seconds, so a short burst of calls that takes the
processor away hardly changes it."""
_HALF_LIFE_SECONDS: Final = 30.0
"""After this time, an earlier measurement counts half as much beside a new one."""
_DEFAULT_SECONDS: Final = 0.001
"""Duration of a step before one was measured."""

_Coordinates = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Batch sizes, ascending, and the duration of a step for each, both (points,)."""


class StepCosts:
    """The measured durations of steps.

    A step of a large batch costs more than one of a small batch. A step of a short chunk costs more than one of a long
    chunk, for a run has a fixed cost. So each chunk size has its own curve over the batch size.

    One thread records. Any thread may read.

    Args:
        max_batch_size: maximum number of rows of one run.
    """

    def __init__(self, max_batch_size: int) -> None:
        self._max_batch_size = max_batch_size
        self._all_chunks = _CostCurve()
        self._by_steps: dict[int, _CostCurve] = {}

    def record(self, batch_size: int, steps: int, seconds: float, now: float) -> None:
        """Record the duration of a turn.

        Args:
            batch_size: number of rows of its chunk.
            steps: number of steps of its chunk.
            seconds: its duration.
            now: seconds of a monotonic clock.
        """
        # Half an octave for each mean, but full batches apart: most rows run in them under load.
        key = -1 if batch_size == self._max_batch_size else round(2 * math.log2(batch_size))
        for curve in (self._all_chunks, self._by_steps.setdefault(steps, _CostCurve())):
            curve.add(key, batch_size, seconds / steps, steps, now)

    def present_seconds(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Estimate the duration of a step in chunks as long as those of late.

        Args:
            rows: (n,), batch sizes, at least 1.

        Returns:
            (n,), seconds.
        """
        curve = self._all_chunks
        return curve.seconds(rows) if curve else np.full(rows.shape, _DEFAULT_SECONDS)

    def least_seconds(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Estimate the duration of a step in chunks of the size that costs least.

        The scheduler gives requests without a guide about this, for it prefers long chunks.

        Args:
            rows: (n,), batch sizes, at least 1.

        Returns:
            (n,), seconds.
        """
        curves = list(self._by_steps.values())  # a copy: another thread may add one
        known = [curve.seconds(rows) for curve in curves if curve]
        return np.min(known, axis=0) if known else np.full(rows.shape, _DEFAULT_SECONDS)


class _CostCurve:
    """The duration of a step over the batch size."""

    def __init__(self) -> None:
        self._points: dict[int, _Point] = {}  # replaced as a whole, so that another thread may read it
        self._curve: tuple[dict[int, _Point], _Coordinates] = (
            {},
            _coordinates([]),
        )  # the points, and their coordinates

    def __bool__(self) -> bool:
        return bool(self._points)

    def add(self, key: int, batch_size: int, seconds: float, weight: int, now: float) -> None:
        point = self._points.get(key, _Point())
        self._points = {**self._points, key: point.after(batch_size, seconds, weight, now)}

    def seconds(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Interpolate; below the smallest batch size measured, a step costs as much, above the largest as much per row.

        Both are at least the true cost if that is a fixed part and a part for each row.
        """
        points = self._points
        known, (sizes, costs) = self._curve
        if known is not points:
            sizes, costs = _coordinates(points.values())
            self._curve = points, (sizes, costs)
        seconds: NDArray[np.float64] = np.interp(rows, sizes, costs) * np.maximum(rows / sizes[-1], 1.0)
        return seconds


class _Point:
    """The means of a batch size and of the duration of a step, which forget old measurements. It does not change."""

    def __init__(
        self, batch_size: float = 0.0, seconds: float = 0.0, weight: float = 0.0, measured_at: float = 0.0
    ) -> None:
        self.batch_size = batch_size
        self.seconds = seconds
        self.measured_at = measured_at
        self._weight = weight

    def after(self, batch_size: int, seconds: float, weight: int, now: float) -> "_Point":
        """The point with one more measurement."""
        kept = self._weight * 0.5 ** (max(now - self.measured_at, 0.0) / _HALF_LIFE_SECONDS)
        total = min(kept + weight, max(_MEMORY_STEPS, weight))
        share = weight / total
        return _Point(
            self.batch_size + (batch_size - self.batch_size) * share,
            self.seconds + (seconds - self.seconds) * share,
            total,
            now,
        )


def _coordinates(points: Iterable[_Point]) -> _Coordinates:
    """The batch sizes, ascending, and the durations, where no larger batch takes less: a newer point is right."""
    known: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: -point.measured_at):
        low = max((seconds for size, seconds in known if size < point.batch_size), default=0.0)
        high = min((seconds for size, seconds in known if size > point.batch_size), default=math.inf)
        known.append((point.batch_size, min(max(point.seconds, low), high)))
    sizes, costs = np.array(sorted(known)).reshape(-1, 2).T.copy()
    return sizes, costs
