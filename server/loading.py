"""From a folder of bundles to engines."""

import os
from pathlib import Path
from typing import Final

from music.bundle import Bundle, load_bundle
from music.manifest import MANIFEST
from server.catalogue import ServedModel, default_name
from server.engine.device_runner import DeviceRunner
from server.engine.engine import Engine
from server.engine.errors import ProviderUnavailableError
from server.engine.onnx_runner import OnnxRunner
from server.engine.runner import Runner
from server.engine.threads import choose_threads, read_cpu
from server.errors import StartupError
from server.metrics import EngineMetrics, Metrics
from server.settings import Settings

_NO_BUNDLE: Final = "lost+found"  # at the root of every ext4 volume


def load_models(settings: Settings, metrics: Metrics) -> list[ServedModel]:
    """Load every bundle, each with an engine that is not started yet.

    Raises:
        BundleError: a bundle is refused.
        ProviderUnavailableError: a GPU is asked for and there is none.
        PrecisionUnavailableError: int8 is asked for where it does not run.
        StartupError: there is no bundle, two have one name, or nothing says which is the default.
    """
    models: list[ServedModel] = []
    # Whatever may be wrong with the bundles is found before the first graph is loaded, which takes longer.
    bundles = [load_bundle(path) for path in bundle_folders(settings.models)]
    default_name([bundle.name for bundle in bundles], settings.default_model)
    try:
        cpu = read_cpu()
        for bundle in bundles:
            parameters = bundle.network.parameters
            threads = choose_threads(settings.threads, cpu, models=len(bundles), parameters=parameters)
            runner = open_runner(bundle, settings, threads)
            models.append(serve_bundle(bundle, runner, settings.queue_limit, metrics, threads))
    except BaseException:
        for model in models:
            model.engine.stop()
        raise
    return models


def open_runner(bundle: Bundle, settings: Settings, threads: int) -> Runner:
    """A runner on CUDA where that is wanted, or is free to be taken and really runs; else one on the CPU.

    Raises:
        ProviderUnavailableError: CUDA is wanted and does not run here.
        PrecisionUnavailableError: int8 is wanted where it does not run.
        BundleMismatchError: a graph does not load, or has not the shape that the manifest says.
    """
    if settings.provider != "cpu":
        try:
            return DeviceRunner(bundle, slots=settings.slots, precision=settings.precision, tf32=settings.tf32)
        except ProviderUnavailableError:
            if settings.provider == "cuda":
                raise
    return OnnxRunner(
        bundle,
        slots=settings.slots,
        width=settings.width,
        provider="cpu",
        threads=threads,
        precision=settings.precision,
    )


def bundle_folders(models: Path) -> list[Path]:
    """The folders in `models`, sorted; `models` itself where that is a bundle.

    Hidden folders do not count, nor does the `lost+found` of a volume that is mounted. Any other folder
    without a manifest counts, and so does a symbolic link that leads nowhere: they are refused by name rather than
    passed over.

    Raises:
        StartupError: there is none, or `models` cannot be read.
    """
    if os.path.lexists(models / MANIFEST):
        return [models]
    try:
        paths = [path for path in models.iterdir() if not path.name.startswith(".") and path.name != _NO_BUNDLE]
        folders = sorted(path for path in paths if path.is_dir() or (path.is_symlink() and not path.exists()))
    except OSError as error:
        raise StartupError(f"the folder of models {models} cannot be read: {error.strerror or error}") from error
    if not folders:
        raise StartupError(
            f"{models} holds no bundle: it has no manifest.json, so is none itself, and no folder that could be one; "
            "give --models a folder of bundles, or one bundle"
        )
    return folders


def serve_bundle(bundle: Bundle, runner: Runner, queue_limit: int, metrics: Metrics, threads: int = 1) -> ServedModel:
    """Join a bundle and its runner to a model that is measured."""
    observer = EngineMetrics(metrics, bundle.name)
    engine = Engine(runner, queue_limit=queue_limit, observer=observer, name=bundle.name)
    metrics.describe_bundle(
        bundle.name,
        digest=bundle.digest,
        tokenizer=bundle.tokenizer.name,
        provider=engine.provider,
        precision=engine.precision,
    )
    metrics.watch_capacity(
        bundle.name,
        slots=engine.slots,
        queue_limit=queue_limit,
        running=lambda: engine.running,
        waiting=lambda: engine.waiting,
    )
    return ServedModel(bundle, engine, threads)
