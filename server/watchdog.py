"""Ends the process if it takes too long to start or to stop."""

import faulthandler
import sys
import threading
from typing import Final

from server.signals import exit_now

# After the drain, threads are joined and responses are sent.
_STOP_SECONDS: Final = 5.0
# Native code may hold the interpreter lock for ever. Only faulthandler can end the process then; it prints tracebacks.
_STUCK_SECONDS: Final = 10.0


class Watchdog:
    """Ends the process when a time limit has passed: a thread that loads or runs a model cannot be stopped.

    Args:
        startup_seconds: time limit of the start.
        drain_seconds: time that running calls get to finish when the server stops.
    """

    def __init__(self, startup_seconds: float, drain_seconds: float) -> None:
        self._startup_seconds = startup_seconds
        self._drain_seconds = drain_seconds
        self._timer: threading.Timer | None = None

    def start_begins(self) -> None:
        """Limit the time until `serving`."""
        seconds = self._startup_seconds
        self._arm(
            seconds,
            f"the server was not ready within {seconds:g} s: a model takes too long to load or to run its first steps; "
            "raise --startup-timeout-seconds",
        )

    def serving(self) -> None:
        """The server serves: there is no time limit."""
        self._disarm()

    def drain_begins(self) -> None:
        """Limit the time until `close`."""
        seconds = self._drain_seconds + _STOP_SECONDS
        self._arm(seconds, f"the server did not stop within {seconds:g} s: a run of a model does not end")

    def close(self) -> None:
        """Remove the time limit."""
        self._disarm()

    def _arm(self, seconds: float, sentence: str) -> None:
        self._disarm()
        self._timer = threading.Timer(seconds, _end_process, (sentence,))
        self._timer.daemon = True
        self._timer.start()
        faulthandler.dump_traceback_later(seconds + _STUCK_SECONDS, exit=True)

    def _disarm(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _end_process(sentence: str) -> None:
    sys.stderr.write(f"python -m server: error: {sentence}\n")
    exit_now(1)
