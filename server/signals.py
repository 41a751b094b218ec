"""How signals end the process: before it serves, and for the second time.

Imports little, so that the handlers are there before anything that takes time.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Final, NoReturn

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_FLUSH_SECONDS: Final = 0.5


def end_on_signal() -> None:
    """From now on let SIGTERM and SIGINT end the process with code 0, whatever it does.

    Without a handler they would end it with another code, and be lost where it is the first process of a container:
    Linux gives that one no default action.
    """
    for number in SIGNALS:
        signal.signal(number, _end)


def kill_on_signal() -> None:
    """From now on let SIGTERM and SIGINT kill the process."""
    for number in SIGNALS:
        signal.signal(number, _kill)


def exit_now(code: int, event: str = "", **fields: object) -> NoReturn:
    """End the process without waiting for its threads: those that load or run a model cannot be stopped.

    Args:
        code: the exit code.
        event: what the log is told, if it is there yet; nothing if empty.
        fields: facts about it.
    """

    def say() -> None:
        import logging  # not at the top: the handlers come first

        if event:
            logging.getLogger(__name__).info(event, extra={"fields": fields})
        sys.stderr.flush()

    # On a thread, since another may hold the log's lock, or the import's, and never let go of it.
    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    saying.join(_FLUSH_SECONDS)
    os._exit(code)


def _end(number: int, frame: FrameType | None) -> None:
    exit_now(0, "stopped before serving", signal=signal.Signals(number).name)


def _kill(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container survives that
