import json
import os
from importlib.resources import files
from pathlib import Path

import pytest

from training.corpus.sources import Listing, chorale_sources, folder_sources
from training.corpus.store import Split
from training.errors import CorpusError
from training.readers import ReadOptions, printable_text


def names(listing: Listing) -> list[str]:
    return [source.name for source in listing.sources]


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def test_every_file_is_a_source_or_ignored_with_a_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a.mid", "b.mscz", "deep/c.ABC", "deep/d.sib", "deep/e.txt", "f", ".g.mid", "._a.mid", ".git/h.mid")
    touch(tmp_path, "i.mp3", "j.pdf", "k.zip", "l.gp5", "m.mus", "n.mscx")
    os.mkfifo(tmp_path / "pipe.mid")
    (tmp_path / "gone.mid").symlink_to(tmp_path / "nowhere.mid")
    (tmp_path / "zero.mid").symlink_to("/dev/zero")
    (tmp_path / "itself.mid").symlink_to(tmp_path / "itself.mid")
    listing = folder_sources(tmp_path)
    assert names(listing) == ["a.mid", "deep/c.ABC"]
    assert listing.ignored == {
        "b.mscz": "a MuseScore file; export it as MusicXML",
        "n.mscx": "a MuseScore file; export it as MusicXML",
        "deep/d.sib": "a Sibelius file; export it as MusicXML",
        "m.mus": "a Finale file; export it as MusicXML",
        "l.gp5": "a Guitar Pro file; export it as MusicXML",
        "i.mp3": "a recording of sound, which holds no notes",
        "j.pdf": "a picture, which holds no notes; scan it with a music reading program that exports MusicXML",
        "k.zip": "an archive; unpack it",
        "deep/e.txt": "not in a format that is read",
        "f": "not in a format that is read",
        ".g.mid": "hidden",
        "._a.mid": "hidden",
        ".git": "hidden",
        "pipe.mid": "no regular file",
        "gone.mid": "a broken link",
        "zero.mid": "no regular file",
        "itself.mid": "a broken link",
    }


def test_a_link_to_a_folder_is_a_folder_and_nothing_is_read_twice(tmp_path: Path) -> None:
    touch(tmp_path, "outside/x.mid", "outside/sub/y.mid", "music/z/w.mid", "music/v.mid")
    music = tmp_path / "music"
    (music / "a-link").symlink_to(tmp_path / "outside")
    (music / "b-link").symlink_to(music / "z")
    (music / "loop").symlink_to(music)
    (tmp_path / "outside" / "back").symlink_to(music)
    (music / "c.mid").symlink_to(music / "v.mid")
    (music / "u.mid").symlink_to(tmp_path / "outside" / "x.mid")
    os.link(music / "v.mid", music / "w.mid")
    listing = folder_sources(music)
    assert names(listing) == ["a-link/sub/y.mid", "a-link/x.mid", "v.mid", "z/w.mid"]
    assert listing.ignored == {
        "a-link/back": "a link to a folder that is read already",
        "b-link": "a link to a folder that is read already",
        "c.mid": "the same file as v.mid",
        "loop": "a link to a folder that is read already",
        "u.mid": "the same file as a-link/x.mid",
        "w.mid": "the same file as v.mid",
    }
    linked = tmp_path / "linked"
    linked.symlink_to(music)
    assert names(folder_sources(linked)) == names(listing)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mid", "closed/b.mid")
    scan = os.scandir

    def refuse(path: Path) -> object:  # permissions stop no administrator, who may run this
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = folder_sources(tmp_path)
    assert names(listing) == ["a.mid"]
    assert listing.ignored == {"closed": "a folder that cannot be listed: Permission denied"}


def test_one_file_is_a_source_and_nothing_to_read_is_a_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "a.mid", "b.mscz", "scans/c.pdf")
    options = ReadOptions(play_repeats=False)
    (source,) = folder_sources(tmp_path / "a.mid", options).sources
    assert (source.name, source.options) == ("a.mid", options)
    with pytest.raises(CorpusError, match=r"b\.mscz cannot be read: a MuseScore file; export it as MusicXML"):
        folder_sources(tmp_path / "b.mscz")
    with pytest.raises(CorpusError, match="there is no file or folder"):
        folder_sources(tmp_path / "missing")
    with pytest.raises(CorpusError, match=r"no score in .*scans: looked for \.abc, .*; c\.pdf is a picture"):
        folder_sources(tmp_path / "scans")


def test_names_are_harmless_to_a_terminal(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "bell\x07.mid",
        "two\nlines.mid",
        "red\x1b[31m.mid",
        "\u202edim.exe.mid",
        "caf\u00e9 \u3000 \u266f.mid",
    )
    assert names(folder_sources(tmp_path)) == [
        "bell\\x07.mid", "caf\u00e9 \u3000 \u266f.mid", "red\\x1b[31m.mid", "two\\nlines.mid", "\\u202edim.exe.mid",
    ]  # fmt: skip
    assert printable_text("a\udce9b\u2028") == "a\\xe9b\\u2028"


def test_the_chorale_split_is_the_canonical_one() -> None:
    lists = json.loads(files("training.corpus").joinpath("chorale_split.json").read_text())
    sources, sides = chorale_sources()
    found = {source.name for source in sources}
    assert not found & set(lists["never_train"])
    assert {name for name, side in sides.items() if side == Split.TEST} == set(lists["test"])
    assert {name for name, side in sides.items() if side == Split.VALID} == set(lists["valid"])
    assert set(lists["train"]) <= {name for name, side in sides.items() if side == Split.TRAIN}
