"""The limits of an engine and their present use."""

from server.engine.engine import Engine


class EngineUse:
    """Reads the limits and the use of an engine; all are 0 until it has one."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Read from this engine from now on."""
        self._engine = engine

    def slots(self) -> int:
        """Maximum number of running sequences."""
        return 0 if self._engine is None else self._engine.slots

    def queue_limit(self) -> int:
        """Maximum number of sequences that wait."""
        return 0 if self._engine is None else self._engine.queue_limit

    def running(self) -> int:
        """Number of running sequences."""
        return 0 if self._engine is None else self._engine.running

    def waiting(self) -> int:
        """Number of sequences that wait."""
        return 0 if self._engine is None else self._engine.waiting
