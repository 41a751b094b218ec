"""The tables of the piano corpus, and how its files are found in a folder."""

import hashlib
from pathlib import Path

import pytest

from training.corpus.piano import PianoFile, piano_files, piano_sources, prepare_piano, table_rows
from training.corpus.reading_pool import ReadLimits
from training.corpus.store import Split
from training.errors import CorpusError


def listed(table: str, name: str, data: bytes, split: Split = Split.TRAIN) -> PianoFile:
    return PianoFile(table, name, hashlib.sha256(data).hexdigest(), split)


def test_tables_state_every_file_once_with_its_split() -> None:
    files = piano_files()
    assert len({file.name for file in files}) == len({file.sha256 for file in files}) == len(files) == 1427
    sizes = [sum((file.table, file.split) == ("nifc", split) for file in files) for split in Split]
    assert sizes == [904, 81, 38]
    assert all(len(file.sha256) == 64 for file in files)


def test_every_file_of_mutopia_has_a_free_licence_and_those_to_credit_a_typesetter() -> None:
    for row in table_rows("mutopia"):
        assert "Public Domain" in row["licence"] or row["typesetter"]
        assert "Share" not in row["licence"]


def test_files_are_found_by_name_and_content_in_any_folder(tmp_path: Path) -> None:
    right, wrong = b"**kern\n4c\n*-\n", b"**kern\n4d\n*-\n"
    for place, data in (("a/one.krn", wrong), ("b/c/one.krn", right), ("two.krn", wrong), ("four.krn", right)):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(data)
    wanted = [
        listed("nifc", "one.krn", right, Split.TEST),
        listed("nifc", "two.krn", right),
        listed("nifc", "three.krn", right),
        listed("mutopia", "five.mid", right),
    ]
    listing = piano_sources([tmp_path], wanted)
    assert [(source.name, source.path) for source in listing.sources] == [("nifc/one.krn", tmp_path / "b/c/one.krn")]
    assert listing.splits == {"nifc/one.krn": Split.TEST}
    assert listing.ignored == {
        "nifc/two.krn": "another version than the table's",
        "nifc/three.krn": "not in the folders",
    }
    (source,) = listing.sources
    assert source.options.play_graces
    assert source.options.by_staff


def test_a_folder_without_the_corpus_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no file of the piano corpus in .*humdrum-polish-scores"):
        piano_sources([tmp_path])
    with pytest.raises(CorpusError, match="there is no folder"):
        piano_sources([tmp_path / "missing"])


def test_sections_of_a_piece_are_in_the_split_of_its_file(tmp_path: Path) -> None:
    bars = {meter: f"*M{meter}/4\t*M{meter}/4\n" + ("=\t=\n" + "4C\t4c\n" * meter) * 4 for meter in (3, 4)}
    (tmp_path / "a.krn").write_text(f"**kern\t**kern\n{bars[3]}=\t=\n{bars[4]}*-\t*-\n")
    (tmp_path / "b.krn").write_text("**kern\t**kern\n*M3/4\t*M3/4\n=\t=\n4C\t4c\n*-\t*-\n")
    files = [listed("nifc", name, (tmp_path / name).read_bytes(), Split.TEST) for name in ("a.krn", "b.krn")]
    listing = piano_sources([tmp_path], files)
    corpus, report = prepare_piano(listing.sources, listing.splits, limits=ReadLimits(1), progress=False)
    assert [(piece.name, piece.split) for piece in corpus.pieces()] == [
        ("nifc/a.krn#1", Split.TEST),
        ("nifc/a.krn#2", Split.TEST),
    ]
    assert (report.read, report.failed) == (1, 1)
    assert report.counts.balanced
    assert report.counts.kept == corpus.note_count == 56
