"""The composition root: settings, models, engines, wire and metrics become one server."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Final, Self

from server.catalogue import Catalogue, ServedModel
from server.engine.errors import EngineFailedError
from server.engine.threads import read_cpu
from server.loading import load_models
from server.metrics import Metrics, MetricsEndpoint
from server.rpc.interceptor import METHODS
from server.rpc.limits import ConnectionLimits, Keepalive
from server.rpc.quota import ConnectionQuota
from server.rpc.server import RpcServer
from server.settings import Settings
from server.signals import SIGNALS, kill_on_signal
from server.watchdog import Watchdog

_log = logging.getLogger(__name__)

# For what is left when nothing is to be waited for any more: answers on their way out, and health watches,
# which never end by themselves.
_GRACE_SECONDS: Final = 0.5
# Calls that came before the clients learned that we stop are still being read.
_ARRIVAL_SECONDS: Final = 0.1
_PULSE_SECONDS: Final = 1.0

LoadModels = Callable[[Settings, Metrics], list[ServedModel]]


class App:
    """The whole server: SERVING inside `async with`, drained and gone after it.

    Args:
        settings: of the server, checked already.
        load: makes the models, their engines not started yet; called on a thread.
        keepalive: how a lost peer is noticed.
        on_opening: called when the models have run, right before calls are let in.

    Raises, on entering:
        FantasiaError: the server cannot start as it was asked to.
    """

    def __init__(
        self,
        settings: Settings,
        load: LoadModels = load_models,
        *,
        keepalive: Keepalive | None = None,
        on_opening: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._on_opening = on_opening
        self._keepalive = keepalive or Keepalive()
        self._load = load
        self._metrics = Metrics(METHODS.values())
        self._stack = AsyncExitStack()
        self.quota = ConnectionQuota(settings.max_pieces_per_connection, settings.max_tokens_per_connection)
        """What connections have in flight."""
        self._catalogue: Catalogue
        self._rpc: RpcServer
        self.address = ""
        """Where it listens, as clients write it, with the bound port; empty until it does."""
        self.metrics_port = 0
        """The bound port of the metrics; 0 until it listens."""

    @property
    def broken(self) -> list[str]:
        """Names of the models whose engine broke."""
        return [model.name for model in self._catalogue if not model.engine.accepting]

    async def __aenter__(self) -> Self:
        started_at = time.perf_counter()
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        gc.collect()
        gc.freeze()  # what stands now stands until the end: no collection need go through it again
        cpu = read_cpu()
        _log.info(
            "serving",
            extra={
                "fields": {
                    "address": self.address,
                    "metrics_port": self.metrics_port,
                    "models": ",".join(self._catalogue.names),
                    "provider": ",".join(sorted({model.engine.provider for model in self._catalogue})),
                    "precision": ",".join(sorted({model.engine.precision for model in self._catalogue})),
                    "threads": ",".join(sorted({str(model.threads) for model in self._catalogue})),
                    "cores": cpu.cores,
                    "cpu_limit": "none" if cpu.limit is None else cpu.limit,
                    "seconds": round(time.perf_counter() - started_at, 3),
                }
            },
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _log.info("draining", extra={"fields": {"seconds": self._settings.drain_seconds}})
        async with self._stack:
            await self._drain()
        _log.info("stopped")

    async def _start(self, stack: AsyncExitStack) -> None:
        """Take resources in the order in which they depend on one another; the stack gives them back."""
        settings = self._settings
        endpoint = MetricsEndpoint(self._metrics.registry, settings.host, settings.metrics_port)
        stack.push_async_callback(asyncio.to_thread, endpoint.close)
        self.metrics_port = endpoint.port
        models = await asyncio.to_thread(self._load, settings, self._metrics)
        for model in models:
            stack.push_async_callback(asyncio.to_thread, model.engine.stop)
        self._catalogue = Catalogue(models, settings.default_model)
        self._rpc = RpcServer(
            self._catalogue,
            self._metrics,
            host=settings.host,
            port=settings.port,
            max_request_bytes=settings.max_request_bytes,
            limits=ConnectionLimits(connections=settings.max_connections, streams=settings.max_streams_per_connection),
            keepalive=self._keepalive,
            quota=self.quota,
        )
        stack.push_async_callback(self._rpc.stop, _GRACE_SECONDS)
        await self._rpc.start()
        self.address = self._rpc.address
        for model in models:
            await asyncio.to_thread(model.engine.warm_up)
            model.engine.start()
        self._on_opening()
        await self._rpc.open()

    async def _drain(self) -> None:
        """Send clients elsewhere and finish what runs; what is left when time is up is told that we stop."""
        until = time.monotonic() + self._settings.drain_seconds
        await self._rpc.close()
        await asyncio.sleep(_ARRIVAL_SECONDS)
        await self._rpc.empty(max(until - time.monotonic(), 0.0))
        for engine in [model.engine for model in self._catalogue]:
            if not await asyncio.to_thread(engine.drain, max(until - time.monotonic(), 0.0)):
                left = engine.running + engine.waiting
                _log.warning("not drained", extra={"fields": {"model": engine.name, "sequences": left}})
                await asyncio.to_thread(engine.stop)
        # The engines are through; their last pieces are being written down.
        await self._rpc.empty(max(until - time.monotonic(), _GRACE_SECONDS))


async def serve(settings: Settings, load: LoadModels = load_models, watchdog: Watchdog | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends the process at once.

    Until calls are let in, signals do what they did before: `end_on_signal` has them end the process.

    Args:
        settings: of the server, checked already.
        load: makes the models.
        watchdog: is told when the server serves, and when it stops.

    Raises:
        FantasiaError: the server cannot start as it was asked to.
        EngineFailedError: an engine broke; whoever watches over the process should start it anew.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_signal(number: signal.Signals) -> None:
        forget_signals()
        kill_on_signal()
        _log.info("signal", extra={"fields": {"signal": number.name}})
        stop.set()

    def forget_signals() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def on_opening() -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal, number)
        if watchdog is not None:
            watchdog.started()

    try:
        async with App(settings, load, on_opening=on_opening) as app:
            while not stop.is_set() and not app.broken:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _PULSE_SECONDS)
            broken = app.broken
            if watchdog is not None:
                watchdog.stopping()
    finally:
        forget_signals()
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
    if broken:
        raise EngineFailedError(f"the engine of {', '.join(broken)} broke")
