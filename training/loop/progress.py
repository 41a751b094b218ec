"""Progress of a training: a bar for each epoch, and an estimate of the remaining time."""

import time
from datetime import timedelta
from typing import Any, Final

from tqdm import tqdm

_SMOOTHING: Final = 0.02
"""Weight of the latest window in the moving average of the seconds per window: about the last fifty windows count."""
_VALIDATION_COST: Final = 0.4
"""Time of a token without gradients, relative to training: an estimate until the first validation is measured."""


class RemainingTime:
    """Estimates how long the remaining epochs take, if patience does not end the run earlier.

    It counts windows: they take the same time, however many tokens they hold.
    """

    def __init__(self, epochs: int, *, validation_share: float) -> None:
        """Start an estimate for so many epochs.

        Args:
            epochs: of the whole run.
            validation_share: validation tokens per training token.
        """
        self._epochs = epochs
        self._validation_share = validation_share
        self._window_seconds: float | None = None
        self._validation_seconds: float | None = None
        self._windows = 0
        self._last = 0.0

    def start_epoch(self, windows: int) -> None:
        """Start or resume an epoch of so many windows."""
        self._windows = windows
        self._last = time.monotonic()

    def window_done(self) -> None:
        """Record the end of one training window."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        if self._window_seconds is None:
            self._window_seconds = seconds
        else:
            self._window_seconds += _SMOOTHING * (seconds - self._window_seconds)

    def epoch_done(self, seconds: float) -> None:
        """Replace the estimate per window by the epoch's training time, which includes the wait for the device."""
        self._window_seconds = seconds / max(self._windows, 1)

    def validation_done(self, seconds: float) -> None:
        """Record the time of a validation."""
        self._validation_seconds = seconds

    def seconds(self, epoch: int, windows: int = 0) -> float | None:
        """Seconds left after `epoch` epochs and so many windows of the next. None before the first measurement."""
        if self._window_seconds is None:
            return 0.0 if epoch >= self._epochs else None
        training = self._windows * self._window_seconds
        validation = self._validation_seconds
        if validation is None:
            validation = training * self._validation_share * _VALIDATION_COST
        left = (self._epochs - epoch) * (training + validation) - windows * self._window_seconds
        return max(left, 0.0)

    def as_text(self, epoch: int, windows: int = 0) -> str:
        """The same as text, to the second. Empty before the first measurement."""
        seconds = self.seconds(epoch, windows)
        return "" if seconds is None else f"at most {timedelta(seconds=round(seconds))} left"


def progress_bar(label: str, tokens: int, *, done: int = 0, shown: bool) -> "tqdm[Any]":
    """A progress bar over so many tokens, of which `done` are done."""
    return tqdm(
        total=tokens,
        initial=done,
        unit="tok",
        unit_scale=True,
        desc=label,
        leave=False,
        disable=not shown,
        smoothing=0.0,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} tokens, {rate_fmt}{postfix}",
    )
