import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from server.errors import StartupError
from server.repository.layout import ModelFolder, read_repository


def bundle(path: Path) -> Path:
    """A folder with a manifest and weights, which are not read here."""
    path.mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    (path / "weights.bin").write_bytes(b"12345678")
    return path


def versions(folder: ModelFolder) -> list[int]:
    return [version.version for version in folder.bundles]


def test_every_folder_except_hidden_ones_and_lost_and_found_is_a_model(tmp_path: Path) -> None:
    for name in ("b", "a", ".cache", "..2026_11_29", "lost+found"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").touch()

    assert [folder.path for folder in read_repository(tmp_path)] == [tmp_path / "a", tmp_path / "b"]


def test_the_repository_may_be_a_bundle_itself(tmp_path: Path) -> None:
    bundle(tmp_path / "one")
    (folder,) = read_repository(tmp_path / "one")

    assert (folder.path, folder.name, versions(folder)) == (tmp_path / "one", "", [1])


def test_a_folder_with_numbers_has_versions_and_one_with_a_manifest_is_version_1(tmp_path: Path) -> None:
    for name in ("piano/2", "piano/10", "piano/9", "chorales"):
        bundle(tmp_path / name)
    (tmp_path / "piano" / "README.md").touch()
    chorales, piano = read_repository(tmp_path)

    assert (chorales.name, versions(chorales)) == ("", [1])
    assert (piano.name, versions(piano), piano.default, piano.notes) == ("piano", [10, 9, 2], None, ())


@pytest.mark.parametrize("name", ["0", "01", "v3", "1.0", "next", "1" * 19])
def test_a_folder_with_another_name_is_not_a_version_and_is_named(tmp_path: Path, name: str) -> None:
    bundle(tmp_path / "piano" / "2")
    (tmp_path / "piano" / name).mkdir()
    (folder,) = read_repository(tmp_path)

    assert versions(folder) == [2]
    assert folder.notes == (f"{name} is ignored: the folder of a version has a number as its name, such as 1",)


def test_a_bundle_beside_versions_is_a_problem(tmp_path: Path) -> None:
    bundle(tmp_path / "piano")
    bundle(tmp_path / "piano" / "2")
    (folder,) = read_repository(tmp_path)

    assert folder.bundles == ()
    assert folder.problem.startswith("it has both manifest.json and folders of versions (2)")


def link(path: Path) -> None:
    path.symlink_to("2")


def link_through_data(path: Path) -> None:
    (path.parent / "..data").symlink_to(".")
    path.symlink_to("..data/2")


def absolute_link(path: Path) -> None:
    path.symlink_to(path.parent / "2")


def file(path: Path) -> None:
    path.write_text("2\n")


def linked_file(path: Path) -> None:
    path.with_name(".content").write_text("2")
    path.symlink_to(".content")


@pytest.mark.parametrize("make", [link, link_through_data, absolute_link, file, linked_file])
def test_the_alias_is_a_link_or_a_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    for version in ("1", "2", "3"):
        bundle(tmp_path / "piano" / version)
    make(tmp_path / "piano" / "default")
    (folder,) = read_repository(tmp_path)

    assert (folder.default, folder.notes) == (2, ())


def broken(path: Path) -> None:
    path.symlink_to("4")


def circle(path: Path) -> None:
    path.symlink_to("default")


def words(path: Path) -> None:
    path.write_text("the second")


def long(path: Path) -> None:
    path.write_text("1" * 100)


def binary(path: Path) -> None:
    path.write_bytes(b"\xff")


def other_folder(path: Path) -> None:
    path.symlink_to("..")


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [broken, circle, words, long, binary, other_folder, pipe])
def test_an_alias_that_names_no_version_is_0(tmp_path: Path, make: Callable[[Path], None]) -> None:
    bundle(tmp_path / "piano" / "1")
    make(tmp_path / "piano" / "default")

    assert read_repository(tmp_path)[0].default == 0


def swapped(path: Path) -> None:
    """As the kubelet changes a volume."""
    folder = path.parent / "..new"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"12345678")
    (path.parent / "..tmp").symlink_to("..new")
    (path.parent / "..tmp").rename(path.parent / "..data")


def written(path: Path) -> None:
    path.write_bytes(b"87654321")


def removed(path: Path) -> None:
    path.unlink()


def added(path: Path) -> None:
    path.with_name("more.bin").touch()


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize("change", [swapped, written, removed, added, broken_link])
def test_the_fingerprint_differs_after_a_change_only(tmp_path: Path, change: Callable[[Path], None]) -> None:
    place = tmp_path / "piano" / "1"
    (place / "..old").mkdir(parents=True)
    (place / "..old" / "weights.bin").write_bytes(b"12345678")
    (place / "..data").symlink_to("..old")
    (place / "weights.bin").symlink_to("..data/weights.bin")
    (place / "manifest.json").write_text("{}")
    (place / "samples").mkdir()
    before, again = (read_repository(tmp_path)[0].bundles[0].fingerprint for _ in range(2))
    (place / "samples" / "1.mid").touch()
    assert before == again == read_repository(tmp_path)[0].bundles[0].fingerprint != ()

    change(place / "weights.bin")
    assert read_repository(tmp_path)[0].bundles[0].fingerprint != before


@pytest.mark.parametrize("target", ["nowhere", "lost"])
def test_a_broken_link_is_a_model_with_a_problem(tmp_path: Path, target: str) -> None:
    (tmp_path / "lost").symlink_to(tmp_path / target)
    (tmp_path / "manifest").touch()
    (folder,) = read_repository(tmp_path)

    assert folder.path == tmp_path / "lost"
    assert "symbolic link" in folder.problem


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


def test_a_repository_that_cannot_be_read_is_an_error(closed: Path) -> None:
    with pytest.raises(StartupError, match=f"the folder of models {closed} cannot be read: Permission denied"):
        read_repository(closed)


def test_a_model_that_cannot_be_read_is_a_problem_of_its_own(closed: Path) -> None:
    (folder,) = read_repository(closed.parent)
    assert folder.problem == "it cannot be read: Permission denied"
