"""From a folder of bundles to engines."""

from pathlib import Path
from typing import Final

from music.bundle import Bundle, load_bundle
from server.catalogue import ServedModel
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
        StartupError: there is no bundle.
    """
    models: list[ServedModel] = []
    try:
        cpu, folders = read_cpu(), bundle_folders(settings.models)
        for path in folders:
            bundle = load_bundle(path)
            parameters = bundle.network.parameters
            threads = choose_threads(settings.threads, cpu, models=len(folders), parameters=parameters)
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
    without a manifest counts: it is refused by name rather than passed over.

    Raises:
        StartupError: there is none.
    """
    if (models / "manifest.json").exists():
        return [models]
    folders = sorted(
        path for path in models.iterdir() if not path.name.startswith(".") and path.name != _NO_BUNDLE and path.is_dir()
    )
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
