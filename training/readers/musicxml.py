"""Scores in MusicXML, plain or compressed.

Read here and not by music21, which shifts parts against each other where one bar is overfull, leaves notes out without
a count, and takes about four times as long.
"""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from music.errors import InvalidScoreError
from training.readers.archive import Archive, is_archive
from training.readers.files import read_bytes
from training.readers.musicxml_attributes import midi_instruments
from training.readers.musicxml_bars import bar_length
from training.readers.musicxml_marks import bar_marks
from training.readers.musicxml_part import PartReader
from training.readers.reading import FileReadings, ReadOptions
from training.readers.written import WrittenPart, WrittenScore, reading_of
from training.readers.xml_tree import parse_xml

_CONTAINER: Final = "META-INF/container.xml"
_MAX_CONTAINER_BYTES: Final = 1 << 16
_FOREIGN_ROOTS: Final = {
    "opus": "a MusicXML opus, which only names other files; read those",
    "container": "the container file of a compressed score, without the score",
    "museScore": "MuseScore's own format; export MusicXML from MuseScore",
    "html": "an HTML page, not a score",
}
_COUNTED: Final = {
    "harmony": "chord_symbols", "figured-bass": "figured_bass", "lyric": "lyrics", "wedge": "hairpins",
    "pedal": "pedal_marks", "fermata": "fermatas", "arpeggiate": "arpeggios", "tremolo": "tremolos",
    "trill-mark": "ornaments", "turn": "ornaments", "delayed-turn": "ornaments", "inverted-turn": "ornaments",
    "delayed-inverted-turn": "ornaments", "vertical-turn": "ornaments", "shake": "ornaments", "mordent": "ornaments",
    "inverted-mordent": "ornaments", "schleifer": "ornaments", "haydn": "ornaments", "glissando": "slides",
    "slide": "slides", "harmonic": "harmonics", "bend": "bends", "measure-repeat": "bar_repeat_signs",
    "double": "octave_doublings",
}  # fmt: skip


def read_musicxml_file(path: Path, name: str, options: ReadOptions) -> FileReadings:
    """Read the score of a MusicXML file, by what the file holds: XML, or a zip archive with it.

    Raises:
        InvalidScoreError: the file is no such score, exceeds a bound, or holds no pitched note.
        OSError: the file cannot be read.
    """
    return read_musicxml(score_xml(read_bytes(path)), name, options)


def score_xml(data: bytes) -> Element:
    """The tree of an XML score, plain or compressed.

    Raises:
        InvalidScoreError: there is none, or it exceeds a bound.
    """
    return parse_xml(_root_file(Archive(data)) if is_archive(data) else data)


def read_musicxml(root: Element, name: str, options: ReadOptions) -> FileReadings:
    """Read a score from its tree.

    Raises:
        InvalidScoreError: the tree is no MusicXML score, or holds no pitched note.
    """
    if root.tag == "score-timewise":
        root = _partwise(root)
    if root.tag != "score-partwise":
        raise InvalidScoreError(_FOREIGN_ROOTS.get(root.tag, f"XML, but no score: it begins with <{root.tag[:40]}>"))
    reading = reading_of(_written(root), name, options)
    if not reading.score.notes:
        raise InvalidScoreError("no pitched note in it")
    return FileReadings([reading])


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
        raise InvalidScoreError(f"an archive without {_CONTAINER}, which would name the score in it")
    return archive.read(scores[0])


def _partwise(root: Element) -> Element:
    """The same score by part, where it is written by measure."""
    partwise = Element("score-partwise", root.attrib)
    parts: dict[str, Element] = {}
    measures = root.findall("measure")
    partwise.extend([child for child in root if child.tag != "measure"])
    for measure in measures:
        for part in measure.iterfind("part"):
            identity = part.get("id", "")
            if identity not in parts:
                parts[identity] = Element("part", {"id": identity})
    for measure in measures:  # every part has every measure
        contents = {part.get("id", ""): part for part in measure.iterfind("part")}
        for identity, part in parts.items():
            copy = Element("measure", measure.attrib)
            copy.extend(contents.get(identity, ()))
            part.append(copy)
    partwise.extend(parts.values())
    return partwise


def _written(root: Element) -> WrittenScore:
    elements = root.findall("part")
    if not any(part.find("measure") is not None for part in elements):
        raise InvalidScoreError("the score holds no part with a measure")
    headers = {header.get("id", ""): header for header in root.iterfind("part-list/score-part")}
    readers = []
    for element in elements:
        header = headers.get(element.get("id", ""))
        reader = PartReader(element.get("id", ""), midi_instruments(header))
        for measure in element.iterfind("measure"):
            reader.read(measure)
        reader.finish()
        readers.append((reader, "" if header is None else (header.findtext("part-name") or "").strip()))
    count = max(len(reader.extents) for reader, _ in readers)
    lengths = []
    for bar in range(count):
        extents = [reader.extents[bar] for reader, _ in readers if bar < len(reader.extents)]
        lengths.append(bar_length(extents, last=bar == count - 1))
    changed: Counter[str] = Counter()
    other = Counter(_COUNTED[element.tag] for element in root.iter() if element.tag in _COUNTED)
    for reader, _ in readers:
        reader.pad(count)
        changed.update(reader.changed)
    tempos = sorted((tempo for reader, _ in readers for tempo in reader.tempos), key=lambda tempo: tempo[:2])
    bpms = [bpm for _, _, bpm in tempos]
    other["tempo_changes"] += sum(new != old for old, new in pairwise(bpms))
    meters = [reader.attributes.meters for reader, _ in readers]
    keys = [reader.attributes.keys for reader, _ in readers]
    other["meter_changes"] += max((len(part) - 1 for part in meters if part), default=0)
    other["key_changes"] += max((len(part) - 1 for part in keys if part), default=0)
    return WrittenScore(
        parts=[
            WrittenPart(name, reader.bars, next(iter(reader.attributes.keys), None), reader.program)
            for reader, name in readers
        ],
        lengths=lengths,
        marks=bar_marks(elements, count),
        meters=[meter for part in meters for meter in part],
        tempo_bpm=next(iter(bpms), None),
        changed=changed,
        other=other,
    )
