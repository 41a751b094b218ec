"""The composition root: joins settings, models, engines, rpc and metrics to one server."""

import asyncio
import gc
import logging
import os
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
from server.errors import SettingError, StartupError
from server.loading import ModelLoader, export_bundle_info
from server.metrics import AccessMetrics, Metrics, MetricsEndpoint, ScrapeAuthorizer
from server.repository.repository import ModelRepository
from server.repository.start import Loaded, load_repository
from server.rpc.call_tracer import CallTracer
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
_STDERR: Final = 2

LoadModels = Callable[[Settings, Metrics], list[ServedModel]]


class App:
    """The whole server. It serves inside `async with`, and is drained and stopped at its end.

    Args:
        settings: the server's settings.
        load: makes the models, without starting their engines; it runs on a thread. None for the models in the
            repository that the settings name, which then is looked at for changes.
        keepalive: how lost peers are detected.
        on_ready: called when every model has run, right before calls are accepted.
        tracer: traces calls; None for what the settings say.

    Raises:
        FantasiaError: on entering, the server cannot start with these settings.
    """

    def __init__(
        self,
        settings: Settings,
        load: LoadModels | None = None,
        *,
        keepalive: Keepalive | None = None,
        on_ready: Callable[[], None] = lambda: None,
        tracer: CallTracer | None = None,
    ) -> None:
        self._settings = settings
        self._tracer = tracer
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
        self._repository: ModelRepository | None = None
        self._watching: asyncio.Task[None] | None = None
        self._reload = asyncio.Event()
        self._rpc: RpcServer
        self.address = ""
        """Its address as clients write it, with the bound port; empty until it listens."""
        self.health_address = ""
        """Address of the second port for health; empty until it listens, and without such a port."""
        self.metrics_port = 0
        """The bound port of the metrics; 0 until it listens, and if metrics are off."""

    def reload_models(self) -> None:
        """Look for changes in the model repository now, or as soon as the server serves."""
        self._reload.set()

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
        if self._watching is not None:
            await _end(self._watching)
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
        tracer = self._tracer or _tracer(settings)
        stack.push_async_callback(asyncio.to_thread, tracer.close)
        loader = ModelLoader(settings, self._metrics)
        loaded = await asyncio.to_thread(self._load_models, loader)
        try:
            self._catalogue = Catalogue(loaded.models, settings.default_model, loaded.default_versions)
        except StartupError:
            for model in loaded.models:
                await asyncio.to_thread(model.engine.stop)
            raise
        stack.push_async_callback(self._stop_engines)
        for model in self._catalogue:
            export_bundle_info(model, self._metrics)
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
            tracer=tracer,
        )
        stack.push_async_callback(self._rpc.stop, _GRACE_SECONDS)
        await self._rpc.start()
        self.address, self.health_address = self._rpc.address, self._rpc.health_address
        for model in self._catalogue:
            await asyncio.to_thread(model.engine.warm_up)
            model.engine.start()
        watching = asyncio.create_task(access.watch())
        stack.callback(watching.cancel)
        self._on_ready()
        await self._rpc.start_serving()
        if self._load is None:
            self._repository = ModelRepository(settings, loaded, loader, self._catalogue, self._rpc, self._metrics)
            self._watching = asyncio.create_task(self._repository.watch(self._reload))

    def _load_models(self, loader: ModelLoader) -> Loaded:
        if self._load is None:
            return load_repository(self._settings, loader)
        return Loaded.of(self._load(self._settings, self._metrics))

    @property
    def _models(self) -> list[ServedModel]:
        """All models that run, those that are being unloaded included."""
        return [*self._catalogue, *(self._repository.unloading if self._repository else ())]

    async def _stop_engines(self) -> None:
        for model in self._models:
            await asyncio.to_thread(model.engine.stop)

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
        for engine in [model.engine for model in self._models]:
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


def _tracer(settings: Settings) -> CallTracer:
    """What traces calls.

    Raises:
        SettingError: tracing is on, and its packages are missing or its variables are wrong.
    """
    if not settings.tracing:
        return CallTracer()
    try:
        from server.tracing import tracer_from_environment  # here, so that tracing costs nothing when it is off
    except ModuleNotFoundError as error:
        raise SettingError(
            f"--tracing needs the package of {error.name}: install the packages of requirements/tracing.txt"
        ) from error
    return tracer_from_environment()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def serve(settings: Settings, load: LoadModels | None = None, watchdog: Watchdog | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends the process at once.

    SIGHUP lets the server look for changes in the model repository now.

    Until the server serves, signals keep their handlers: those of `end_on_signal` end the process.

    Args:
        settings: the server's settings.
        load: makes the models; None for those in the repository.
        watchdog: limits the time of start and drain.

    Raises:
        FantasiaError: the server cannot start with these settings.
        EngineFailedError: an engine failed; the process should be restarted.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    has_terminal = os.isatty(_STDERR)
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGHUP)}

    def on_signal(number: signal.Signals) -> None:
        remove_handlers()
        kill_on_signal()
        _log.info("signal", extra={"fields": {"signal": number.name}})
        stop.set()

    def on_hangup() -> None:
        if has_terminal and not os.isatty(_STDERR):  # the terminal is closed
            on_signal(signal.SIGHUP)
        else:
            _log.info("signal", extra={"fields": {"signal": signal.SIGHUP.name}})
            app.reload_models()

    def remove_handlers() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def on_ready() -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal, number)
        if watchdog is not None:
            watchdog.serving()

    app = App(settings, load, on_ready=on_ready)
    try:
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
        async with app:
            while not stop.is_set() and not app.failed_models:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _POLL_SECONDS)
            failed = app.failed_models
            if watchdog is not None:
                watchdog.drain_begins()
    finally:
        remove_handlers()
        loop.remove_signal_handler(signal.SIGHUP)
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
    if failed:
        raise EngineFailedError(f"the engine of {', '.join(failed)} failed")
