"""`Piece.save` by suffix."""

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from fantasia_client import MissingExtraError, Piece, formats

STARTS = {
    ".mid": b"MThd",
    ".MIDI": b"MThd",
    ".wav": b"RIFF",
    ".musicxml": b"<?xml",
    ".png": b"\x89PNG",
    ".svg": b"<?xml",
    ".pdf": b"%PDF",
}


@pytest.mark.parametrize("suffix", STARTS)
def test_the_suffix_selects_the_format(piece: Piece, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert piece.save(str(path)) == path
    assert path.read_bytes().startswith(STARTS[suffix])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a", "a.mp3", ".mid", "a.mid.txt"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(piece: Piece, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"one of \.mid, \.midi, \.wav, \.musicxml, \.png, \.svg, \.pdf, not '"):
        piece.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_soundfont_is_for_wav_only(piece: Piece, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"for \.wav files only, not for \.mid"):
        piece.save(tmp_path / "a.mid", soundfont="a.sf2")


@pytest.mark.parametrize(
    ("suffix", "package", "module", "extra"),
    [
        (".wav", "midirenderer", "audio", "audio"),
        (".musicxml", "music21", "notation", "notation"),
        (".png", "matplotlib.axes", "piano_roll", "plot"),
    ],
)
def test_a_missing_extra_is_named_and_leaves_the_file(
    piece: Piece, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str, module: str, extra: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"before")
    monkeypatch.delitem(sys.modules, f"fantasia_client.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'fantasia-client\[{extra}\]'"):
        piece.save(path)
    assert path.read_bytes() == b"before"


def test_a_failed_rendering_leaves_the_existing_file(piece: Piece, tmp_path: Path) -> None:
    path, font = tmp_path / "a.wav", tmp_path / "a.sf2"
    path.write_bytes(b"before")
    font.write_bytes(b"not a font")
    with pytest.raises(ValueError, match="cannot render the piece with"):
        piece.save(path, soundfont=font)
    assert path.read_bytes() == b"before"
    assert sorted(tmp_path.iterdir()) == [font, path]


def test_a_full_disk_leaves_the_existing_file_and_no_other(
    piece: Piece, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(b"before")
    write_bytes = Path.write_bytes

    def write_half(self: Path, data: Any) -> int:
        write_bytes(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.mid"):
        piece.save(path)
    with pytest.raises(OSError, match=r"No space left on device: .*b\.mid"):
        piece.save(tmp_path / "b.mid")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_os_error_that_names_the_file(piece: Piece, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent.a\.mid"):
        piece.save(tmp_path / "absent" / "a.mid")


def test_a_link_stays_a_link_and_a_file_keeps_its_permissions(piece: Piece, tmp_path: Path) -> None:
    path, link = tmp_path / "a.mid", tmp_path / "b.mid"
    path.write_bytes(b"before")
    path.chmod(0o640)
    link.symlink_to(path)
    assert piece.save(link) == link
    assert link.is_symlink()
    assert path.read_bytes() == piece.midi
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_usual_permissions(piece: Piece, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    mode = piece.save(tmp_path / "a.mid").stat().st_mode
    assert mode == (tmp_path / "plain").stat().st_mode


def test_a_pipe_is_written_and_stays(piece: Piece, tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        piece.save(path)
        assert os.read(reader, 4096) == piece.midi
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_every_suffix_has_a_writer() -> None:
    for suffix in formats.SUFFIXES:
        assert callable(formats.writer(f"a{suffix}"))
