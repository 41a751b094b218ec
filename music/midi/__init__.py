"""Standard MIDI Files to scores (`read_midi`) and back (`write_midi`); callers import from here alone."""

from music.midi.file import MAX_FILE_BYTES, SmfFile, read_smf
from music.midi.reading import read_midi, score_of, sequences
from music.midi.writing import write_midi

__all__ = ["MAX_FILE_BYTES", "SmfFile", "read_midi", "read_smf", "score_of", "sequences", "write_midi"]
