"""Standard MIDI Files to scores."""

from collections import Counter
from dataclasses import replace
from typing import Final

from music.errors import InvalidScoreError
from music.midi.file import SmfFile, read_smf
from music.midi.percussion import percussion_channels
from music.midi.structure import Structure, longest_end, structure_of
from music.midi.voices import MidiVoice, voices_of
from music.note_counts import NoteCounts
from music.score import IN_ORDER, Meter, Note, Score, require_length

MAX_NOTES: Final = 500_000
"""Most notes of a piece that is read."""

_MAX_UNRELEASED_TICKS: Final = 16 * Meter().bar_ticks
"""A note that is never released ends so long after the last note that is struck or released, if its track goes on."""


def read_midi(data: bytes, counts: NoteCounts | None = None) -> Score:
    """The score in a Standard MIDI File.

    See `score_of` for what becomes a voice and what is counted, and `read_smf` for what is mended.

    Raises:
        InvalidScoreError: the bytes are no MIDI file or a damaged one, hold no pitched note, several independent
            sequences (format 2), too many notes, or last too long.
    """
    pieces = sequences(read_smf(data))
    if len(pieces) > 1:
        raise InvalidScoreError(f"the MIDI file holds {len(pieces)} independent sequences (format 2), not one piece")
    return score_of(pieces[0], counts)


def sequences(file: SmfFile) -> list[SmfFile]:
    """The pieces of a file: each track of format 2 by itself, all tracks together of the other formats.

    Tracks of format 2 that strike no note are no pieces, unless there are no others. What was odd in the file is
    counted in its first piece.
    """
    if file.format != 2:
        return [file]
    pieces = [track for track in file.tracks if any(voice.struck for voice in voices_of(track))] or file.tracks[:1]
    return [
        replace(file, format=0, tracks=[track], oddities=Counter() if index else file.oddities)
        for index, track in enumerate(pieces)
    ]


def score_of(file: SmfFile, counts: NoteCounts | None = None) -> Score:
    """The score of a file that is one piece: every pitched channel of a track is a voice, the highest first.

    Voices are ordered by their mean pitch. Ticks are rescaled to `TICKS_PER_QUARTER`. The first meter, tempo and key
    that any track states count, and the program of the first voice. What a score cannot hold is added to `counts`:
    notes of `percussion`, or without a pitch (`bad_key`, `out_of_range`), are left out; notes that no release of their
    key ends are `unreleased`, and end with All Notes Off or the track; the rest is counted as what it is called.

    Raises:
        InvalidScoreError: it holds no pitched note, too many notes, or lasts too long.
    """
    tracks = [(track, voices_of(track)) for track in file.tracks]
    voices = [voice for _, voices in tracks for voice in voices]
    struck = sum(voice.struck for voice in voices)
    if struck > MAX_NOTES:
        raise InvalidScoreError(f"the MIDI file holds {struck:,} notes, more than the {MAX_NOTES:,} that are read")
    structure = structure_of(file)
    latest = max((voice.last_tick for voice in voices), default=0) + round(_MAX_UNRELEASED_TICKS / structure.scale)
    for track, its_voices in tracks:
        for voice in its_voices:
            voice.finish(min(track.end_tick, latest))
    percussion = percussion_channels(file.tracks, voices)
    pitched = [voice for voice in voices if voice.channel not in percussion and voice.notes]
    if not pitched:
        raise InvalidScoreError(f"the MIDI file holds no pitched note: {_why_none(struck, voices, percussion)}")
    end = max(note.end for voice in pitched for note in voice.notes)
    require_length(end * structure.scale)
    pitched.sort(key=lambda voice: -sum(note.pitch for note in voice.notes) / len(voice.notes))
    notes = _notes(pitched, structure.scale)
    length = max(note.end for note in notes)
    if structure.end is not None and structure.end <= longest_end(length):
        length = max(length, structure.end)
    programs = _programs(voices, pitched)
    if counts is not None:
        _count(counts, file, structure, voices, percussion)
        counts.kept += len(notes)
        counts.other.update(+Counter(other_programs=sum(program != programs[0] for program in programs)))
    return Score(
        notes=tuple(notes),
        length_ticks=length,
        meter=structure.meter,
        pickup_ticks=structure.pickup_ticks,
        tempo_bpm=structure.tempo_bpm,
        key_sharps=structure.key_sharps,
        program=programs[0],
    )


def _notes(voices: list[MidiVoice], scale: float) -> list[Note]:
    """The voices' notes in a score's order; those of one onset, voice and pitch by their ends."""
    notes = []
    for index, voice in enumerate(voices):
        for played in sorted(voice.notes):
            onset, end = round(played.onset * scale), round(played.end * scale)
            notes.append(Note(onset, max(end - onset, 1), played.pitch, played.velocity, index))
    notes.sort(key=IN_ORDER)
    return notes


def _programs(voices: list[MidiVoice], pitched: list[MidiVoice]) -> list[int]:
    """Program of each pitched voice: what its track says, else what any other says of its channel, else 0."""
    stated: dict[int, int] = {}
    for voice in voices:
        if voice.program is not None:
            stated.setdefault(voice.channel, voice.program)
    return [stated.get(voice.channel, 0) if voice.program is None else voice.program for voice in pitched]


def _count(
    counts: NoteCounts, file: SmfFile, structure: Structure, voices: list[MidiVoice], percussion: frozenset[int]
) -> None:
    """Add what became of the notes, those kept aside, and of what the file says beside them."""
    other = file.oddities + structure.other
    other["system_exclusive"] += sum(len(track.system_exclusives) for track in file.tracks)
    left_out: Counter[str] = Counter()
    unreleased = 0
    for voice in voices:
        counts.struck += voice.struck
        if voice.channel in percussion:
            left_out["percussion"] += voice.struck
        else:
            left_out.update(voice.unpitched)
            unreleased += voice.unreleased
            other.update(voice.other)
    counts.left_out.update(+left_out)
    counts.changed.update(+Counter(unreleased=unreleased))
    counts.other.update(+other)


def _why_none(struck: int, voices: list[MidiVoice], percussion: frozenset[int]) -> str:
    if not struck:
        return "it strikes no note at all"
    drums = sum(voice.struck for voice in voices if voice.channel in percussion)
    if drums == struck:
        return f"all its notes ({struck:,}) are percussion"
    return f"of its notes, {drums:,} are percussion and {struck - drums:,} have keys out of 0 to 127"
