from pathlib import Path

import numpy as np
import pytest

from training.corpus.provenance import Origin
from training.corpus.store import Corpus, read_metadata
from training.errors import CorpusError


def origin(folder: Path) -> Origin:
    return Origin.of(folder, [(path.name, path) for path in folder.iterdir()])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    songs = tmp_path / "my songs"
    songs.mkdir()
    for name in ("a.mid", "b.mid"):
        (songs / name).write_bytes(b"MThd")
    return songs


def test_a_folder_is_the_same_wherever_it_lies_until_a_file_comes_goes_or_grows(folder: Path, tmp_path: Path) -> None:
    read = origin(folder)
    assert (read.path, read.files) == (str(folder), 2)
    moved = folder.rename(tmp_path / "elsewhere")
    assert read.difference(origin(moved)) is None
    moved.rename(folder)
    (folder / "c.mid").write_bytes(b"MThd")
    assert read.difference(origin(folder)) == f"{folder} held 2 files when it was read and holds 3 now"
    (folder / "c.mid").unlink()
    (folder / "a.mid").write_bytes(b"MThd and more")
    assert read.difference(origin(folder)) == f"files of {folder} have changed since it was read"


def test_another_folder_is_named_beside_the_one_that_was_read(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.mid").write_bytes(b"MThd")
    assert origin(folder).difference(origin(other)) == (
        f"it was read from {folder} (2 files), not from {other} (1 file)"
    )


def test_a_corpus_remembers_its_folder_and_one_of_an_earlier_version_has_none(
    small_corpus: Path, folder: Path, tmp_path: Path
) -> None:
    assert read_metadata(small_corpus).origin is None  # written without one, as before
    corpus = Corpus.load(small_corpus)
    corpus.origin = origin(folder)
    corpus.save(tmp_path / "copy.npz")
    assert read_metadata(tmp_path / "copy.npz").origin == Corpus.load(tmp_path / "copy.npz").origin == corpus.origin
    assert read_metadata(tmp_path / "copy.npz").source == "made up for tests"


@pytest.mark.parametrize("entry", [None, "x", {"path": "/a"}, {"path": "/a", "files": "many", "digest": ""}])
def test_what_is_no_origin_is_none(entry: object) -> None:
    assert Origin.from_entry(entry) is None


def test_a_description_is_read_with_the_same_care(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no corpus at"):
        read_metadata(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    with pytest.raises(CorpusError, match="is not a corpus"):
        read_metadata(tmp_path / "other.npz")
