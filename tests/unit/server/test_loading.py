from pathlib import Path
from typing import Any

import pytest

from music.errors import BundleFormatError
from server.engine.onnx_runner import OnnxRunner
from server.engine.threads import Cpu
from server.errors import StartupError
from server.loading import bundle_folders, load_models
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
