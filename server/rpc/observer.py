"""What the rpc layer tells about its work, to whoever listens."""

from typing import Protocol


class CallObserver(Protocol):
    """Is told of calls; a class derived from this one ignores whatever it does not override.

    All methods are called from the event loop and must be quick. For each call `received` comes first and
    `finished` last, each exactly once.
    """

    def received(self, method: str) -> None:
        """A call of the service's method arrived, such as `Generate`."""

    def finished(self, method: str, code: str, seconds: float) -> None:
        """The call was answered with a gRPC code, such as `OK`, or given up, as with `DEADLINE_EXCEEDED`."""

    def wrote(self, model: str, notes: int) -> None:
        """A finished piece has so many notes."""
