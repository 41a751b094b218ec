"""Unloads models when the last call that uses them has ended."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from runtime.memory import return_free_memory
from server.catalogue import ServedModel
from server.metrics import Metrics
from server.repository.background import run_in_background

_log = logging.getLogger(__name__)

_SERIES_SECONDS: Final = 120.0
"""Time that the metrics of a version are exported after it is unloaded, so that the last ones are scraped."""


class Unloading:
    """The models that finish their calls, and are unloaded then. Used on the event loop.

    Args:
        remove: forgets a model that no call uses any more.
        metrics: of the server.
        on_change: called when a model is unloaded.
    """

    def __init__(self, remove: Callable[[ServedModel], None], metrics: Metrics, on_change: Callable[[], None]) -> None:
        self._remove = remove
        self._metrics = metrics
        self._on_change = on_change
        self._tasks: dict[ServedModel, asyncio.Task[None]] = {}

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models that are not unloaded yet."""
        return tuple(self._tasks)

    def begin(self, model: ServedModel) -> None:
        """Unload a model that is not in the catalogue any more, as soon as no call uses it."""
        _log.info("model unloading", extra={"fields": _fields(model)})
        self._tasks[model] = asyncio.create_task(self._unload(model))

    async def _unload(self, model: ServedModel) -> None:
        await model.calls.wait_until_idle()
        await run_in_background(model.unload)
        self._remove(model)
        del self._tasks[model]
        self._on_change()
        fields, name, version = _fields(model), model.name, model.version
        del model  # the last reference to its sessions
        await run_in_background(return_free_memory)
        _log.info("model unloaded", extra={"fields": fields})
        asyncio.get_running_loop().call_later(_SERIES_SECONDS, self._metrics.forget_version, name, version)


def _fields(model: ServedModel) -> dict[str, object]:
    return {"model": model.name, "version": model.version, "digest": model.bundle.digest}
