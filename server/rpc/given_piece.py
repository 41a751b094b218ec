"""Reads a piece that the caller brings: MIDI bytes or notes, its voices numbered as the model's."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fantasia.v1 import generation_pb2 as pb
from music.bar_lines import BarLines
from music.errors import InvalidScoreError
from music.midi import read_midi
from music.note_counts import NoteCounts
from music.score import NOTE_ORDER, Score
from server.rpc.note_list import MAX_TEMPO_BPM, MIN_TEMPO_BPM, PICKUP_UNIT_TICKS, read_notes
from server.rpc.regions import read_voices
from server.rpc.request_limits import RequestLimits
from server.rpc.validation import RequestValidator


@dataclass(frozen=True, slots=True)
class GivenMusic:
    """A piece that the caller brings."""

    score: Score
    """Its voices are numbered as the model's, if they are valid."""
    changed_notes: Counter[str]
    """Notes that were changed while the file was read, by reason."""
    left_out: Counter[str]
    """Things that were left out, by kind, such as voices."""
    is_valid: bool = True
    """Whether it may be used. If not, its length, bars and tempo are still right."""

    @property
    def bar_lines(self) -> BarLines:
        """Its bars."""
        return BarLines(self.score.meter, self.score.pickup_ticks, self.score.meter_changes)


def read_given(
    message: pb.GivenPiece,
    field: str,
    *,
    voices: int,
    limits: RequestLimits,
    tempo_bpm: float,
    validator: RequestValidator,
) -> GivenMusic | None:
    """Read a given piece; this may take a second for the largest one.

    Args:
        message: the piece.
        field: its path, such as `given` or `pieces[3]`.
        voices: number of voices of the model.
        limits: maxima of the piece.
        tempo_bpm: tempo of notes that come without one.
        validator: collects the violations.

    Returns:
        The piece, which may not be valid; None if it cannot be read.
    """
    counts = NoteCounts()
    match message.WhichOneof("piece"):
        case "midi":
            score = _read_midi(message.midi, f"{field}.midi", limits, counts, validator)
        case "notes":
            score = read_notes(message.notes, f"{field}.notes", limits=limits, tempo_bpm=tempo_bpm, validator=validator)
        case _:
            validator.refuse(field, "must have midi or notes")
            score = None
    asked = read_voices(message.voices, f"{field}.voices", voices, validator)
    if score is None:
        return None
    music = GivenMusic(score, +counts.changed, counts.left_out + counts.other)
    bars = music.bar_lines.last_bar(score.length_ticks)
    is_valid = asked is not None
    if bars > limits.given_bars:
        is_valid = validator.refuse(field, f"has {bars:,} bars; this server takes at most {limits.given_bars:,}")
    if len(message.voices) > score.voices:
        text = f"must name at most {score.voices} voices, as many as the piece has, not {len(message.voices)}"
        is_valid = validator.refuse(f"{field}.voices", text)
    if not is_valid:
        return replace(music, is_valid=False)
    places = asked or range(score.voices)
    chosen = _renumbered(score, places)
    if not chosen.notes:
        validator.refuse(f"{field}.voices", "must name a voice of the piece that has notes")
        return replace(music, is_valid=False)
    left_out = Counter({"voices": len({note.voice for note in score.notes if note.voice >= len(places)})})
    return replace(music, score=chosen, left_out=music.left_out + left_out)


def _read_midi(
    data: bytes, field: str, limits: RequestLimits, counts: NoteCounts, validator: RequestValidator
) -> Score | None:
    if len(data) > limits.given_bytes:
        validator.refuse(field, f"has {len(data):,} bytes; this server takes at most {limits.given_bytes:,}")
        return None
    try:
        score = read_midi(data, counts, limits.midi)
    except InvalidScoreError as error:
        validator.refuse(field, f"cannot be read: {error}")
        return None
    if score.pickup_ticks % PICKUP_UNIT_TICKS:
        validator.refuse(field, "cannot be read: its incomplete first bar is no whole number of 32nds")
        return None
    return replace(score, tempo_bpm=min(max(score.tempo_bpm, MIN_TEMPO_BPM), MAX_TEMPO_BPM))


def _renumbered(score: Score, places: Sequence[int]) -> Score:
    """The score with its voice i as voice `places[i]`, without the voices after those."""
    if list(places) == list(range(score.voices)):
        return score
    kept = (note for note in score.notes if note.voice < len(places))
    notes = sorted((note._replace(voice=places[note.voice]) for note in kept), key=NOTE_ORDER)
    programs = [score.program] * (max(places) + 1)
    for voice, place in enumerate(places):
        programs[place] = score.program_of(voice)
    same = all(program == score.program for program in programs)
    return replace(score, notes=tuple(notes), programs=() if same else tuple(programs))
