"""Ends a process that neither comes up nor goes down in time."""

import faulthandler
import sys
import threading
from typing import Final

from server.signals import exit_now

# Threads are joined and answers sent after the drain.
_STOP_SECONDS: Final = 5.0
# What keeps Python itself from running can be ended by this alone, and tells no more than where it was.
_STUCK_SECONDS: Final = 10.0


class Watchdog:
    """Threads that load or run a model cannot be stopped: where one never returns, the process ends all the same.

    Args:
        startup_seconds: how long the start may take.
        drain_seconds: how long running calls may take once the server was told to stop.
    """

    def __init__(self, startup_seconds: float, drain_seconds: float) -> None:
        self._startup_seconds = startup_seconds
        self._drain_seconds = drain_seconds
        self._timer: threading.Timer | None = None

    def starting(self) -> None:
        """The start begins."""
        seconds = self._startup_seconds
        self._arm(
            seconds,
            f"the server was not ready within {seconds:g} s: a model takes too long to load or to run its first steps; "
            "give --startup-timeout-seconds more",
        )

    def started(self) -> None:
        """The server serves, for as long as it likes."""
        self._disarm()

    def stopping(self) -> None:
        """The drain begins."""
        seconds = self._drain_seconds + _STOP_SECONDS
        self._arm(seconds, f"the server did not stop within {seconds:g} s: a run of a model does not end")

    def close(self) -> None:
        """Watch no more."""
        self._disarm()

    def _arm(self, seconds: float, sentence: str) -> None:
        self._disarm()
        self._timer = threading.Timer(seconds, _give_up, (sentence,))
        self._timer.daemon = True
        self._timer.start()
        faulthandler.dump_traceback_later(seconds + _STUCK_SECONDS, exit=True)

    def _disarm(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _give_up(sentence: str) -> None:
    sys.stderr.write(f"python -m server: error: {sentence}\n")
    exit_now(1)
