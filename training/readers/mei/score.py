"""Scores in MEI, through music21."""

import copy
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from xml.etree.ElementTree import Element, tostring

from music.errors import InvalidScoreError
from training.readers.mei.music21_score import written_score
from training.readers.mei.tree import MeiScore
from training.readers.performance import play_score
from training.readers.reading import FileReadings, Reading, ReadOptions, read_pieces

_NAMESPACE: Final = "http://www.music-encoding.org/ns/mei"
_COUNTED: Final = {
    "harm": "chord_symbols", "fb": "figured_bass", "syl": "lyrics", "dynam": "dynamics", "hairpin": "hairpins",
    "pedal": "pedal_marks", "fermata": "fermatas", "arpeg": "arpeggios", "trill": "ornaments", "turn": "ornaments",
    "mordent": "ornaments", "ornam": "ornaments", "bTrem": "tremolos", "fTrem": "tremolos", "gliss": "slides",
    "octave": "octave_signs", "mRpt": "bar_repeat_signs", "mRpt2": "bar_repeat_signs", "beatRpt": "bar_repeat_signs",
}  # fmt: skip


def read_mei(root: Element, name: str, options: ReadOptions) -> FileReadings:
    """Read every score of an MEI document, one per movement.

    Raises:
        InvalidScoreError: there is no score, music21 cannot read any, or none holds a pitched note.
    """
    documents = list(_documents(root))
    if not documents:
        raise InvalidScoreError("MEI without a <score> in it")
    return read_pieces(name, documents, lambda document, label: _read(document, label, options))


def _documents(root: Element) -> Iterator[Element]:
    """A separate document for each score."""
    for mei in [root] if root.tag == "mei" else root.iter("mei"):
        for score in mei.iter("score"):
            document = Element("mei", {"xmlns": _NAMESPACE})
            music = document
            for tag in ("music", "body", "mdiv"):
                child = Element(tag)
                music.append(child)
                music = child
            music.append(copy.deepcopy(score))
            yield document


def _read(document: Element, name: str, options: ReadOptions) -> Reading:
    other = Counter(_COUNTED[element.tag] for element in document.iter() if element.tag in _COUNTED)
    score = MeiScore(document)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = written_score(_converted(tostring(document, encoding="unicode")))
    except InvalidScoreError:
        raise
    except Exception as error:  # music21 raises whatever its parsers meet
        raise InvalidScoreError("MEI that music21 cannot read; convert it to MusicXML") from error
    written.tempos = _tempos(document) or written.tempos
    written.other.update(other)
    written.unread.update(score.silent)
    lost = score.heads - score.silent.total() - sum(bar.note_heads for part in written.parts for bar in part.bars)
    if lost > 0:
        written.unread["lost_by_music21"] += lost
    if len(written.marks) == len(score.endings):
        for index, (bracket, numbers) in enumerate(score.endings):
            before = score.endings[index - 1][0] if index else -1
            written.marks[index].endings = numbers
            written.marks[index].ending_start = bool(numbers) and bracket != before
    return play_score(written, name, options)


def _converted(text: str) -> Any:
    from music21 import mei  # slow to import, and only the readers need it

    return mei.MeiToM21Converter(text).run()


def _tempos(document: Element) -> list[float]:
    tempos = []
    for element in document.iter():
        with suppress(ValueError):
            tempos.append(float(element.get("midi.bpm", "")))
    return tempos
