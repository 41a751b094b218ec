"""Replicas of the server, each on a loopback address of its own, as pods have."""

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from bench.served import Served, free_port, started


class Fleet:
    """Starts replicas that share a port, the models and the key of resume tokens. They end with it.

    Args:
        models: folder of bundles.
        flags: further flags of every replica.
    """

    def __init__(self, models: Path, flags: Sequence[str] = ()) -> None:
        self.port = free_port()
        self._models, self._flags = models, flags
        self._last_parts = itertools.count(11)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(TemporaryDirectory()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self) -> Served:
        """Start a replica on the next address, and do not wait for it."""
        host = f"127.0.0.{next(self._last_parts)}"
        return self._stack.enter_context(started(self._models, self._folder, *self._flags, host=host, port=self.port))
