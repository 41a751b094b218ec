"""Scores in XML, plain or compressed. The content decides how a file is read, not its name."""

from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from music.errors import InvalidScoreError
from training.readers.archive import Archive, is_archive
from training.readers.files import read_bytes
from training.readers.mei import read_mei
from training.readers.musicxml import read_musicxml
from training.readers.reading import FileReadings, ReadOptions
from training.readers.xml_tree import parse_xml

_CONTAINER: Final = "META-INF/container.xml"
_MAX_CONTAINER_BYTES: Final = 1 << 16
_FOREIGN_ROOTS: Final = {
    "opus": "a MusicXML opus, which only names other files; read those",
    "container": "the container file of a compressed score, without the score",
    "museScore": "MuseScore's own format; export MusicXML from MuseScore",
    "html": "an HTML page, not a score",
}


def read_xml_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read the scores of a MusicXML or MEI file.

    Raises:
        InvalidScoreError: the file holds no such score, exceeds a bound, or holds no pitched note.
        OSError: the file cannot be read.
    """
    root = score_xml(read_bytes(path))
    if root.tag in _FOREIGN_ROOTS:
        raise InvalidScoreError(_FOREIGN_ROOTS[root.tag])
    if root.tag in ("mei", "meiCorpus"):
        return read_mei(root, name, options)
    return read_musicxml(root, name, options)


def score_xml(data: bytes) -> Element:
    """The tree of an XML score, plain or compressed.

    Raises:
        InvalidScoreError: there is no score, or it exceeds a bound.
    """
    return parse_xml(_root_file(Archive(data)) if is_archive(data) else data)


def _root_file(archive: Archive) -> bytes:
    if _CONTAINER in archive.names:
        container = parse_xml(archive.read(_CONTAINER, _MAX_CONTAINER_BYTES))
        rootfile = next(container.iter("rootfile"), None)  # the first is the score
        full_path = rootfile.get("full-path") if rootfile is not None else None
        if not full_path:
            raise InvalidScoreError(f"{_CONTAINER} in the archive names no score")
        return archive.read(full_path)
    scores = [name for name in archive.names if name.lower().endswith((".xml", ".musicxml"))]
    if any(name.lower().endswith((".mscx", ".mscz")) for name in archive.names):
        raise InvalidScoreError(_FOREIGN_ROOTS["museScore"])
    if len(scores) != 1:
        raise InvalidScoreError(f"an archive without {_CONTAINER}, the file that names the score")
    return archive.read(scores[0])
