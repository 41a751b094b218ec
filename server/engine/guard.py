"""Keeps an observer's faults away from the engine."""

import logging
from collections.abc import Callable
from typing import ParamSpec

from server.engine.observer import EngineObserver, Outcome

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")


def _guarded(method: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
    try:
        method(*args, **kwargs)
    except Exception:
        _log.exception("an observer of the engine failed")


class GuardedObserver:
    """Passes everything on to another observer; what that raises is logged and goes no further."""

    def __init__(self, observer: EngineObserver) -> None:
        self._observer = observer

    def admitted(self) -> None:
        """Pass it on."""
        _guarded(self._observer.admitted)

    def started(self, queue_seconds: float) -> None:
        """Pass it on."""
        _guarded(self._observer.started, queue_seconds)

    def first_token(self, seconds: float) -> None:
        """Pass it on."""
        _guarded(self._observer.first_token, seconds)

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """Pass it on."""
        _guarded(self._observer.chunk, width, steps, seconds)

    def opening(self, width: int, steps: int, seconds: float) -> None:
        """Pass it on."""
        _guarded(self._observer.opening, width, steps, seconds)

    def prefill(self, tokens: int, seconds: float) -> None:
        """Pass it on."""
        _guarded(self._observer.prefill, tokens, seconds)

    def freed_after_cancel(self, seconds: float) -> None:
        """Pass it on."""
        _guarded(self._observer.freed_after_cancel, seconds)

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        """Pass it on."""
        _guarded(self._observer.finished, outcome, total_seconds, tokens)
