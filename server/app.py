"""The composition root: joins settings, models, engines, rpc and metrics to one server."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runtime.threads import read_cpu_budget
from server.access.access import Access
from server.access.tls_context import TlsContexts
from server.catalogue import Catalogue, ServedModel
from server.engine.errors import EngineFailedError
from server.loading import load_models
from server.metrics import AccessMetrics, Metrics, MetricsEndpoint, ScrapeAuthorizer
from server.rpc.interceptor import METHODS
from server.rpc.limits import ConnectionLimits, Keepalive
from server.rpc.quota import CallerQuota
from server.rpc.request_limits import RequestLimits
from server.rpc.resume_token import ResumeTokens
from server.rpc.server import RpcServer
from server.settings import Settings
from server.signals import SIGNALS, kill_on_signal
from server.watchdog import Watchdog

_log = logging.getLogger(__name__)

# For responses that are being sent, and health watches, which never end by themselves.
_GRACE_SECONDS: Final = 0.5
# For calls that clients sent before they got GOAWAY.
_ARRIVAL_SECONDS: Final = 0.1
_POLL_SECONDS: Final = 1.0

LoadModels = Callable[[Settings, Metrics], list[ServedModel]]


class App:
    """The whole server. It serves inside `async with`, and is drained and stopped at its end.

    Args:
        settings: the server's settings.
        load: makes the models, without starting their engines; it runs on a thread.
        keepalive: how lost peers are detected.
        on_ready: called when every model has run, right before calls are accepted.

    Raises:
        FantasiaError: on entering, the server cannot start with these settings.
    """

    def __init__(
        self,
        settings: Settings,
        load: LoadModels = load_models,
        *,
        keepalive: Keepalive | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._keepalive = keepalive or Keepalive()
        self._load = load
        self._metrics = Metrics(METHODS)
        self._stack = AsyncExitStack()
        self._access_metrics = AccessMetrics(self._metrics)
        self.quota = CallerQuota(
            settings.max_pieces_per_caller,
            settings.max_tokens_per_caller,
            settings.tokens_per_minute_per_caller,
            self._access_metrics,
        )
        """Pieces that callers have in flight."""
        self._catalogue: Catalogue
        self._rpc: RpcServer
        self.address = ""
        """Its address as clients write it, with the bound port; empty until it listens."""
        self.health_address = ""
        """Address of the second port for health; empty until it listens, and without such a port."""
        self.metrics_port = 0
        """The bound port of the metrics; 0 until it listens, and if metrics are off."""

    @property
    def failed_models(self) -> list[str]:
        """Names of the models whose engine has failed."""
        return [model.name for model in self._catalogue if not model.engine.accepting]

    async def __aenter__(self) -> Self:
        started_at = time.perf_counter()
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        gc.collect()
        gc.freeze()  # everything alive now lives until the end, so collections can skip it
        cpu = read_cpu_budget()
        _log.info(
            "serving",
            extra={
                "fields": {
                    "address": self.address,
                    "metrics_port": self.metrics_port,
                    **({"health_address": self.health_address} if self.health_address else {}),
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
        if not self._settings.resume_key_file:
            _log.warning(
                "no key for resume tokens: a random one is used, and other replicas refuse the tokens of this one"
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
        """Acquire resources in the order of their dependencies; the stack releases them."""
        settings = self._settings
        access = Access(settings, self._access_metrics)
        access.warn()
        if access.metrics != "off":
            endpoint = self._metrics_endpoint(access)
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
            limits=ConnectionLimits(
                connections=settings.max_connections,
                streams=settings.max_streams_per_connection,
                metadata_bytes=settings.max_metadata_bytes,
                idle_seconds=settings.max_connection_idle_seconds,
                age_seconds=settings.max_connection_age_seconds,
            ),
            keepalive=self._keepalive,
            access=access,
            health_host=settings.health_host,
            health_port=settings.health_port,
            quota=self.quota,
            request_limits=RequestLimits(
                given_bytes=settings.max_given_bytes,
                given_notes=settings.max_given_notes,
                given_bars=settings.max_given_bars,
                given_tracks=settings.max_given_tracks,
                candidates=settings.max_candidates,
                candidate_steps=settings.max_candidate_steps,
                evaluated_steps=settings.max_evaluated_steps,
            ),
            resume_tokens=_resume_tokens(settings),
        )
        stack.push_async_callback(self._rpc.stop, _GRACE_SECONDS)
        await self._rpc.start()
        self.address, self.health_address = self._rpc.address, self._rpc.health_address
        for model in models:
            await asyncio.to_thread(model.engine.warm_up)
            model.engine.start()
        watching = asyncio.create_task(access.watch())
        stack.callback(watching.cancel)
        self._on_ready()
        await self._rpc.start_serving()

    def _metrics_endpoint(self, access: Access) -> MetricsEndpoint:
        registry, host, port = self._metrics.registry, self._settings.host, self._settings.metrics_port
        if access.metrics == "open":
            return MetricsEndpoint(registry, host, port)
        context = None if access.certificates is None else TlsContexts(access.certificates).current
        authorize = None if access.callers is None else ScrapeAuthorizer(access.authenticator)
        return MetricsEndpoint(registry, host, port, context=context, authorize=authorize)

    async def _drain(self) -> None:
        """Send clients to other replicas and finish running calls; calls that take too long get UNAVAILABLE."""
        until = time.monotonic() + self._settings.drain_seconds
        await self._rpc.start_draining()
        await asyncio.sleep(_ARRIVAL_SECONDS)
        await self._rpc.wait_until_idle(max(until - time.monotonic(), 0.0))
        for engine in [model.engine for model in self._catalogue]:
            if not await asyncio.to_thread(engine.drain, max(until - time.monotonic(), 0.0)):
                unfinished = engine.running + engine.waiting
                _log.warning("not drained", extra={"fields": {"model": engine.name, "sequences": unfinished}})
                await asyncio.to_thread(engine.stop)
        # The engines have finished; responses are still being built and sent.
        await self._rpc.wait_until_idle(max(until - time.monotonic(), _GRACE_SECONDS))


def _resume_tokens(settings: Settings) -> ResumeTokens:
    """Resume tokens with the configured key.

    Raises:
        SettingError: the key's file cannot be used.
    """
    if settings.resume_key_file:
        return ResumeTokens.with_key_file(Path(settings.resume_key_file))
    return ResumeTokens.with_random_key()


async def serve(settings: Settings, load: LoadModels = load_models, watchdog: Watchdog | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends the process at once.

    Until the server serves, signals keep their handlers: those of `end_on_signal` end the process.

    Args:
        settings: the server's settings.
        load: makes the models.
        watchdog: limits the time of start and drain.

    Raises:
        FantasiaError: the server cannot start with these settings.
        EngineFailedError: an engine failed; the process should be restarted.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_signal(number: signal.Signals) -> None:
        remove_handlers()
        kill_on_signal()
        _log.info("signal", extra={"fields": {"signal": number.name}})
        stop.set()

    def remove_handlers() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def on_ready() -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal, number)
        if watchdog is not None:
            watchdog.serving()

    try:
        async with App(settings, load, on_ready=on_ready) as app:
            while not stop.is_set() and not app.failed_models:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _POLL_SECONDS)
            failed = app.failed_models
            if watchdog is not None:
                watchdog.drain_begins()
    finally:
        remove_handlers()
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
    if failed:
        raise EngineFailedError(f"the engine of {', '.join(failed)} failed")
