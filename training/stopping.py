"""A training that is asked to stop: it saves what it has reached first."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_HEARD: Final = b"\nstopping after this step, to save what has been reached; Ctrl-C again ends at once\n"


class StopRequest:
    """Notes the first SIGINT (Ctrl-C) or SIGTERM instead of ending at once. Use as a context manager.

    A second SIGINT is a KeyboardInterrupt, as usual. Outside the main thread, which alone is told of signals, nothing
    changes.
    """

    def __init__(self, *, talks: bool = True) -> None:
        self._talks = talks
        self._before: dict[signal.Signals, Any] = {}
        self.signal: signal.Signals | None = None
        """The first one that came; None while none has."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signal = signal.Signals(number)
        if self._talks:
            os.write(2, _HEARD)  # a handler may come in the middle of a print, which cannot be entered twice
