import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from music.bundle import Bundle, load_bundle
from music.errors import BundleFormatError
from server.engine.errors import ProviderUnavailableError
from server.engine.onnx_runner import OnnxRunner
from server.engine.threads import Cpu
from server.errors import StartupError
from server.loading import bundle_folders, load_models, open_runner
from server.metrics import Metrics
from server.settings import Settings


def test_every_folder_is_a_bundle_but_hidden_ones_and_lost_files(tmp_path: Path) -> None:
    for name in ("b", "a", ".cache", "lost+found"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").touch()

    assert bundle_folders(tmp_path) == [tmp_path / "a", tmp_path / "b"]


def test_one_bundle_may_be_named_itself(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()

    assert bundle_folders(tmp_path) == [tmp_path]


def test_a_folder_without_bundles_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no bundle"):
        bundle_folders(tmp_path)


def test_an_empty_volume_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    with pytest.raises(StartupError, match="no bundle"):
        bundle_folders(tmp_path)


def test_a_bundle_that_lost_its_manifest_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    with pytest.raises(StartupError, match=r"no manifest\.json"):
        bundle_folders(tmp_path)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that this process may not enter, although root runs it; pytest's own folders are closed to others."""
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


def test_a_folder_of_models_that_may_not_be_read_is_told(closed: Path) -> None:
    with pytest.raises(StartupError, match=f"the folder of models {closed} cannot be read: Permission denied"):
        bundle_folders(closed)


def test_a_bundle_that_may_not_be_read_is_told(closed: Path) -> None:
    with pytest.raises(BundleFormatError, match=rf"{closed}: no readable manifest.json \(Permission denied\)"):
        load_bundle(closed)


@pytest.mark.parametrize("target", ["nowhere", "lost"])
def test_a_link_that_leads_nowhere_is_no_bundle_to_pass_over(tmp_path: Path, target: str) -> None:
    (tmp_path / "lost").symlink_to(tmp_path / target)
    (tmp_path / "manifest").touch()

    assert bundle_folders(tmp_path) == [tmp_path / "lost"]


def test_a_default_that_is_not_there_is_told_before_any_graph_is_loaded(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*arguments: Any) -> OnnxRunner:
        raise AssertionError("a graph is loaded")

    monkeypatch.setattr("server.loading.open_runner", loaded)
    with pytest.raises(StartupError, match="'nemo' is not loaded; loaded: small"):
        load_models(Settings(models=small_bundle, default_model="nemo"), Metrics())


def test_a_folder_without_a_manifest_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "chorales").mkdir()
    with pytest.raises(BundleFormatError, match="chorales"):
        load_models(Settings(models=tmp_path), Metrics())


def test_the_threads_are_chosen_for_the_limit(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.loading.read_cpu", lambda: Cpu(64, 2.5))
    asked_of_runtime: list[int] = []

    def made(*arguments: Any, threads: int, **rest: Any) -> OnnxRunner:
        asked_of_runtime.append(threads)
        return OnnxRunner(*arguments, threads=threads, **rest)

    monkeypatch.setattr("server.loading.OnnxRunner", made)
    for asked in (0, 2):
        (model,) = load_models(Settings(models=small_bundle, provider="cpu", threads=asked), Metrics())
        model.engine.stop()
        assert model.threads == asked_of_runtime[-1] == max(asked, 1)


class Device:
    """Stands in for the runner on CUDA, which really runs or does not."""

    runs = True

    def __init__(self, bundle: Bundle, **keywords: Any) -> None:
        if not self.runs:
            raise ProviderUnavailableError("no CUDA")
        self.keywords = keywords


@pytest.mark.parametrize(
    ("provider", "runs", "taken"),
    [
        ("auto", True, Device),
        ("auto", False, OnnxRunner),
        ("cuda", True, Device),
        ("cuda", False, None),
        ("cpu", True, OnnxRunner),
    ],
)
def test_cuda_is_taken_where_it_runs_and_insisted_on_where_asked_for(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, provider: Any, runs: bool, taken: type | None
) -> None:
    monkeypatch.setattr("server.loading.DeviceRunner", Device)
    monkeypatch.setattr(Device, "runs", runs)
    settings = Settings(models=small_bundle, provider=provider, slots=3, tf32=True)
    bundle = load_bundle(small_bundle)
    if taken is None:
        with pytest.raises(ProviderUnavailableError):
            open_runner(bundle, settings, 1)
        return
    runner = open_runner(bundle, settings, 1)
    assert type(runner) is taken
    if isinstance(runner, Device):
        assert runner.keywords == {"slots": 3, "precision": "auto", "tf32": True}
    else:
        assert runner.provider == "CPUExecutionProvider"


@pytest.mark.parametrize(("width", "taken"), [(2, 2), (64, 3)])
def test_a_run_on_a_cpu_takes_no_more_than_the_width_and_the_slots(small_bundle: Path, width: int, taken: int) -> None:
    settings = Settings(models=small_bundle, provider="cpu", slots=3, width=width)
    runner = open_runner(load_bundle(small_bundle), settings, 1)
    assert (runner.slots, runner.width) == (3, taken)
