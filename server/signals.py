"""Signal handlers that end the process: before it serves, and at a second signal.

This module imports little, so that the handlers are set before anything that takes time.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Final, NoReturn

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_LOG_SECONDS: Final = 0.5


def end_on_signal() -> None:
    """Let SIGTERM and SIGINT end the process at once with code 0.

    Without a handler the exit code would be another one. The first process of a container would even ignore the signal:
    Linux gives that process no default action.
    """
    for number in SIGNALS:
        signal.signal(number, _end)
    # It asks for a look at the model repository, which the start takes later anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def kill_on_signal() -> None:
    """Let SIGTERM and SIGINT kill the process."""
    for number in SIGNALS:
        signal.signal(number, _kill)


def exit_now(code: int, event: str = "", **fields: object) -> NoReturn:
    """End the process without waiting for its threads: a thread that loads or runs a model cannot be stopped.

    Args:
        code: the exit code.
        event: message of the last log record; no record if empty.
        fields: fields of that record.
    """

    def log() -> None:
        import logging  # not at the top: the handlers come first

        if event:
            logging.getLogger(__name__).info(event, extra={"fields": fields})
        for handler in logging.getLogger().handlers:
            handler.flush()
        sys.stderr.flush()

    # On a thread, since another thread may hold the lock of the log or of an import for ever.
    logging_thread = threading.Thread(target=log, daemon=True)
    logging_thread.start()
    logging_thread.join(_LOG_SECONDS)
    os._exit(code)


def _end(number: int, frame: FrameType | None) -> None:
    exit_now(0, "stopped before serving", signal=signal.Signals(number).name)


def _kill(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container survives the signal
