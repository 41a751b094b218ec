"""Standard MIDI Files to scores (`read_midi`) and back (`write_midi`). Callers import from this package only."""

from music.midi.file import SmfFile, read_smf
from music.midi.limits import MAX_FILE_BYTES, MidiLimits
from music.midi.reading import read_midi, score_from_smf, split_sequences
from music.midi.writing import write_midi

__all__ = [
    "MAX_FILE_BYTES",
    "MidiLimits",
    "SmfFile",
    "read_midi",
    "read_smf",
    "score_from_smf",
    "split_sequences",
    "write_midi",
]
