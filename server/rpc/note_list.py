"""Reads the notes of a request as a score."""

from typing import Final

from fantasia.v1 import generation_pb2 as pb
from music.errors import InvalidScoreError
from music.score import DEFAULT_VELOCITY, NOTE_ORDER, TICKS_PER_QUARTER, Meter, Note, Score, velocities_differ
from server.rpc.request_limits import RequestLimits
from server.rpc.validation import RequestValidator

MIN_TEMPO_BPM: Final = 10.0
MAX_TEMPO_BPM: Final = 400.0
PICKUP_UNIT_TICKS: Final = TICKS_PER_QUARTER // 8
"""A MIDI file can state pickups of whole 32nds only."""
_MAX_TICKS_PER_QUARTER: Final = 0x7FFF


def read_notes(
    message: pb.NoteList, field: str, *, limits: RequestLimits, tempo_bpm: float, validator: RequestValidator
) -> Score | None:
    """The score of some notes, in `TICKS_PER_QUARTER`; None if they are not valid.

    It has dynamics if velocities differ.

    Args:
        message: the notes.
        field: path of the message.
        limits: maxima.
        tempo_bpm: the tempo if the message has none.
        validator: collects the violations.
    """
    valid = []
    if not 1 <= len(message.notes) <= limits.given_notes:
        text = f"has {len(message.notes):,} notes; this server takes 1 to {limits.given_notes:,}"
        valid.append(validator.refuse(f"{field}.notes", text))
    resolution = message.ticks_per_quarter or TICKS_PER_QUARTER
    is_known = validator.in_range(f"{field}.ticks_per_quarter", resolution, 1, _MAX_TICKS_PER_QUARTER)
    valid.append(is_known)
    # Times in unknown ticks are checked against the highest limit that they may have.
    latest = limits.given_ticks * (resolution if is_known else _MAX_TICKS_PER_QUARTER) // TICKS_PER_QUARTER
    valid += [
        _check_note(note, f"{field}.notes[{index}]", latest, limits, validator)
        for index, note in enumerate(message.notes[: limits.given_notes])
    ]
    meter = read_meter(message.meter, f"{field}.meter", validator) if message.HasField("meter") else None
    valid.append(meter is not None or not message.HasField("meter"))
    if message.HasField("tempo_bpm"):
        tempo_bpm = message.tempo_bpm
        valid.append(validator.in_range(f"{field}.tempo_bpm", tempo_bpm, MIN_TEMPO_BPM, MAX_TEMPO_BPM))
    pickup = _rescaled(message.pickup_ticks, resolution) if is_known else 0
    # A negative number may round to 0.
    if message.pickup_ticks < 0 or pickup >= (meter or Meter()).bar_ticks or pickup % PICKUP_UNIT_TICKS:
        allowed = "a whole number of 32nds, less than a bar"
        valid.append(validator.add_violation(f"{field}.pickup_ticks", allowed, message.pickup_ticks))
    if not all(valid):
        validator.in_range_if_set(f"{field}.length_ticks", message.length_ticks, 1, latest)
        return None
    end = max(note.onset_ticks + note.duration_ticks for note in message.notes)
    length = message.length_ticks or end
    if not validator.in_range(f"{field}.length_ticks", length, end, latest):
        return None
    notes = tuple(sorted((_note(note, resolution) for note in message.notes), key=NOTE_ORDER))
    length = max([_rescaled(length, resolution), *(note.end for note in notes)])
    return Score(notes, length, meter, pickup, tempo_bpm, has_dynamics=velocities_differ(notes))


def read_meter(message: pb.Meter, field: str, validator: RequestValidator) -> Meter | None:
    """The meter of a message; None if it is not valid."""
    try:
        return Meter(message.numerator, message.denominator)
    except InvalidScoreError:
        allowed = "1 to 64 whole notes, halves, quarters, 8ths, 16ths or 32nds, such as 4/4"
        validator.add_violation(field, allowed, f"{message.numerator}/{message.denominator}")
        return None


def _check_note(note: pb.Note, field: str, latest: int, limits: RequestLimits, validator: RequestValidator) -> bool:
    onset, duration = note.onset_ticks, note.duration_ticks
    if (
        0 <= onset < latest
        and 1 <= duration <= latest - onset
        and 0 <= note.pitch <= 127
        and 0 <= note.velocity <= 127
        and 0 <= note.voice < limits.given_tracks
    ):
        return True  # the common case, at once: there may be many notes
    is_onset = validator.in_range(f"{field}.onset_ticks", onset, 0, latest - 1)
    validator.in_range(f"{field}.duration_ticks", duration, 1, latest - (onset if is_onset else 0))
    validator.in_range(f"{field}.pitch", note.pitch, 0, 127)
    validator.in_range_if_set(f"{field}.velocity", note.velocity, 1, 127)
    validator.in_range(f"{field}.voice", note.voice, 0, limits.given_tracks - 1)
    return False


def _note(note: pb.Note, resolution: int) -> Note:
    onset = _rescaled(note.onset_ticks, resolution)
    end = _rescaled(note.onset_ticks + note.duration_ticks, resolution)
    return Note(onset, max(end - onset, 1), note.pitch, note.velocity or DEFAULT_VELOCITY, note.voice)


def _rescaled(ticks: int, resolution: int) -> int:
    """Ticks of the message as the nearest ticks of a score."""
    return ticks if resolution == TICKS_PER_QUARTER else round(ticks * TICKS_PER_QUARTER / resolution)
