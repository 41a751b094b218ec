"""Loads a folder of bundles into engines."""

import logging
import os
from pathlib import Path
from typing import Final

from music.bundle import Bundle, load_bundle
from music.manifest import MANIFEST
from runtime.device_runner import DeviceRunner
from runtime.errors import ProviderUnavailableError
from runtime.host_runner import HostRunner
from runtime.runner import Runner
from runtime.scorer import ForcedScorer, Scorer, open_scorer
from runtime.session import CPU, expected_provider
from runtime.threads import choose_threads, read_cpu_budget
from server.catalogue import ServedModel, choose_default
from server.engine.engine import Engine
from server.errors import StartupError
from server.metrics import EngineMetrics, Metrics
from server.settings import Settings

_log = logging.getLogger(__name__)
_LOST_AND_FOUND: Final = "lost+found"  # at the root of every ext4 volume


def load_models(settings: Settings, metrics: Metrics) -> list[ServedModel]:
    """Load every bundle, each with an engine that is not started.

    Raises:
        BundleError: a bundle is refused.
        ProviderUnavailableError: CUDA is required and does not work.
        PrecisionUnavailableError: int8 is required and does not work.
        StartupError: there is no bundle, or no clear default; see `choose_default`.
    """
    models: list[ServedModel] = []
    # Every bundle is checked before the first graph is loaded, which takes longer.
    bundles = [load_bundle(path) for path in find_bundles(settings.models)]
    choose_default([bundle.name for bundle in bundles], settings.default_model)
    try:
        cpu = read_cpu_budget()
        for bundle in bundles:
            parameters = bundle.network.parameters
            threads = choose_threads(settings.threads, cpu, models=len(bundles), parameters=parameters)
            runner = create_runner(bundle, settings, threads)
            scorer = open_scorer(bundle, threads=threads)
            models.append(create_served_model(bundle, runner, settings.queue_limit, metrics, threads, scorer))
            metrics.set_execution_provider(
                bundle.name,
                requested=settings.provider,
                expected=expected_provider(settings.provider),
                actual=runner.provider,
            )
    except BaseException:
        for model in models:
            model.engine.stop()
        raise
    return models


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


def find_bundles(models: Path) -> list[Path]:
    """The bundles in a folder, sorted by name; the folder itself if it is a bundle.

    Hidden folders and `lost+found` are ignored. A folder without a manifest and a broken symbolic link are included, so
    that loading them fails with their name instead of serving less than the operator expects.

    Raises:
        StartupError: there is no bundle, or `models` cannot be read.
    """
    if os.path.lexists(models / MANIFEST):
        return [models]
    try:
        paths = [path for path in models.iterdir() if not path.name.startswith(".") and path.name != _LOST_AND_FOUND]
        folders = sorted(path for path in paths if path.is_dir() or (path.is_symlink() and not path.exists()))
    except OSError as error:
        raise StartupError(f"the folder of models {models} cannot be read: {error.strerror or error}") from error
    if not folders:
        raise StartupError(
            f"{models} contains no bundle: it has no manifest.json and no folder that could be a bundle; "
            "set --models to a folder of bundles, or to one bundle"
        )
    return folders


def create_served_model(
    bundle: Bundle,
    runner: Runner,
    queue_limit: int,
    metrics: Metrics,
    threads: int = 1,
    scorer: Scorer | ForcedScorer | None = None,
) -> ServedModel:
    """Create the engine of a bundle, with its metrics."""
    observer = EngineMetrics(metrics, bundle.name)
    engine = Engine(runner, queue_limit=queue_limit, observer=observer, name=bundle.name)
    metrics.set_bundle_info(
        bundle.name,
        digest=bundle.digest,
        tokenizer=bundle.tokenizer.name,
        provider=engine.provider,
        precision=engine.precision,
    )
    metrics.set_capacity(
        bundle.name,
        slots=engine.slots,
        queue_limit=queue_limit,
        running=lambda: engine.running,
        waiting=lambda: engine.waiting,
    )
    return ServedModel(bundle, engine, threads, scorer)
