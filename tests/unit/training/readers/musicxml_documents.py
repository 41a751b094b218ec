"""Small MusicXML documents, built of the element under test."""

import io
import zipfile
from collections.abc import Mapping

HEAD = "<attributes><divisions>2</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>"
PITCH = "<pitch><step>{step}</step>{alter}<octave>{octave}</octave></pitch>"


def note(name: str, duration: int = 2, *, before: str = "", after: str = "", attributes: str = "") -> str:
    """A note such as `C4` or `F#5`; its duration counts in eighths, since `HEAD` divides a quarter by two."""
    alter = {"#": "<alter>1</alter>", "b": "<alter>-1</alter>"}.get(name[1:-1], "")
    pitch = PITCH.format(step=name[0], alter=alter, octave=name[-1])
    timing = "" if "<grace" in before else f"<duration>{duration}</duration>"
    return f"<note{attributes}>{before}{pitch}{timing}{after}</note>"


def rest(duration: int) -> str:
    return f"<note><rest/><duration>{duration}</duration></note>"


def score(*parts: list[str], headers: Mapping[int, str] | None = None, declaration: str = "", top: str = "") -> str:
    """A score of parts of measures; the first measure of each gets `HEAD` unless it has attributes.

    `headers` gives the content of the part list's entries by index of the part.
    """
    listed, bodies = "", ""
    for index, measures in enumerate(parts):
        header = (headers or {}).get(index, f"<part-name>Part {index}</part-name>")
        listed += f'<score-part id="P{index}">{header}</score-part>'
        bars = ""
        for number, measure in enumerate(measures):
            attributes = "" if number or "<attributes>" in measure else HEAD
            bars += f'<measure number="{number + 1}">{attributes}{measure}</measure>'
        bodies += f'<part id="P{index}">{bars}</part>'
    return f'{declaration}<score-partwise version="4.0">{top}<part-list>{listed}</part-list>{bodies}</score-partwise>'


CONTAINER = '<container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'


def compressed(files: Mapping[str, str | bytes], root: str | None) -> bytes:
    """A compressed score; `root` is what its container file names."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        if root is not None:
            archive.writestr("META-INF/container.xml", CONTAINER.format(root))
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()
