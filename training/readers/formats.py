"""File formats by the suffix of a file's name."""

from collections.abc import Mapping
from typing import Final

MIDI_SUFFIXES: Final = frozenset((".mid", ".midi", ".smf", ".kar", ".rmi"))
ABC_SUFFIXES: Final = frozenset((".abc",))
MUSICXML_SUFFIXES: Final = frozenset((".mxl", ".xml", ".musicxml"))
HUMDRUM_SUFFIXES: Final = frozenset((".krn", ".kern"))
MEI_SUFFIXES: Final = frozenset((".mei",))
SUFFIXES: Final = MIDI_SUFFIXES | ABC_SUFFIXES | MUSICXML_SUFFIXES | HUMDRUM_SUFFIXES | MEI_SUFFIXES
"""All suffixes that have a reader."""

_EXPORT_MUSICXML: Final = "export it as MusicXML"
_EXPORT_MIDI: Final = "export it as MIDI"
_CONVERT: Final = "convert it to MusicXML or MIDI"
_RECORDING: Final = "a recording of sound, which holds no notes"
_PICTURE: Final = "a picture, which holds no notes; scan it with a music reading program that exports MusicXML"
_ARCHIVE: Final = "an archive; unpack it"
_ANALYSIS: Final = "an analysis of harmony, which holds no notes"

UNREADABLE: Final[Mapping[str, str]] = {
    **dict.fromkeys((".mscz", ".mscx"), f"a MuseScore file; {_EXPORT_MUSICXML}"),
    ".sib": f"a Sibelius file; {_EXPORT_MUSICXML}",
    **dict.fromkeys((".mus", ".musx"), f"a Finale file; {_EXPORT_MUSICXML}"),
    ".dorico": f"a Dorico file; {_EXPORT_MUSICXML}",
    ".enc": f"an Encore file; {_EXPORT_MUSICXML}",
    **dict.fromkeys((".cap", ".capx"), f"a capella file; {_EXPORT_MUSICXML}"),
    **dict.fromkeys((".nwc", ".nwctxt"), f"a NoteWorthy file; {_EXPORT_MUSICXML}"),
    **dict.fromkeys((".gp", ".gp3", ".gp4", ".gp5", ".gpx", ".gtp"), f"a Guitar Pro file; {_EXPORT_MUSICXML}"),
    **dict.fromkeys((".ly", ".ily"), r"a LilyPond file; write MIDI from it with \midi { }"),
    **dict.fromkeys((".musedata", ".md2"), f"a MuseData file; {_CONVERT}"),
    **dict.fromkeys((".tntxt", ".tinynotation"), f"a melody in TinyNotation; {_CONVERT}"),
    **dict.fromkeys((".vp", ".volpiano"), "chant in Volpiano, which has no rhythm"),
    **dict.fromkeys((".rntxt", ".rntext", ".romantext", ".rtxt", ".har", ".cttxt", ".clercqtemperley"), _ANALYSIS),
    **dict.fromkeys((".logicx", ".als", ".flp", ".cpr", ".rpp", ".ptx", ".band"), f"a studio project; {_EXPORT_MIDI}"),
    **dict.fromkeys((".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma"), _RECORDING),
    **dict.fromkeys((".pdf", ".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".svg", ".ps", ".eps"), _PICTURE),
    **dict.fromkeys((".zip", ".gz", ".tgz", ".bz2", ".xz", ".tar", ".7z", ".rar"), _ARCHIVE),
}  # fmt: skip
"""What a file with this suffix is, and what the user can do."""
