"""Loads bundles into engines."""

import logging
from functools import partial
from typing import Final

from music.bundle import Bundle, load_bundle
from music.errors import BundleMismatchError
from runtime.device_runner import DeviceRunner
from runtime.errors import ProviderUnavailableError
from runtime.host_runner import HostRunner
from runtime.memory import free_memory
from runtime.runner import Runner
from runtime.scorer import ForcedScorer, Scorer, open_scorer
from runtime.session import CPU, expected_provider
from runtime.threads import choose_threads, read_cpu_budget
from server.catalogue import ServedModel
from server.engine.engine import Engine
from server.errors import MemoryShortageError
from server.metrics import EngineMetrics, Metrics
from server.repository.layout import BundleFolder, ModelFolder
from server.settings import Settings

_log = logging.getLogger(__name__)
_MEMORY_FACTOR: Final = 1.5
"""Memory that a model takes, measured with the shipped ones, by the size of what its sessions read."""


class ModelLoader:
    """Verifies bundles, and makes models of them whose engines are not started.

    Args:
        settings: the server's settings.
        metrics: what the engines report to.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics

    def verify(self, folder: ModelFolder, version: BundleFolder) -> Bundle:
        """The bundle of a version.

        Raises:
            BundleError: it is refused; one of another model is a `BundleMismatchError`.
        """
        bundle = load_bundle(version.path)
        if folder.name and bundle.name != folder.name:
            raise BundleMismatchError(
                f"{version.path}: its manifest has the name {bundle.name}, but its folder is that of {folder.name}"
            )
        return bundle

    def create(self, bundle: Bundle, version: int, *, models: int) -> ServedModel:
        """The model of a verified bundle.

        Args:
            bundle: of the model.
            version: its number.
            models: number of models that share the CPU.

        Raises:
            BundleError: a graph does not load, or a file has changed since it was verified.
            ProviderUnavailableError: CUDA is required and does not work.
            PrecisionUnavailableError: int8 is required and does not work.
        """
        settings, parameters = self._settings, bundle.network.parameters
        threads = choose_threads(settings.threads, read_cpu_budget(), models=models, parameters=parameters)
        runner = create_runner(bundle, settings, threads)
        scorer = open_scorer(bundle, threads=threads)
        self._metrics.set_execution_provider(
            bundle.name,
            version,
            requested=settings.provider,
            expected=expected_provider(settings.provider),
            actual=runner.provider,
        )
        return create_served_model(bundle, runner, settings.queue_limit, self._metrics, threads, scorer, version)

    def check_memory(self, bundle: Bundle) -> None:
        """Check that the memory that is free should be enough for one more model.

        Raises:
            MemoryShortageError: it is not.
        """
        free, needed = free_memory(), estimated_memory(bundle)
        if free is not None and needed > free:
            raise MemoryShortageError(str(bundle.path), needed, free)


def estimated_memory(bundle: Bundle) -> int:
    """Bytes that the sessions of a bundle take, about: each keeps a copy of the weights that it reads."""
    graphs = bundle.manifest.graphs.names
    sizes = {name: bundle.file(name).stat().st_size for name in bundle.manifest.files}
    weights = sum(size for name, size in sizes.items() if name not in graphs)
    return round(_MEMORY_FACTOR * (len(graphs) * weights + sum(sizes[name] for name in graphs)))


def create_runner(bundle: Bundle, settings: Settings, threads: int) -> Runner:
    """Create a runner on CUDA if the provider is `cuda`, or is `auto` and CUDA works; else on the CPU.

    Raises:
        ProviderUnavailableError: the provider is `cuda` and CUDA does not work.
        PrecisionUnavailableError: the precision is not supported by this bundle or execution provider.
        BundleMismatchError: a graph does not load, or does not have the shape that the manifest states.
    """
    if settings.provider != "cpu":
        try:
            return DeviceRunner(bundle, slots=settings.slots, precision=settings.precision, tf32=settings.tf32)
        except ProviderUnavailableError as error:
            if settings.provider == "cuda":
                raise
            if expected_provider(settings.provider) != CPU:
                fields = {"model": bundle.name, "reason": str(error)}
                _log.warning("this machine has a GPU, and the CPU runs the model", extra={"fields": fields})
    return HostRunner(
        bundle,
        slots=settings.slots,
        max_batch_size=settings.max_batch_size,
        provider="cpu",
        threads=threads,
        precision=settings.precision,
    )


def create_served_model(
    bundle: Bundle,
    runner: Runner,
    queue_limit: int,
    metrics: Metrics,
    threads: int = 1,
    scorer: Scorer | ForcedScorer | None = None,
    version: int = 1,
) -> ServedModel:
    """Create the engine of a version, with its metrics."""
    use = metrics.add_engine(bundle.name, version)
    observer = EngineMetrics(metrics, bundle.name, version)
    engine = Engine(runner, queue_limit=queue_limit, observer=observer, name=bundle.name)
    use.attach(engine)
    on_unload = partial(metrics.remove_engine, bundle.name, version, use)
    return ServedModel(bundle, engine, threads, scorer, version, on_unload)


def export_bundle_info(model: ServedModel, metrics: Metrics) -> None:
    """Export what is served under the name and version of a model."""
    metrics.set_bundle_info(
        model.name,
        model.version,
        digest=model.bundle.digest,
        tokenizer=model.bundle.tokenizer.name,
        provider=model.engine.provider,
        precision=model.engine.precision,
    )
