"""Builds request messages."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from google.protobuf.message import DecodeError

from fantasia.v1 import generation_pb2 as pb
from fantasia_client.request_types import (
    CALL_OPTIONS,
    LENGTHS,
    Chord,
    Constraints,
    Controls,
    GenerateOptions,
    GivenPiece,
    Region,
    VelocityShape,
    check_options,
)
from fantasia_client.types import Meter, Note, Piece, ResumePoint, Sampling
from fantasia_client.validation import INT32, INT64, UINT64, RequestValidator, short_repr

_CHORD_UNITS = {"bar": pb.CHORD_UNIT_BAR, "beat": pb.CHORD_UNIT_BEAT}
_CHORD = re.compile(r"(?P<symbol>.+?)(?:\*(?P<length>[0-9]{1,9}))?")
_GIVEN = "MIDI bytes, the path of a MIDI file, a Piece, a sequence of Note, or a GivenPiece"


def build_generate_request(
    options: GenerateOptions, *, method: str = "generate", pieces: int | None = None
) -> pb.GenerateRequest:
    """The request of `Generate`. A value of None leaves its field unset.

    The server checks the ranges, since they depend on the model. The client refuses values that the message
    cannot hold.

    Args:
        options: the arguments of the caller.
        method: name of the called method, for the error about an unknown argument.
        pieces: number of pieces that are returned.

    Raises:
        InvalidRequestError: more than one length, a value of the wrong type or too large for its field, or a
            meter that is not written like 3/4.
        OSError: the given MIDI file cannot be read.
        TypeError: there is no such argument.
    """
    check_options(method, options)
    validator = RequestValidator()
    resume = options.get("resume")
    if resume is None or isinstance(resume, bytes):
        request = _new_request(options, pieces, validator)
        request.resume_token = resume or b""
    else:
        request = _resuming_request(resume, options, validator)
    request.return_resume_token = validator.boolean("return_resume_token", options.get("return_resume_token"))
    _set_length(request, options, validator)
    validator.raise_if_invalid()
    return request


def build_stream_request(options: GenerateOptions) -> pb.StreamGenerateRequest:
    """The request of `StreamGenerate`; errors as in `build_generate_request`."""
    request = build_generate_request(options, method="stream")
    return pb.StreamGenerateRequest(request=request, resume_tokens=request.return_resume_token)


def build_evaluate_request(pieces: object, model: str | None, version: int | None = None) -> pb.EvaluateRequest:
    """The request of `Evaluate`.

    Raises:
        InvalidRequestError: a value has the wrong type or is too large for its field.
        OSError: a MIDI file cannot be read.
    """
    validator = RequestValidator()
    messages = [_given(item, path, validator) for path, item in validator.items("pieces", pieces, "pieces")]
    request = pb.EvaluateRequest(
        model=validator.text("model", model) or "",
        model_version=validator.integer("model_version", version, INT64) or 0,
        pieces=messages,
    )
    validator.raise_if_invalid()
    return request


def build_get_model_request(name: str | None, version: int | None) -> pb.GetModelRequest:
    """The request of `GetModel`; None asks for the server's default model, and for its default version.

    Raises:
        InvalidRequestError: the name is not a string, or the version not a whole number.
    """
    validator = RequestValidator()
    request = pb.GetModelRequest(
        name=validator.text("name", name) or "", version=validator.integer("version", version, INT64) or 0
    )
    validator.raise_if_invalid()
    return request


def resume_point(request: pb.GenerateRequest, token: bytes) -> ResumePoint | None:
    """The point from which a piece of this request is continued; None without a token."""
    if not token:
        return None
    resuming = pb.GenerateRequest()
    resuming.CopyFrom(request)
    # The token has the seed of its candidate, and continues this candidate alone.
    for name in ("seed", "candidates", "pieces", "candidate", "return_resume_token"):
        resuming.ClearField(name)
    resuming.resume_token = token
    return ResumePoint(resuming.SerializeToString())


def _new_request(options: GenerateOptions, pieces: int | None, validator: RequestValidator) -> pb.GenerateRequest:
    given = options.get("given")
    candidates = options.get("candidates")
    if candidates is None and not options.get("rewrite"):
        candidates = pieces  # they are independent then, and no model has a default
    return pb.GenerateRequest(
        model=validator.text("model", options.get("model")) or "",
        model_version=validator.integer("model_version", options.get("model_version"), INT64) or 0,
        given=None if given is None else _given(given, "given", validator),
        rewrite=_regions(options.get("rewrite"), validator),
        constraints=_constraints(options.get("constraints"), validator),
        controls=_controls(options.get("controls"), validator),
        sampling=_sampling(options.get("sampling"), validator),
        seed=validator.integer("seed", options.get("seed"), UINT64),
        candidates=validator.integer("candidates", candidates, INT32) or 0,
        pieces=validator.integer("pieces", pieces, INT32) or 0,
        candidate=validator.integer("candidate", options.get("candidate"), INT32),
        meter=_meter(options.get("meter"), "meter", validator),
        tempo_bpm=validator.number("tempo_bpm", options.get("tempo_bpm")),
        program=validator.integer("program", options.get("program"), INT32),
        voice_programs=validator.integers("voice_programs", options.get("voice_programs")),
        velocity_shape=_velocity_shape(options.get("velocity_shape"), validator),
        transposition=validator.integer("transposition", options.get("transposition"), INT32) or 0,
        omit_given=validator.boolean("omit_given", options.get("omit_given")),
    )


def _resuming_request(resume: object, options: GenerateOptions, validator: RequestValidator) -> pb.GenerateRequest:
    """The request of a piece that is continued, with its token."""
    request = pb.GenerateRequest()
    point = resume.resume_point if isinstance(resume, Piece) else resume
    if isinstance(resume, Piece) and point is None:
        validator.add_violation("resume", "the piece has no resume token: set return_resume_token when you generate it")
    elif not isinstance(point, ResumePoint):
        validator.add_violation("resume", f"must be a Piece, a ResumePoint or bytes, not {short_repr(resume)}")
    else:
        try:
            request.ParseFromString(point.request)
        except DecodeError:
            validator.add_violation("resume", "is not a resume point, or was changed")
    others = {"resume", "return_resume_token", *LENGTHS, *CALL_OPTIONS}
    for name, value in options.items():
        if value is not None and name not in others:
            validator.add_violation(name, "must not be given beside resume, which has all fields of its request")
    return request


def _set_length(request: pb.GenerateRequest, options: GenerateOptions, validator: RequestValidator) -> None:
    given = [name for name in LENGTHS if options.get(name) is not None]
    if len(given) > 1 and given != ["min_bars", "max_bars"]:
        validator.add_violation("length", f"give only one of {', '.join(given)}")
    if (bars := validator.integer("bars", options.get("bars"), INT32)) is not None:
        request.bars = bars
    if (steps := validator.integer("steps", options.get("steps"), INT32)) is not None:
        request.steps = steps
    if (seconds := validator.number("seconds", options.get("seconds"))) is not None:
        request.seconds = seconds
    if "min_bars" in given or "max_bars" in given:
        min_bars, max_bars = (validator.integer(name, options.get(name), INT32) for name in ("min_bars", "max_bars"))
        request.open.CopyFrom(pb.OpenLength(min_bars=min_bars or 0, max_bars=max_bars or 0))


def _given(value: object, field: str, validator: RequestValidator) -> pb.GivenPiece:
    piece = value if isinstance(value, GivenPiece) else GivenPiece(cast("bytes", value))
    music = piece.music
    voices = validator.integers(f"{field}.voices", piece.voices)
    of_notes = ("ticks_per_quarter", "length_ticks", "pickup_ticks", "meter", "tempo_bpm")
    if isinstance(music, Sequence) and not isinstance(music, str | bytes):
        return pb.GivenPiece(notes=_notes(piece, field, validator), voices=voices)
    for name in of_notes:
        if getattr(piece, name) is not None:
            validator.add_violation(f"{field}.{name}", "is for notes only: the MIDI file has its own")
    if isinstance(music, Piece):
        return pb.GivenPiece(midi=music.midi, voices=_voices_in_midi(music, voices, field, validator))
    if isinstance(music, str | os.PathLike):
        return pb.GivenPiece(midi=Path(music).read_bytes(), voices=voices)
    if isinstance(music, bytes):
        return pb.GivenPiece(midi=music, voices=voices)
    validator.add_violation(field, f"must be {_GIVEN}, not {short_repr(music)}")
    return pb.GivenPiece()


def _voices_in_midi(piece: Piece, voices: list[int], field: str, validator: RequestValidator) -> list[int]:
    """`GivenPiece.voices` of a generated piece. The server orders the voices of its MIDI file by mean pitch.

    Args:
        piece: the piece.
        voices: voice of the model for its voices that have notes, in their order; empty for their own numbers.
        field: path of the piece.
        validator: collects the violations.
    """
    pitches: dict[int, list[int]] = {}
    for note in piece.notes:
        pitches.setdefault(note.voice, []).append(note.pitch)
    own = sorted(pitches)
    found = sorted(own, key=lambda voice: -sum(pitches[voice]) / len(pitches[voice]))
    if voices:
        places = dict(zip(own, voices, strict=False))
        if len(voices) > len(own):
            return voices
        if set(found[: len(voices)]) != set(places):
            order = ", ".join(map(str, found))
            validator.add_violation(f"{field}.voices", f"must name all voices: by mean pitch their order is {order}")
            return voices
        return [places[voice] for voice in found[: len(voices)]]
    return [] if found == list(range(len(found))) else found


def _notes(piece: GivenPiece, field: str, validator: RequestValidator) -> pb.NoteList:
    field = f"{field}.notes"
    notes = []
    for path, item in validator.items(field, piece.music, "Note"):
        if not isinstance(item, Note):
            validator.add_violation(path, f"must be a Note, not {short_repr(item)}")
            continue
        names = ("onset_ticks", "duration_ticks", "pitch", "velocity", "voice")
        values = {name: validator.required_integer(f"{path}.{name}", getattr(item, name)) or 0 for name in names}
        notes.append(pb.Note(**values))
    ticks = {
        name: validator.integer(f"{field}.{name}", getattr(piece, name), INT32) or 0
        for name in ("ticks_per_quarter", "length_ticks", "pickup_ticks")
    }
    return pb.NoteList(
        notes=notes,
        meter=_meter(piece.meter, f"{field}.meter", validator),
        tempo_bpm=validator.number(f"{field}.tempo_bpm", piece.tempo_bpm),
        **ticks,
    )


def _regions(rewrite: object, validator: RequestValidator) -> Iterator[pb.Region]:
    regions = [rewrite] if isinstance(rewrite, Region) else rewrite
    for path, region in validator.items("rewrite", regions, "Region"):
        if not isinstance(region, Region):
            validator.add_violation(path, f"must be a Region, not {short_repr(region)}")
            continue
        message = pb.Region(voices=validator.integers(f"{path}.voices", region.voices))
        if region.bars is not None and region.ticks is not None:
            validator.add_violation(path, "must have bars or ticks, not both")
        elif region.ticks is not None:
            start, end = validator.pair(f"{path}.ticks", region.ticks) or (0, 0)
            message.ticks.CopyFrom(pb.TickRange(start=start, end=end))
        elif region.bars is not None:
            if isinstance(region.bars, tuple | list):
                first, last = validator.pair(f"{path}.bars", region.bars) or (0, 0)
            else:
                first = last = validator.required_integer(f"{path}.bars", region.bars) or 0
            message.bars.CopyFrom(pb.BarRange(first=first, last=last))
        yield message


def _constraints(value: object, validator: RequestValidator) -> pb.Constraints | None:
    constraints = validator.instance("constraints", value, Constraints)
    if constraints is None:
        return None
    if constraints.scale is not None and constraints.pitch_classes is not None:
        validator.add_violation("constraints", "must have scale or pitch_classes, not both")
    message = pb.Constraints(
        chords=_progression(constraints, validator),
        no_rests=validator.boolean("constraints.no_rests", constraints.no_rests),
        no_parallels=validator.boolean("constraints.no_parallels", constraints.no_parallels),
        natural_ending=validator.boolean("constraints.natural_ending", constraints.natural_ending),
    )
    for path, voice, bounds in validator.by_voice("constraints.ranges", constraints.ranges, "pairs of pitches"):
        lowest, highest = validator.pair(path, bounds) or (0, 0)
        message.ranges.add(voice=voice, lowest=lowest, highest=highest)
    if constraints.pitch_classes is not None:
        message.pitch_classes.CopyFrom(
            _pitch_classes(constraints.pitch_classes, "constraints.pitch_classes", validator)
        )
    if (scale := validator.text("constraints.scale", constraints.scale)) is not None:
        message.scale = scale
    return message


def _progression(constraints: Constraints, validator: RequestValidator) -> pb.ChordProgression | None:
    chords = constraints.chords
    if chords is None:
        return None
    if (unit := _CHORD_UNITS.get(str(constraints.chord_unit))) is None:
        validator.add_violation("constraints.chord_unit", f"must be 'bar' or 'beat', not {constraints.chord_unit!r}")
    split = _split_chords(chords) if isinstance(chords, str) else chords
    return pb.ChordProgression(
        chords=[
            _chord(item, path, validator)
            for path, item in validator.items("constraints.chords.chords", split, "chords")
        ],
        unit=unit or pb.CHORD_UNIT_UNSPECIFIED,
        first_bar=validator.integer("constraints.chords.first_bar", constraints.first_chord_bar, INT32),
        once=not validator.boolean("constraints.repeat_chords", constraints.repeat_chords),
    )


def _split_chords(text: str) -> list[Chord]:
    """The chords of a string such as `Am F*2 C`."""
    matches = [match for word in text.split() if (match := _CHORD.fullmatch(word))]
    return [Chord(match["symbol"], int(match["length"] or 1)) for match in matches]


def _chord(item: object, field: str, validator: RequestValidator) -> pb.Chord:
    chord = item if isinstance(item, Chord) else Chord(cast("str", item))
    message = pb.Chord(length=validator.required_integer(f"{field}.length", chord.length) or 0)
    if isinstance(chord.tones, str):
        message.symbol = validator.text(f"{field}.symbol", chord.tones) or ""
    else:
        message.pitch_classes.CopyFrom(_pitch_classes(chord.tones, f"{field}.pitch_classes", validator))
    return message


def _pitch_classes(value: object, field: str, validator: RequestValidator) -> pb.PitchClasses:
    return pb.PitchClasses(values=validator.integers(field, value))


def _controls(value: object, validator: RequestValidator) -> pb.Controls | None:
    controls = validator.instance("controls", value, Controls)
    if controls is None:
        return None
    message = pb.Controls(density=validator.number("controls.density", controls.density) or 0)
    for path, voice, density in validator.by_voice("controls.voice_densities", controls.voice_densities, "numbers"):
        message.voice_densities.add(voice=voice, density=validator.number(path, density) or 0)
    return message


def _velocity_shape(value: object, validator: RequestValidator) -> pb.VelocityShape | None:
    shape = validator.instance("velocity_shape", value, VelocityShape)
    if shape is None:
        return None
    names = ("velocity", "downbeat_accent", "beat_accent", "phrase_bars", "swell")
    return pb.VelocityShape(
        **{name: validator.integer(f"velocity_shape.{name}", getattr(shape, name), INT32) or 0 for name in names}
    )


def _sampling(value: object, validator: RequestValidator) -> pb.Sampling | None:
    sampling = validator.instance("sampling", value, Sampling)
    if sampling is None:
        return None
    message = pb.Sampling(
        temperature=validator.number("sampling.temperature", sampling.temperature),
        top_k=validator.integer("sampling.top_k", sampling.top_k, INT32),
        top_p=validator.number("sampling.top_p", sampling.top_p),
    )
    return message if message.ByteSize() else None


def _meter(meter: object, field: str, validator: RequestValidator) -> pb.Meter | None:
    if meter is None:
        return None
    if isinstance(meter, str):
        try:
            meter = Meter.parse(meter)
        except ValueError as error:
            validator.add_violation(field, str(error))
            return None
    if not isinstance(meter, Meter):
        validator.add_violation(field, f"must be a Meter or a string like '3/4', not {short_repr(meter)}")
        return None
    return pb.Meter(
        numerator=validator.integer(f"{field}.numerator", meter.numerator, INT32) or 0,
        denominator=validator.integer(f"{field}.denominator", meter.denominator, INT32) or 0,
    )
