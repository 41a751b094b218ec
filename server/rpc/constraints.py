"""Reads constraints and controls: what written notes must obey, and what they lean towards."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from fantasia.v1 import generation_pb2 as pb
from music.bar_lines import BarLines
from music.composition.plan import WritingCapabilities
from music.composition.task import ChordSpan, Constraints, Controls
from music.errors import InvalidHarmonyError
from music.harmony import parse_chord, parse_scale
from server.rpc.regions import UNSUPPORTED
from server.rpc.validation import RequestValidator

MAX_CHORDS: Final = 1024
MAX_CHORD_UNITS: Final = 1024
MIN_DENSITY: Final = 0.05
MAX_DENSITY: Final = 20.0
_CHORDS: Final = "constraints.chords"


@dataclass(frozen=True, slots=True)
class PieceFrame:
    """What is known of a piece before it is written, and of its model."""

    bar_lines: BarLines
    length_ticks: int | None
    """Length of the piece, or its maximum; None if it is not known, because another field is not valid."""
    is_open: bool
    """Whether the model decides where the piece ends."""
    given_ticks: int
    """Length of the given piece on the grid; 0 if nothing is given."""
    ranges: Sequence[tuple[int, int]]
    """Lowest and highest pitch of each voice of the model."""
    writing: WritingCapabilities
    """What the model supports."""

    @property
    def first_added_bar(self) -> int:
        """The first bar that is added to the given piece; the first whole bar if none is added, or nothing is given."""
        lines = self.bar_lines
        if self.length_ticks is not None and 0 < self.given_ticks < self.length_ticks:
            return lines.bar_at(lines.complete(self.given_ticks))
        return 1


@dataclass(frozen=True, slots=True)
class _Tones:
    """The tones of one chord of a request."""

    pitch_classes: frozenset[int]
    bass: int | None
    name: str
    field: str
    units: int
    """Its length."""


def read_constraints(message: pb.Constraints, frame: PieceFrame, validator: RequestValidator) -> Constraints:
    """Read `GenerateRequest.constraints`; invalid parts are left out.

    Args:
        message: the constraints.
        frame: of the piece.
        validator: collects the violations.
    """
    writing = frame.writing
    for name in ("no_rests", "no_parallels", "natural_ending"):
        if getattr(message, name) and not getattr(writing, name):
            validator.refuse(f"constraints.{name}", UNSUPPORTED)
    if message.natural_ending and frame.is_open:
        validator.refuse("constraints.natural_ending", "needs a length that the request fixes: bars, steps or seconds")
    pitch_field, pitch_classes, tonic = _pitches(message, writing, validator)
    return Constraints(
        pitch_classes=pitch_classes,
        pitch_field=pitch_field,
        tonic=tonic,
        chords=_chords(message.chords, frame, validator) if message.HasField("chords") else (),
        ranges=_ranges(message.ranges, frame, validator),
        no_rests=message.no_rests,
        no_parallels=message.no_parallels,
        natural_ending=message.natural_ending,
    )


def read_controls(message: pb.Controls, frame: PieceFrame, validator: RequestValidator) -> Controls:
    """Read `GenerateRequest.controls`; invalid parts are left out."""
    density = message.density or 1.0
    validator.in_range("controls.density", density, MIN_DENSITY, MAX_DENSITY)
    if density != 1.0 and not frame.writing.density:
        validator.refuse("controls.density", UNSUPPORTED)
    by_voice: dict[int, float] = {}
    for index, each in enumerate(message.voice_densities[: len(frame.ranges) + 1]):
        field = f"controls.voice_densities[{index}]"
        value = each.density or 1.0
        if _is_new_voice(each.voice, f"{field}.voice", by_voice, frame, validator):
            by_voice[each.voice] = value
        validator.in_range(f"{field}.density", value, MIN_DENSITY, MAX_DENSITY)
    if message.voice_densities and not frame.writing.voice_densities:
        validator.refuse("controls.voice_densities", UNSUPPORTED)
    return Controls(density, by_voice)


def _pitches(
    message: pb.Constraints, writing: WritingCapabilities, validator: RequestValidator
) -> tuple[str, frozenset[int] | None, int | None]:
    """Path of the field, pitch classes and tonic; None for those that are not set."""
    kind = message.WhichOneof("pitches")
    field = f"constraints.{kind or 'scale'}"
    if kind is not None and not writing.scale:
        validator.refuse(field, UNSUPPORTED)
    if kind == "scale":
        try:
            scale = parse_scale(message.scale)
        except InvalidHarmonyError as error:
            validator.refuse(field, f"is not valid: {error}")
        else:
            return field, scale.pitch_classes, scale.tonic
    elif kind == "pitch_classes":
        return field, _pitch_classes(message.pitch_classes, field, validator), None
    return field, None, None


def _pitch_classes(message: pb.PitchClasses, field: str, validator: RequestValidator) -> frozenset[int] | None:
    """The pitch classes of a message; None if they are not valid."""
    if not message.values:
        validator.refuse(f"{field}.values", "must name at least one pitch class, 0 (C) to 11 (B)")
        return None
    values = list(message.values[:MAX_CHORD_UNITS])
    valid = [validator.in_range(f"{field}.values[{index}]", value, 0, 11) for index, value in enumerate(values)]
    return frozenset(values) if all(valid) else None


def _chords(message: pb.ChordProgression, frame: PieceFrame, validator: RequestValidator) -> tuple[ChordSpan, ...]:
    if not frame.writing.chords:
        validator.refuse(_CHORDS, UNSUPPORTED)
        return ()
    if not 1 <= len(message.chords) <= MAX_CHORDS:
        validator.refuse(f"{_CHORDS}.chords", f"must be 1 to {MAX_CHORDS} chords, not {len(message.chords):,}")
    listed = enumerate(message.chords[:MAX_CHORDS])
    tones = [_tones(chord, f"{_CHORDS}.chords[{index}]", validator) for index, chord in listed]
    lines = frame.bar_lines
    units_from = lines.beats_from
    if message.unit in (pb.CHORD_UNIT_UNSPECIFIED, pb.CHORD_UNIT_BAR):
        units_from = lines.bars_from
    elif message.unit != pb.CHORD_UNIT_BEAT:
        validator.add_violation(f"{_CHORDS}.unit", "CHORD_UNIT_BAR or CHORD_UNIT_BEAT", message.unit)
    first_bar = frame.first_added_bar
    is_first = True
    if message.HasField("first_bar"):
        first_bar = message.first_bar
        if frame.length_ticks is None:
            validator.at_least(f"{_CHORDS}.first_bar", first_bar, 0)
        else:
            last_bar = lines.last_bar(frame.length_ticks)
            is_first = validator.in_range(f"{_CHORDS}.first_bar", first_bar, lines.first_bar, last_bar)
    valid = [each for each in tones if each is not None]
    if not valid or len(valid) < len(tones) or not is_first or frame.length_ticks is None:
        return ()
    return _spans(valid, units_from(first_bar), frame.length_ticks, once=message.once)


def _tones(chord: pb.Chord, field: str, validator: RequestValidator) -> _Tones | None:
    units = chord.length or 1
    is_long = validator.in_range(f"{field}.length", units, 1, MAX_CHORD_UNITS)
    match chord.WhichOneof("tones"):
        case "symbol":
            try:
                parsed = parse_chord(chord.symbol)
            except InvalidHarmonyError as error:
                validator.refuse(f"{field}.symbol", f"is not valid: {error}")
                return None
            tones = _Tones(parsed.pitch_classes, parsed.bass, chord.symbol, f"{field}.symbol", units)
        case "pitch_classes":
            pitch_classes = _pitch_classes(chord.pitch_classes, f"{field}.pitch_classes", validator)
            if pitch_classes is None:
                return None
            tones = _Tones(pitch_classes, None, "", f"{field}.pitch_classes", units)
        case _:
            validator.refuse(field, "must have a symbol or pitch_classes")
            return None
    return tones if is_long else None


def _spans(chords: Sequence[_Tones], units: Iterator[int], end: int, *, once: bool) -> tuple[ChordSpan, ...]:
    """The chords one after another from the first of `units` on, again and again up to `end` unless `once`."""
    spans: list[ChordSpan] = []
    tick = next(units)
    while tick < end and not (once and len(spans) == len(chords)):
        chord = chords[len(spans) % len(chords)]
        after = next(islice(units, chord.units - 1, None))
        spans.append(ChordSpan(tick, min(after, end), chord.pitch_classes, chord.bass, chord.name, chord.field))
        tick = after
    return tuple(spans)


def _ranges(
    messages: Sequence[pb.VoiceRange], frame: PieceFrame, validator: RequestValidator
) -> dict[int, tuple[int, int]]:
    if messages and not frame.writing.ranges:
        validator.refuse("constraints.ranges", UNSUPPORTED)
        return {}
    ranges: dict[int, tuple[int, int]] = {}
    for index, message in enumerate(messages[: len(frame.ranges) + 1]):
        field = f"constraints.ranges[{index}]"
        if _is_new_voice(message.voice, f"{field}.voice", ranges, frame, validator):
            low, high = frame.ranges[message.voice]
            ranges[message.voice] = message.lowest, message.highest
            is_lowest = validator.in_range(f"{field}.lowest", message.lowest, low, high)
            validator.in_range(f"{field}.highest", message.highest, message.lowest if is_lowest else low, high)
    return ranges


def _is_new_voice(
    voice: int,
    field: str,
    seen: Container[int],
    frame: PieceFrame,
    validator: RequestValidator,
) -> bool:
    if not validator.in_range(field, voice, 0, len(frame.ranges) - 1):
        return False
    return voice not in seen or validator.refuse(field, f"must name each voice once; {voice} is named twice")
