from pathlib import Path

import pytest

from server.access.observer import AccessObserver
from server.access.watched_files import MAX_FILE_BYTES, Contents, WatchedFiles
from server.errors import SettingError


class Reloads(AccessObserver):
    def __init__(self) -> None:
        self.seen: list[bool] = []

    def reloaded(self, files: str, *, ok: bool) -> None:
        assert files == "pair"
        self.seen.append(ok)


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    found = {"--a": tmp_path / "a", "--b": tmp_path / "b"}
    for path in found.values():
        path.write_bytes(b"1")
    return found


class Pair:
    """Accepts two files with the same content."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self.reloads = Reloads()
        self.used: list[bytes] = []
        self.files = WatchedFiles("pair", paths, self.load, self.reloads)

    def load(self, contents: Contents) -> None:
        a, b = contents["--a"], contents["--b"]
        if a != b:
            raise SettingError("they differ")
        self.used.append(a)


def test_a_change_counts_when_it_was_seen_twice(paths: dict[str, Path]) -> None:
    pair = Pair(paths)
    assert not pair.files.poll()
    paths["--a"].write_bytes(b"2")
    assert not pair.files.poll()
    paths["--b"].write_bytes(b"2")
    assert not pair.files.poll()
    assert pair.files.poll()
    assert not pair.files.poll()
    assert (pair.used, pair.reloads.seen) == ([b"1", b"2"], [True])


def test_a_refused_change_is_reported_once_and_the_way_back_works(paths: dict[str, Path]) -> None:
    pair = Pair(paths)
    paths["--a"].write_bytes(b"2")
    assert [pair.files.poll() for _ in range(5)] == [False] * 5
    assert (pair.used, pair.reloads.seen) == ([b"1"], [False])
    paths["--a"].write_bytes(b"1")
    assert [pair.files.poll() for _ in range(3)] == [False, True, False]
    assert pair.reloads.seen == [False, True]


@pytest.mark.parametrize("change", ["remove", "folder", "large"])
def test_a_file_that_cannot_be_read_is_named(paths: dict[str, Path], change: str) -> None:
    path = paths["--b"]
    path.unlink()
    if change == "folder":
        path.mkdir()
    elif change == "large":
        path.write_bytes(bytes(MAX_FILE_BYTES + 1))
    text = "is larger than 1,048,576 bytes" if change == "large" else "cannot be read"
    with pytest.raises(SettingError, match=f"--b: {path} {text}"):
        Pair(paths)
