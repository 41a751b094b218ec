from pathlib import Path
from typing import Any

import pytest

from music.bundle import Bundle, load_bundle
from music.errors import BundleMismatchError
from runtime.errors import ProviderUnavailableError
from runtime.host_runner import HostRunner
from runtime.threads import CpuBudget
from server.errors import MemoryShortageError
from server.loading import ModelLoader, create_runner, estimated_memory
from server.metrics import Metrics
from server.repository.layout import BundleFolder, ModelFolder
from server.settings import Settings


@pytest.mark.slow
def test_the_estimated_memory_is_more_than_the_sessions_read_and_is_compared_with_what_is_free(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(small_bundle)
    needed = estimated_memory(bundle)
    assert needed > len(bundle.manifest.graphs.names) * (small_bundle / "weights.bin").stat().st_size
    loader = ModelLoader(Settings(models=small_bundle), Metrics())

    for free in (None, needed):
        monkeypatch.setattr("server.loading.free_memory", lambda free=free: free)
        loader.check_memory(bundle)
    monkeypatch.setattr("server.loading.free_memory", lambda: needed - 1)
    with pytest.raises(MemoryShortageError, match=r"small: it needs about \d+ MB of memory, and \d+ MB are free"):
        loader.check_memory(bundle)


@pytest.mark.slow
def test_a_version_must_have_the_name_of_its_folder(small_bundle: Path) -> None:
    loader = ModelLoader(Settings(models=small_bundle), Metrics())
    version = BundleFolder(small_bundle, 3, ())
    assert loader.verify(ModelFolder(small_bundle.parent, name="small"), version).name == "small"
    assert loader.verify(ModelFolder(small_bundle.parent), version).name == "small"
    with pytest.raises(BundleMismatchError, match="has the name small, but its folder is that of duo"):
        loader.verify(ModelFolder(small_bundle.parent, name="duo"), version)


@pytest.mark.slow
def test_the_threads_are_chosen_for_the_limit(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.loading.read_cpu_budget", lambda: CpuBudget(64, 2.5))
    asked_of_runtime: list[int] = []

    def made(*arguments: Any, threads: int, **rest: Any) -> HostRunner:
        asked_of_runtime.append(threads)
        return HostRunner(*arguments, threads=threads, **rest)

    monkeypatch.setattr("server.loading.HostRunner", made)
    for asked in (0, 2):
        loader = ModelLoader(Settings(models=small_bundle, provider="cpu", threads=asked), Metrics())
        model = loader.create(load_bundle(small_bundle), 1, models=1)
        model.unload()
        assert model.threads == asked_of_runtime[-1] == max(asked, 1)


class Device:
    """A fake of the runner on CUDA, which works if `runs` is true."""

    runs = True

    def __init__(self, bundle: Bundle, **keywords: Any) -> None:
        if not self.runs:
            raise ProviderUnavailableError("no CUDA")
        self.keywords = keywords


@pytest.mark.slow
@pytest.mark.parametrize(
    ("provider", "runs", "taken"),
    [
        ("auto", True, Device),
        ("auto", False, HostRunner),
        ("cuda", True, Device),
        ("cuda", False, None),
        ("cpu", True, HostRunner),
    ],
)
def test_cuda_is_used_where_it_works_and_required_where_configured(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, provider: Any, runs: bool, taken: type | None
) -> None:
    monkeypatch.setattr("server.loading.DeviceRunner", Device)
    monkeypatch.setattr(Device, "runs", runs)
    settings = Settings(models=small_bundle, provider=provider, slots=3, tf32=True)
    bundle = load_bundle(small_bundle)
    if taken is None:
        with pytest.raises(ProviderUnavailableError):
            create_runner(bundle, settings, 1)
        return
    runner = create_runner(bundle, settings, 1)
    assert type(runner) is taken
    if isinstance(runner, Device):
        assert runner.keywords == {"slots": 3, "precision": "auto", "tf32": True}
    else:
        assert runner.provider == "CPUExecutionProvider"


@pytest.mark.slow
@pytest.mark.parametrize(("expected", "warnings"), [("CUDAExecutionProvider", 1), ("CPUExecutionProvider", 0)])
def test_a_gpu_that_is_not_used_is_exported_and_logged(
    small_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    expected: str,
    warnings: int,
) -> None:
    monkeypatch.setattr("server.loading.DeviceRunner", Device)
    monkeypatch.setattr(Device, "runs", False)
    monkeypatch.setattr("server.loading.expected_provider", lambda requested: expected)
    metrics = Metrics()
    loader = ModelLoader(Settings(models=small_bundle, slots=3), metrics)
    loader.create(load_bundle(small_bundle), 2, models=1).unload()

    labels = {
        "model": "small",
        "version": "2",
        "requested": "auto",
        "expected": expected,
        "actual": "CPUExecutionProvider",
    }
    assert metrics.registry.get_sample_value("fantasia_execution_provider_info", labels) == 1
    logged = [record.__dict__["fields"] for record in caplog.records if record.levelname == "WARNING"]
    assert logged == [{"model": "small", "reason": "no CUDA"}] * warnings


@pytest.mark.slow
@pytest.mark.parametrize(("width", "taken"), [(2, 2), (64, 3)])
def test_the_batch_size_on_a_cpu_is_at_most_the_width_and_the_slots(small_bundle: Path, width: int, taken: int) -> None:
    settings = Settings(models=small_bundle, provider="cpu", slots=3, max_batch_size=width)
    runner = create_runner(load_bundle(small_bundle), settings, 1)
    assert (runner.slots, runner.max_batch_size) == (3, taken)
