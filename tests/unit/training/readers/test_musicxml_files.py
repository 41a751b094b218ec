"""MusicXML files: containers, encodings, bounds, and one sentence for each cause of failure."""

import struct
import zipfile
from pathlib import Path

import pytest

from music.errors import InvalidScoreError
from tests.unit.training.readers.musicxml_documents import CONTAINER, compressed, note, score
from training.readers import archive, read_file, xml_tree

PIECE = score([note("C4", 8), note("D4", 8)], headers={0: "<part-name>Flöte</part-name>"})
OTHER = score([note("G4", 8)])


def pitches(folder: Path, data: bytes | str, name: str = "piece.musicxml") -> list[int]:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    (reading,) = read_file(path, name).readings
    return [note.pitch for note in reading.score.notes]


@pytest.mark.parametrize(
    "data",
    [
        PIECE.encode(),
        b"\xef\xbb\xbf" + PIECE.encode(),
        b"\n  " + PIECE.encode(),
        b'<?xml version="1.0" encoding="UTF-8"?>\n' + PIECE.encode(),
        '<?xml version="1.0" encoding="UTF-16"?>'.encode("utf-16") + PIECE.encode("utf-16")[2:],
        b'<?xml version="1.0" encoding="ISO-8859-1"?>' + PIECE.encode("latin-1"),
        PIECE.encode("utf-16"),
        PIECE.encode("utf-16-le"),
        PIECE.encode("utf-16-be"),
        PIECE.encode("latin-1"),  # says nothing, which means UTF-8
        b'<?xml version="1.0" encoding="UTF-8"?>' + PIECE.encode("latin-1"),
        b'<?xml version="1.0" encoding="UTF-16"?>' + PIECE.encode(),
        b'<?xml version="1.0" encoding="x-unknown"?>' + PIECE.encode(),
        b'<?xml version="1.0"?><!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
        b'"http://www.musicxml.org/dtds/partwise.dtd">' + PIECE.encode(),
        PIECE.replace("<score-partwise", '<score-partwise xmlns="urn:any"').encode(),
        PIECE.replace("<part ", "<!-- a comment --><?an instruction?><part ").encode(),
    ],
)  # fmt: skip
def test_any_encoding_is_read(tmp_path: Path, data: bytes) -> None:
    assert pitches(tmp_path, data) == [60, 62]


