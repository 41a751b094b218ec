"""From Standard MIDI Files to scores."""

from collections import Counter
from dataclasses import replace
from typing import Final

from music.errors import InvalidScoreError
from music.midi.file import SmfFile, read_smf
from music.midi.limits import DEFAULT_LIMITS, MidiLimits
from music.midi.percussion import percussion_channels
from music.midi.structure import Structure, longest_end, read_structure
from music.midi.voices import MidiVoice, channel_voices
from music.note_counts import NoteCounts
from music.score import NOTE_ORDER, Meter, Note, Score, check_length, velocities_differ

_MAX_UNRELEASED_TICKS: Final = 16 * Meter().bar_ticks
"""Maximum time from the last note-on or note-off to the end of a note that is never released."""


def read_midi(data: bytes, counts: NoteCounts | None = None, limits: MidiLimits = DEFAULT_LIMITS) -> Score:
    """The score in a Standard MIDI File.

    See `score_from_smf` for voices and counts, and `read_smf` for deviations that are accepted.

    Raises:
        InvalidScoreError: the bytes are no valid MIDI file, contain no pitched note, several independent sequences
            (format 2), or more than `limits` allow; the message names the limit.
    """
    pieces = split_sequences(read_smf(data, limits))
    if len(pieces) > 1:
        raise InvalidScoreError(f"the MIDI file holds {len(pieces)} independent sequences (format 2), not one piece")
    return score_from_smf(pieces[0], counts, limits)


def split_sequences(file: SmfFile) -> list[SmfFile]:
    """The pieces of a file: in format 2 each track, in other formats all tracks together.

    Tracks of format 2 without notes are skipped, unless no track has notes. The first piece has the file's anomalies.
    """
    if file.format != 2:
        return [file]
    pieces = [track for track in file.tracks if any(voice.note_ons for voice in channel_voices(track))] or file.tracks[
        :1
    ]
    return [
        replace(file, format=0, tracks=[track], anomalies=Counter() if index else file.anomalies)
        for index, track in enumerate(pieces)
    ]


def score_from_smf(file: SmfFile, counts: NoteCounts | None = None, limits: MidiLimits = DEFAULT_LIMITS) -> Score:
    """The score of a file that is one piece. Every pitched channel of a track is a voice.

    Voices are ordered by mean pitch, the highest first. Ticks are rescaled to `TICKS_PER_QUARTER`. The score has the
    meters and tempos of all tracks, their first key, and the program of each voice at its first note. It has dynamics
    if velocities differ.

    Args:
        file: one piece.
        counts: to which the counts of this file are added. Notes of `percussion` or without a pitch (`bad_key`,
            `out_of_range`) are left out. Notes without a note-off are `unreleased`; they end with All Notes Off or with
            the track. Everything else that a score cannot hold is counted under its name.
        limits: maximum number of notes and maximum length.

    Raises:
        InvalidScoreError: it has no pitched note or too many notes, or is too long.
    """
    tracks = [(track, channel_voices(track)) for track in file.tracks]
    voices = [voice for _, voices in tracks for voice in voices]
    note_ons = sum(voice.note_ons for voice in voices)
    if note_ons > limits.max_notes:
        raise InvalidScoreError(
            f"the MIDI file holds {note_ons:,} notes, more than the maximum of {limits.max_notes:,}"
        )
    structure = read_structure(file)
    latest = max((voice.last_tick for voice in voices), default=0) + round(_MAX_UNRELEASED_TICKS / structure.scale)
    for track, its_voices in tracks:
        for voice in its_voices:
            voice.finish(min(track.end_tick, latest))
    percussion = percussion_channels(file.tracks, voices)
    pitched = [voice for voice in voices if voice.channel not in percussion and voice.notes]
    if not pitched:
        raise InvalidScoreError(
            f"the MIDI file holds no pitched note: {_reason_for_no_pitch(note_ons, voices, percussion)}"
        )
    end = max(note.end for voice in pitched for note in voice.notes)
    check_length(end * structure.scale, limits.max_length_ticks)
    pitched.sort(key=lambda voice: -sum(note.pitch for note in voice.notes) / len(voice.notes))
    notes = _notes(pitched, structure.scale)
    length = max(note.end for note in notes)
    if structure.end is not None and structure.end <= longest_end(length):
        length = max(length, structure.end)
        check_length(length, limits.max_length_ticks)
    tempo_changes = tuple(change for change in structure.tempo_changes if change.tick < length)
    meter_changes = tuple(change for change in structure.meter_changes if change.tick < length)
    programs = _programs(voices, pitched)
    if counts is not None:
        _count(counts, file, structure, voices, percussion)
        counts.kept += len(notes)
        late = Counter(
            tempo_changes=len(structure.tempo_changes) - len(tempo_changes),
            meter_changes=len(structure.meter_changes) - len(meter_changes),
        )
        counts.other.update(+late)
    return Score(
        notes=tuple(notes),
        length_ticks=length,
        meter=structure.meter,
        pickup_ticks=structure.pickup_ticks,
        tempo_bpm=structure.tempo_bpm,
        key_sharps=structure.key_sharps,
        program=programs[0],
        tempo_changes=tempo_changes,
        programs=tuple(programs) if any(program != programs[0] for program in programs) else (),
        meter_changes=meter_changes,
        has_dynamics=velocities_differ(notes),
    )


def _notes(voices: list[MidiVoice], scale: float) -> list[Note]:
    """The notes of all voices in the order of a score; notes with equal onset, voice and pitch ordered by end."""
    notes = []
    for index, voice in enumerate(voices):
        for played_onset, played_end, pitch, velocity in sorted(voice.notes):
            onset, end = round(played_onset * scale), round(played_end * scale)
            notes.append(Note(onset, end - onset or 1, pitch, velocity, index))
    notes.sort(key=NOTE_ORDER)
    return notes


def _programs(voices: list[MidiVoice], pitched: list[MidiVoice]) -> list[int]:
    """Program of each pitched voice: from its track, else from another track for the same channel, else 0."""
    by_channel: dict[int, int] = {}
    for voice in voices:
        if voice.program is not None:
            by_channel.setdefault(voice.channel, voice.program)
    return [by_channel.get(voice.channel, 0) if voice.program is None else voice.program for voice in pitched]


def _count(
    counts: NoteCounts, file: SmfFile, structure: Structure, voices: list[MidiVoice], percussion: frozenset[int]
) -> None:
    """Add the counts of notes, without the kept ones, and of everything else in the file."""
    other = file.anomalies + structure.other
    other["system_exclusive"] += sum(len(track.system_exclusives) for track in file.tracks)
    left_out: Counter[str] = Counter()
    unreleased = 0
    for voice in voices:
        counts.written += voice.note_ons
        if voice.channel in percussion:
            left_out["percussion"] += voice.note_ons
        else:
            left_out.update(voice.unpitched)
            unreleased += voice.unreleased
            other.update(voice.other)
    counts.left_out.update(+left_out)
    counts.changed.update(+Counter(unreleased=unreleased))
    counts.other.update(+other)


def _reason_for_no_pitch(note_ons: int, voices: list[MidiVoice], percussion: frozenset[int]) -> str:
    if not note_ons:
        return "it has no notes at all"
    drums = sum(voice.note_ons for voice in voices if voice.channel in percussion)
    if drums == note_ons:
        return f"all its notes ({note_ons:,}) are percussion"
    return f"of its notes, {drums:,} are percussion and {note_ons - drums:,} have keys outside 0 to 127"
