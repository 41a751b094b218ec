"""Scores in MusicXML.

The reader does not use music21: it shifts parts against each other if a bar is too long, drops notes without counting
them, and takes about four times as long.
"""

from collections import Counter
from typing import Final
from xml.etree.ElementTree import Element

from music.errors import InvalidScoreError
from training.readers.musicxml.attributes import midi_instruments
from training.readers.musicxml.bars import bar_length
from training.readers.musicxml.marks import bar_marks
from training.readers.musicxml.part import PartReader
from training.readers.performance import play_score
from training.readers.reading import FileReadings, ReadOptions
from training.readers.written import WrittenPart, WrittenScore, require_size

_COUNTED: Final = {
    "harmony": "chord_symbols", "figured-bass": "figured_bass", "lyric": "lyrics", "wedge": "hairpins",
    "pedal": "pedal_marks", "fermata": "fermatas", "arpeggiate": "arpeggios", "tremolo": "tremolos",
    "trill-mark": "ornaments", "turn": "ornaments", "delayed-turn": "ornaments", "inverted-turn": "ornaments",
    "delayed-inverted-turn": "ornaments", "vertical-turn": "ornaments", "shake": "ornaments", "mordent": "ornaments",
    "inverted-mordent": "ornaments", "schleifer": "ornaments", "haydn": "ornaments", "glissando": "slides",
    "slide": "slides", "harmonic": "harmonics", "bend": "bends", "measure-repeat": "bar_repeat_signs",
    "double": "octave_doublings",
}  # fmt: skip


def read_musicxml(root: Element, name: str, options: ReadOptions) -> FileReadings:
    """Read a score from its tree.

    Raises:
        InvalidScoreError: the tree is no MusicXML score, or holds no pitched note.
    """
    if root.tag == "score-timewise":
        root = _partwise(root)
    if root.tag != "score-partwise":
        raise InvalidScoreError(f"XML, but no score: it begins with <{root.tag[:40]}>")
    return FileReadings([play_score(_written(root), name, options)])


def _partwise(root: Element) -> Element:
    """The score by part, also if it is written by measure."""
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
    require_size(len(readers), count)
    lengths = []
    for bar in range(count):
        extents = [reader.extents[bar] for reader, _ in readers if bar < len(reader.extents)]
        lengths.append(bar_length(extents, last=bar == count - 1))
    changed: Counter[str] = Counter()
    other = Counter(_COUNTED[element.tag] for element in root.iter() if element.tag in _COUNTED)
    for reader, _ in readers:
        reader.pad(count)
        changed.update(reader.changed)
        other.update(reader.other)
    tempos = sorted((tempo for reader, _ in readers for tempo in reader.tempos), key=lambda tempo: tempo[:2])
    return WrittenScore(
        parts=[
            WrittenPart(name, reader.bars, reader.attributes.meters, reader.attributes.keys, reader.program)
            for reader, name in readers
        ],
        lengths=lengths,
        marks=bar_marks(elements, count),
        tempos=[bpm for _, _, bpm in tempos],
        changed=changed,
        other=other,
    )