@pytest.mark.parametrize(
    ("files", "root"),
    [
        ({"score.xml": PIECE}, "score.xml"),
        ({"a.xml": OTHER, "deep/in/lead sheet.notxml": PIECE, "cover.png": b"\x89PNG"}, "deep/in/lead sheet.notxml"),
        ({"score.xml": PIECE}, None),  # without its container file, but there is only one
        ({"score.xml": PIECE.encode("utf-16")}, "score.xml"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["piece.mxl", "piece.musicxml", "piece.XML"])
def test_a_compressed_score_is_what_its_container_file_names(
    tmp_path: Path, files: dict[str, str | bytes], root: str | None, name: str
) -> None:
    assert pitches(tmp_path, compressed(files, root), name) == [60, 62]


def test_a_plain_score_that_is_called_compressed_is_read(tmp_path: Path) -> None:
    assert pitches(tmp_path, PIECE, "piece.mxl") == [60, 62]


def encrypted() -> bytes:
    data = bytearray(compressed({"score.xml": PIECE}, "score.xml"))
    place = -1
    while (place := data.find(b"PK\x01\x02", place + 1)) >= 0:
        data[place + 8] |= 1
    return bytes(data)


def false_sizes() -> bytes:
    """Five mebibytes that the archive declares to be one byte."""
    data = bytearray(compressed({"score.xml": b" " * (5 << 20) + PIECE.encode()}, "score.xml"))
    place = data.rfind(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 1)
    return bytes(data)


def damaged() -> bytes:
    data = bytearray(compressed({"score.xml": PIECE}, "score.xml"))
    place = data.find(b"score.xml") + 60
    data[place : place + 40] = bytes(40)
    return bytes(data)


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>' + PIECE.replace("Flöte", "&b;")
EXTERNAL = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + PIECE.replace("Flöte", "&a;")
TRUNCATED = PIECE[: PIECE.rindex("<note>") + 12]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the file is empty"),
        (b" \n\t ", "the file is empty"),
        (b"X:1\nK:C\nCDEF|", "not XML"),
        (b"\x00\x01\x02\x03", "not XML"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page, not a score"),
        (b"<html><p>Sign in<br></html>", "an HTML page, not a score"),
        (b"<plist><dict/></plist>", "XML, but no score: it begins with <plist>"),
        (b"<opus/>", "a MusicXML opus, which only names other files; read those"),
        (b"<museScore/>", "MuseScore's own format; export MusicXML from MuseScore"),
        (CONTAINER.format("a.xml").encode(), "the container file of a compressed score, without the score"),
        (b"<score-partwise><part-list/></score-partwise>", "the score holds no part with a measure"),
        (b"<score-partwise><part/></score-partwise>", "the score holds no part with a measure"),
        (TRUNCATED.encode(), "the XML is truncated: it ends in line 1"),
        (("\n\n" + PIECE[: PIECE.index("</beats>")]).encode(), "the XML is truncated: it ends in line 3"),
        (PIECE.replace("</pitch>", "</pitsch>").encode(), "damaged XML in line 1"),
        (LAUGHS.encode(), "the XML declares entities, which a score does not need"),
        (EXTERNAL.encode(), "the XML declares entities, which a score does not need"),
        (("<a>" * 101 + "</a>" * 101).encode(), "the XML is nested deeper than 100 elements"),
        (compressed({"score.xml": PIECE}, None)[:-30], "the zip archive is damaged or truncated"),
        (b"PK\x03\x04 and no more", "the zip archive is damaged or truncated"),
        (damaged(), "'score.xml' in the archive cannot be unpacked: it is damaged"),
        (encrypted(), "the archive is encrypted; save the score without a password"),
        (compressed({"score.xml": PIECE}, "other.xml"), "the archive has no file 'other.xml'"),
        (compressed({"META-INF/container.xml": "<container/>"}, None), "names no score"),
        (compressed({"a.xml": PIECE, "b.xml": PIECE}, None), "an archive without META-INF/container.xml"),
        (compressed({"piece.mscx": "<museScore/>"}, None), "MuseScore's own format"),
        (compressed({"score.xml": OTHER.encode()[:99]}, "score.xml"), "the XML is truncated"),
        (compressed({"score.xml": compressed({"a.xml": PIECE}, None)}, "score.xml"), "not XML"),
        (false_sizes(), "'score.xml' in the archive cannot be unpacked: it is damaged"),
    ],
)  # fmt: skip
def test_each_cause_has_its_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "piece.mxl"
    path.write_bytes(data)
    with pytest.raises(InvalidScoreError) as caught:
        read_file(path, path.name)
    assert sentence in str(caught.value)


def test_sizes_are_bounded_before_and_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 1 << 20)
    bomb = compressed({"score.xml": b" " * (2 << 20)}, "score.xml")
    assert len(bomb) < 10_000
    unpacked = archive.Archive(bomb)
    with pytest.raises(InvalidScoreError, match=r"'score.xml' in the archive is larger than 1 MiB unpacked"):
        unpacked.read("score.xml", 1 << 20)
    member = unpacked._zip.getinfo("score.xml")
    member.file_size = 5  # as if the archive declared less than there is
    with pytest.raises(InvalidScoreError):
        unpacked.read("score.xml", 1 << 20)
    assert unpacked.read("META-INF/container.xml", 1 << 10)


def test_an_archive_that_unpacks_to_more_than_the_bound_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mxl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("META-INF/container.xml", CONTAINER.format("score.xml"))
        with packed.open("score.xml", "w") as file:
            for _ in range(65):
                file.write(b" " * (1 << 20))
    assert path.stat().st_size < 100_000
    with pytest.raises(InvalidScoreError, match="larger than 64 MiB unpacked, the maximum"):
        read_file(path, path.name)


def test_a_container_file_is_small() -> None:
    data = compressed({"META-INF/container.xml": b" " * 70_000}, None)
    with pytest.raises(InvalidScoreError, match=r"container.xml' in the archive is larger than 64 KiB unpacked"):
        archive.Archive(data).read("META-INF/container.xml", 1 << 16)


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.mxl"
    path.write_bytes(compressed({f"{index}.xml": "" for index in range(1_001)}, "0.xml"))
    with pytest.raises(InvalidScoreError, match="the archive holds more than 1,000 files"):
        read_file(path, path.name)


def test_a_plain_file_is_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "large.musicxml"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)  # takes no room on most disks
    with pytest.raises(InvalidScoreError, match="the file is larger than 64 MiB, the maximum"):
        read_file(path, path.name)


def test_a_document_of_too_many_elements_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_tree, "MAX_ELEMENTS", 100)
    with pytest.raises(InvalidScoreError, match="the XML has more than 100 elements"):
        xml_tree.parse_xml(b"<a>" + b"<b/>" * 100 + b"</a>")
    assert len(xml_tree.parse_xml(b"<a>" + b"<b/>" * 99 + b"</a>")) == 99


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.mscz", "a MuseScore file; export it as MusicXML"),
        ("a.SIB", "a Sibelius file; export it as MusicXML"),
        ("a.rntxt", "an analysis of harmony, which holds no notes"),
        ("a.pdf", "a picture, which holds no notes"),
        ("a.txt", "no reader for .txt"),
        ("a", "no reader for a file without a suffix"),
    ],
)  # fmt: skip
def test_a_format_that_is_not_read_is_named_with_what_to_do(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / name).write_bytes(b"any")
    with pytest.raises(InvalidScoreError, match=sentence):
        read_file(tmp_path / name, name)
