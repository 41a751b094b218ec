import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from music.bundle import Bundle, load_bundle
from music.errors import BundleFormatError
from runtime.errors import ProviderUnavailableError
from runtime.host_runner import HostRunner
from runtime.threads import CpuBudget
from server.errors import StartupError
from server.loading import create_runner, find_bundles, load_models
from server.metrics import Metrics
from server.settings import Settings


def test_every_folder_except_hidden_ones_and_lost_and_found_is_a_bundle(tmp_path: Path) -> None:
    for name in ("b", "a", ".cache", "lost+found"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").touch()

    assert find_bundles(tmp_path) == [tmp_path / "a", tmp_path / "b"]


def test_the_folder_may_be_a_bundle_itself(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()

    assert find_bundles(tmp_path) == [tmp_path]


def test_a_folder_without_bundles_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no bundle"):
        find_bundles(tmp_path)


def test_an_empty_volume_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    with pytest.raises(StartupError, match="no bundle"):
        find_bundles(tmp_path)


def test_a_bundle_without_its_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    with pytest.raises(StartupError, match=r"no manifest\.json"):
        find_bundles(tmp_path)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that this process may not enter, even as root. Other users may not enter pytest's own folders."""
    with TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "models"
        path.mkdir(mode=0)
        Path(folder).chmod(0o755)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield path
        finally:
            os.seteuid(user)
            path.chmod(0o755)


def test_an_unreadable_folder_of_models_is_an_error(closed: Path) -> None:
    with pytest.raises(StartupError, match=f"the folder of models {closed} cannot be read: Permission denied"):
        find_bundles(closed)


def test_an_unreadable_bundle_is_an_error(closed: Path) -> None:
    with pytest.raises(
        BundleFormatError, match=rf"{closed}: manifest.json is missing or unreadable \(Permission denied\)"
    ):
        load_bundle(closed)


@pytest.mark.parametrize("target", ["nowhere", "lost"])
def test_a_broken_link_is_not_ignored(tmp_path: Path, target: str) -> None:
    (tmp_path / "lost").symlink_to(tmp_path / target)
    (tmp_path / "manifest").touch()

    assert find_bundles(tmp_path) == [tmp_path / "lost"]


def test_an_unknown_default_is_an_error_before_any_graph_is_loaded(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*arguments: Any) -> HostRunner:
        raise AssertionError("a graph is loaded")

    monkeypatch.setattr("server.loading.create_runner", loaded)
    with pytest.raises(StartupError, match="'nemo' is not loaded; loaded models: small"):
        load_models(Settings(models=small_bundle, default_model="nemo"), Metrics())


def test_a_folder_without_a_manifest_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "chorales").mkdir()
    with pytest.raises(BundleFormatError, match="chorales"):
        load_models(Settings(models=tmp_path), Metrics())


@pytest.mark.slow
def test_the_threads_are_chosen_for_the_limit(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.loading.read_cpu_budget", lambda: CpuBudget(64, 2.5))
    asked_of_runtime: list[int] = []

    def made(*arguments: Any, threads: int, **rest: Any) -> HostRunner:
        asked_of_runtime.append(threads)
        return HostRunner(*arguments, threads=threads, **rest)

    monkeypatch.setattr("server.loading.HostRunner", made)
    for asked in (0, 2):
        (model,) = load_models(Settings(models=small_bundle, provider="cpu", threads=asked), Metrics())
        model.engine.stop()
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
    (model,) = load_models(Settings(models=small_bundle, slots=3), metrics)
    model.engine.stop()

    labels = {"model": "small", "requested": "auto", "expected": expected, "actual": "CPUExecutionProvider"}
    assert metrics.registry.get_sample_value("fantasia_execution_provider_info", labels) == 1
    logged = [record.__dict__["fields"] for record in caplog.records if record.levelname == "WARNING"]
    assert logged == [{"model": "small", "reason": "no CUDA"}] * warnings


@pytest.mark.slow
@pytest.mark.parametrize(("width", "taken"), [(2, 2), (64, 3)])
def test_the_batch_size_on_a_cpu_is_at_most_the_width_and_the_slots(small_bundle: Path, width: int, taken: int) -> None:
    settings = Settings(models=small_bundle, provider="cpu", slots=3, max_batch_size=width)
    runner = create_runner(load_bundle(small_bundle), settings, 1)
    assert (runner.slots, runner.max_batch_size) == (3, taken)
