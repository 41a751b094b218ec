from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from music.errors import BundleError, BundleFormatError, BundleIntegrityError, BundleMismatchError
from server.errors import StartupError
from server.loading import ModelLoader
from server.metrics import Metrics
from server.repository.start import Loaded, load_repository
from server.settings import Settings
from tests.repositories import add_version, break_tokenizer, break_weights, copy_bundle

pytestmark = pytest.mark.slow
Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Loads the repository `tmp_path`; the engines are stopped afterwards."""
    results: list[Loaded] = []

    def load(**changes: Any) -> Loaded:
        settings = Settings(models=tmp_path, provider="cpu", **changes)
        results.append(load_repository(settings, ModelLoader(settings, Metrics())))
        return results[-1]

    yield load
    for loaded in results:
        for model in loaded.models:
            model.unload()


def versions(loaded: Loaded) -> list[tuple[str, int]]:
    return [(model.name, model.version) for model in loaded.models]


def test_the_highest_versions_are_loaded_and_others_are_not_even_read(
    tmp_path: Path, small_bundle: Path, load: Load
) -> None:
    for version in (1, 2, 3):
        add_version(tmp_path, small_bundle, "duo", version)
    break_weights(tmp_path / "duo" / "1")

    assert versions(load()) == [("duo", 3), ("duo", 2)]
    assert versions(load(served_versions=1)) == [("duo", 3)]


@pytest.mark.parametrize("damage", [break_weights, break_tokenizer])
def test_a_bad_version_is_left_out_if_there_is_a_good_one(
    tmp_path: Path, small_bundle: Path, load: Load, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    for version in (1, 2, 3):
        add_version(tmp_path, small_bundle, "duo", version)
    damage(tmp_path / "duo" / "3")
    loaded = load()

    assert versions(loaded) == [("duo", 2), ("duo", 1)]
    (record,) = [record for record in caplog.records if record.message == "model refused"]
    assert (record.fields["model"], record.fields["version"]) == ("duo", 3)  # type: ignore[attr-defined]
    assert loaded.places[tmp_path / "duo" / "3"].reported


@pytest.mark.parametrize(
    ("damage", "error"), [(break_weights, BundleIntegrityError), (break_tokenizer, BundleMismatchError)]
)
def test_a_model_without_a_good_version_stops_the_start(
    tmp_path: Path, small_bundle: Path, load: Load, damage: Callable[[Path], None], error: type[BundleError]
) -> None:
    damage(add_version(tmp_path, small_bundle, "duo", 1))
    with pytest.raises(error, match="duo/1"):
        load()


def test_a_folder_without_a_manifest_is_refused_by_name(tmp_path: Path, load: Load) -> None:
    (tmp_path / "chorales").mkdir()
    with pytest.raises(BundleFormatError, match="chorales"):
        load()


def test_an_empty_repository_stops_the_start(tmp_path: Path, load: Load) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "weights.bin").touch()
    with pytest.raises(StartupError, match="contains no bundle"):
        load()


def test_a_broken_link_stops_the_start(tmp_path: Path, load: Load) -> None:
    (tmp_path / "piano").symlink_to("nowhere")
    with pytest.raises(StartupError, match="piano: it is a broken symbolic link"):
        load()


def test_the_default_version_is_that_of_the_settings_else_of_the_alias(
    tmp_path: Path, small_bundle: Path, load: Load
) -> None:
    for version in (1, 2, 3, 4):
        add_version(tmp_path, small_bundle, "duo", version)
    assert load(served_versions=1).default_versions == {}

    (tmp_path / "duo" / "default").symlink_to("2")
    aliased = load()
    assert (versions(aliased), aliased.default_versions) == ([("duo", 4), ("duo", 3), ("duo", 2)], {"duo": 2})
    configured = load(default_versions="duo=1")
    assert (versions(configured), configured.default_versions) == ([("duo", 4), ("duo", 3), ("duo", 1)], {"duo": 1})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"default_versions": "duo=7"}, "duo has no version 7, the default version; it has 2, 1"),
        ({"default_versions": "solo=1"}, "--default-versions names solo, which is not in"),
        ({"default_model": "nemo"}, "'nemo' is not loaded; loaded models: duo"),
    ],
)
def test_a_default_that_is_not_there_stops_the_start_before_a_graph_is_loaded(
    tmp_path: Path,
    small_bundle: Path,
    load: Load,
    settings: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def create(*arguments: Any) -> None:
        raise AssertionError("a graph is loaded")

    monkeypatch.setattr("server.loading.create_runner", create)
    for version in (1, 2):
        add_version(tmp_path, small_bundle, "duo", version)
    with pytest.raises(StartupError, match=sentence):
        load(**settings)


def test_a_bad_default_version_stops_the_start(tmp_path: Path, small_bundle: Path, load: Load) -> None:
    for version in (1, 2):
        add_version(tmp_path, small_bundle, "duo", version)
    (tmp_path / "duo" / "default").write_text("one")
    with pytest.raises(StartupError, match="duo: the entry default must be a symbolic link to a version"):
        load()
    (tmp_path / "duo" / "default").write_text("1")
    break_weights(tmp_path / "duo" / "1")
    with pytest.raises(BundleIntegrityError, match="duo/1"):
        load()


def test_two_bundles_with_one_name_stop_the_start(tmp_path: Path, small_bundle: Path, load: Load) -> None:
    add_version(tmp_path, small_bundle, "duo", 2)
    copy_bundle(small_bundle, tmp_path / "another", "duo")
    with pytest.raises(StartupError, match="two bundles have the same name: duo"):
        load()


def test_a_version_whose_graph_does_not_load_is_left_out_and_nothing_is_left_if_it_is_the_only_one(
    tmp_path: Path, small_bundle: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        add_version(tmp_path, small_bundle, "duo", version)
    create = ModelLoader.create
    made = []

    def fail(loader: ModelLoader, bundle: Any, version: int, *, models: int) -> Any:
        if version == 2 or bundle.name == "solo":
            raise BundleMismatchError(f"{bundle.path}: decode_1.onnx does not load")
        made.append(create(loader, bundle, version, models=models))
        return made[-1]

    monkeypatch.setattr(ModelLoader, "create", fail)
    assert versions(load()) == [("duo", 1)]

    add_version(tmp_path, small_bundle, "solo", 1)
    with pytest.raises(BundleMismatchError, match=r"solo/1: decode_1\.onnx does not load"):
        load(default_model="duo")
    assert not made[-1].engine.accepting, "the models before it are stopped"
