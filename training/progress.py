"""How far a training is: a bar for the epoch, and the time that is left of all of them."""

import time
from datetime import timedelta
from typing import Any, Final

from tqdm import tqdm

_NEWEST: Final = 0.02
"""What a window weighs in the mean of the seconds a window: about the last fifty count, so that a machine that is
busy for a while is noticed, and one slow window is not."""
_VALIDATION_COST: Final = 0.4
"""Seconds that a token takes without gradients, over those with them: a guess that the first validation replaces."""


class TimeLeft:
    """Estimates how long the epochs that are left will take, if none is skipped for want of progress.

    Windows cost the same however full they are, so they are what is counted.
    """

    def __init__(self, epochs: int, *, validated_share: float) -> None:
        """`validated_share`: validation tokens over training tokens."""
        self._epochs = epochs
        self._validated_share = validated_share
        self._window_seconds: float | None = None
        self._validation_seconds: float | None = None
        self._windows = 0
        self._last = 0.0

    def begin(self, windows: int) -> None:
        """An epoch of so many windows begins, or goes on."""
        self._windows = windows
        self._last = time.monotonic()

    def trained(self) -> None:
        """One window is trained."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        if self._window_seconds is None:
            self._window_seconds = seconds
        else:
            self._window_seconds += _NEWEST * (seconds - self._window_seconds)

    def trained_all(self, seconds: float) -> None:
        """The epoch's windows took so long, the wait for the device included."""
        self._window_seconds = seconds / max(self._windows, 1)

    def validated(self, seconds: float) -> None:
        """An epoch's validation took so long."""
        self._validation_seconds = seconds

    def seconds(self, epoch: int, windows: int = 0) -> float | None:
        """Seconds left after `epoch` whole epochs and so many windows of the next; None while nothing was measured."""
        if self._window_seconds is None:
            return 0.0 if epoch >= self._epochs else None
        training = self._windows * self._window_seconds
        validation = self._validation_seconds
        if validation is None:
            validation = training * self._validated_share * _VALIDATION_COST
        left = (self._epochs - epoch) * (training + validation) - windows * self._window_seconds
        return max(left, 0.0)

    def words(self, epoch: int, windows: int = 0) -> str:
        """The same in words, to the second."""
        seconds = self.seconds(epoch, windows)
        return "" if seconds is None else f"at most {timedelta(seconds=round(seconds))} left"


def progress_bar(label: str, tokens: int, *, done: int = 0, shown: bool) -> "tqdm[Any]":
    """A bar over so many tokens, of which some are done; `set_postfix_str` says what is left of the whole training."""
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
