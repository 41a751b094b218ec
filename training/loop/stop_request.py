"""Stop signals: a training saves a checkpoint before it ends."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_MESSAGE: Final = b"\nstopping after this step and saving a checkpoint; press Ctrl-C again to end at once\n"


class StopRequest:
    """Records the first SIGINT (Ctrl-C) or SIGTERM instead of ending the process. Use as a context manager.

    A second SIGINT raises KeyboardInterrupt, as usual. Outside the main thread, where Python handles no signals,
    nothing changes.
    """

    def __init__(self, *, verbose: bool = True) -> None:
        self._verbose = verbose
        self._previous: dict[signal.Signals, Any] = {}
        self.signal: signal.Signals | None = None
        """The first signal. None before it."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signal = signal.Signals(number)
        if self._verbose:
            os.write(2, _MESSAGE)  # not print: the handler may interrupt a print, which is not reentrant
