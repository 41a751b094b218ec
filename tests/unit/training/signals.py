"""Signals during a training."""

import signal
from typing import Any

import pytest

from training.network.model import MusicLSTM


def signalled_at(monkeypatch: pytest.MonkeyPatch, window: int, number: signal.Signals, *, times: int = 1) -> None:
    """Send this process a signal while it computes its `window`-th window."""
    forward, count = MusicLSTM.forward, 0

    def signalling(self: MusicLSTM, *inputs: Any) -> Any:
        nonlocal count
        count += 1
        for _ in range(times if count == window else 0):
            signal.raise_signal(number)
        return forward(self, *inputs)

    monkeypatch.setattr(MusicLSTM, "forward", signalling)
