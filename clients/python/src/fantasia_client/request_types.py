"""What a request for a piece says: the given piece, regions, constraints, controls, and all fields by name."""

import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar

from fantasia_client.types import Meter, Note, Piece, ResumePoint, Sampling

Music: TypeAlias = bytes | str | os.PathLike[str] | Piece | Sequence[Note]
"""A piece that the caller brings: MIDI bytes, the path of a MIDI file, a generated piece, or notes with 480 ticks in a
quarter note."""
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class GivenPiece:
    """A piece that the caller brings, and what its notes alone do not say.

    All fields except `voices` are for notes only: MIDI files and generated pieces have their own values.
    """

    music: Music = field(repr=False)
    """The piece: MIDI bytes, the path of a MIDI file, a generated piece, or notes in any order. Each pitched channel of
    a track of a MIDI file is a voice; they are ordered by mean pitch, the highest first."""
    voices: Sequence[int] = ()
    """Voice of the model for voices of the piece, the highest first, each voice once. Voices of the piece beyond the
    list are left out: `[0]` takes the melody of a piece, and `[3]` makes it the bass of a four-voice model. Empty: all
    voices, in order."""
    ticks_per_quarter: int | None = None
    """Ticks in a quarter note, 1 to 32767; None for 480."""
    length_ticks: int | None = None
    """Length in ticks; None for the end of the last note."""
    pickup_ticks: int | None = None
    """Length of the incomplete first bar in ticks, less than a bar; None if there is none."""
    meter: Meter | str | None = None
    """Time signature, as a `Meter` or a string such as `"3/4"`; None: unknown."""
    tempo_bpm: float | None = None
    """Quarter notes per minute, 10 to 400; None for the model's default."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a given piece: a stretch of time in some voices. At most one of `bars` and `ticks`; none: all of it."""

    bars: int | tuple[int, int] | None = None
    """A bar, or the first and the last of several. Bars are counted from 1; bar 0 is the pickup."""
    ticks: tuple[int, int] | None = None
    """First tick and end (excluded), with 480 ticks in a quarter note. Both are rounded to the model's grid."""
    voices: Sequence[int] = ()
    """Voices of the model, from 0, the highest; empty for all voices."""


@dataclass(frozen=True, slots=True)
class Chord:
    """A chord of a progression."""

    tones: str | Collection[int]
    """A symbol such as `"Am7"` or `"F/A"`, or pitch classes, 0 (C) to 11 (B). In models with several voices, the pitch
    class after a slash is that of the lowest voice."""
    length: int = 1
    """Length in units of the progression, 1 to 1024."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """What written notes must obey. A request that cannot be satisfied is refused; the error names field and bar."""

    scale: str | None = None
    """Tonic and mode of the scale that notes must be in, such as `"A minor"`, `"Eb major"`, `"D dorian"`."""
    pitch_classes: Collection[int] | None = None
    """Pitch classes that notes must have, 0 (C) to 11 (B), in place of a scale."""
    chords: str | Sequence[str | Chord | Collection[int]] | None = None
    """Chords whose tones notes must have while they sound: `"Am F C G"`, or a sequence of symbols, collections of pitch
    classes and `Chord`s. In a string, `Am*2` is a chord of two units. At most 1024 chords."""
    chord_unit: Literal["bar", "beat"] = "bar"
    """What the lengths of chords count. A beat is three denominators of a compound meter (6/8, 9/8, 12/8, 6/4),
    one denominator of any other."""
    first_chord_bar: int | None = None
    """Bar in which the first chord begins; None for the first bar that is added to a given piece, else bar 1."""
    repeat_chords: bool = True
    """Whether the chords start again after the last one. If not, all pitches are free then."""
    ranges: Mapping[int, tuple[int, int]] = field(default_factory=dict, hash=False)
    """Lowest and highest MIDI note number of voices, within those of the model: `{0: (60, 76)}`."""
    no_rests: bool = False
    """Every written voice sounds all the time."""
    no_parallels: bool = False
    """No written note makes parallel fifths, octaves or unisons with another voice."""
    natural_ending: bool = False
    """The piece ends on a held chord in root position, of the tonic if a scale is set. It needs a fixed length."""


@dataclass(frozen=True, slots=True)
class Controls:
    """What written notes lean towards."""

    density: float | None = None
    """Factor on the odds that a note begins, 0.05 to 20, at each step and in each voice. Above 1 the music has more
    notes. None for 1."""
    voice_densities: Mapping[int, float] = field(default_factory=dict, hash=False)
    """The same for single voices, on top of `density`: `{3: 0.5}`."""


@dataclass(frozen=True, slots=True)
class VelocityShape:
    """Velocities by the place of a note in the bar and in the phrase, where the model writes no dynamics."""

    velocity: int | None = None
    """Velocity of a note off the beats, 1 to 127; None for 80."""
    downbeat_accent: int = 0
    """Added to notes on the first beat of a bar, -64 to 64."""
    beat_accent: int = 0
    """Added to notes on the other beats, -64 to 64."""
    phrase_bars: int = 0
    """Length of a phrase in bars, 1 to 64; 0 for no swell."""
    swell: int = 0
    """Added in the middle of a phrase, and less towards its ends; -64 to 64."""


class GenerateOptions(TypedDict, total=False):
    """Arguments of `generate`, `generate_many` and `stream`. None and missing ones have the server's defaults.

    Attributes:
        given: A piece to continue, or to rewrite in part: MIDI bytes, the path of a MIDI file, a generated piece,
            notes with 480 ticks in a quarter note, or a `GivenPiece`. None: a new piece is composed.
        rewrite: Regions of the given piece that are written anew, at most 256. All other notes come back as they are.
            None: nothing is replaced, and the given piece is continued.
        bars: Length in bars of the meter; of the added part if a piece is given. At most one of `bars`, `steps`,
            `seconds` and an open length. Without a length, nothing is added to a piece with `rewrite`; else the model
            decides where the piece ends.
        steps: Length in steps of the model's grid.
        seconds: Length in seconds at the tempo, rounded up to a whole step.
        min_bars: The model decides where the piece ends, but not before so many bars.
        max_bars: The model decides where the piece ends, but after so many bars at the latest.
        constraints: What written notes must obey.
        controls: What written notes lean towards.
        sampling: Temperature, top-k and top-p.
        seed: Seed of the random stream, 0 to 2^64 - 1. The same request and seed give the same bytes. None: the server
            draws one.
        candidates: Number of pieces that are written side by side, 1 to `Limits.max_candidates`. The likeliest is
            returned. None: 1 without `rewrite`, else `Capabilities.default_candidates`, or fewer for long pieces.
        candidate: Return this candidate (`Piece.candidate`) instead of the best one.
        model: Name of the model. None: the server's default model.
        model_version: Version of the model. None: its default version; with `resume`, the version that wrote the piece.
        meter: Time signature that the model supports, as a `Meter` or a string such as `"3/4"`. None: that of the given
            piece, else the model's first.
        tempo_bpm: Quarter notes per minute, 10 to 400. None: the tempo of the given piece with all its changes, else
            the model's default.
        program: General MIDI program of every voice, 0 to 127; 0 is the grand piano. None: those of the given piece,
            else the model's default.
        voice_programs: General MIDI program of each voice, the highest voice first; the others have `program`.
        velocity_shape: Velocities of the written notes where the model writes none (`Capabilities.dynamics`).
        transposition: Semitones by which the finished piece is transposed, -48 to 48. All other fields refer to the
            piece before that.
        omit_given: Leave the given piece out of the returned one. Not with `rewrite`.
        return_resume_token: Return a resume token with every piece, and with every update of a stream.
        resume: Continue a piece: a `Piece` or a `ResumePoint`, which have all fields of their request, or the bytes of
            a resume token, with all fields of the request that it came from. The length counts as in that request: the
            new piece, or all that is added to a given one. What is written already is part of it.
        timeout_seconds: Deadline of this call. None: the client's default; `math.inf`: no limit.
        wait_for_ready: Whether this call waits for a server that cannot be reached. None: the client's default.
    """

    given: Music | GivenPiece | None
    rewrite: Region | Sequence[Region] | None
    bars: int | None
    steps: int | None
    seconds: float | None
    min_bars: int | None
    max_bars: int | None
    constraints: Constraints | None
    controls: Controls | None
    sampling: Sampling | None
    seed: int | None
    candidates: int | None
    candidate: int | None
    model: str | None
    model_version: int | None
    meter: Meter | str | None
    tempo_bpm: float | None
    program: int | None
    voice_programs: Sequence[int] | None
    velocity_shape: VelocityShape | None
    transposition: int | None
    omit_given: bool | None
    return_resume_token: bool | None
    resume: Piece | ResumePoint | bytes | None
    timeout_seconds: float | None
    wait_for_ready: bool | None


LENGTHS = ("bars", "steps", "seconds", "min_bars", "max_bars")
"""Arguments that give a length."""
CALL_OPTIONS = ("timeout_seconds", "wait_for_ready")
"""Arguments that are not part of the message."""


def show_options(function: FunctionT) -> FunctionT:
    """Decorator: give a function with `**options: Unpack[GenerateOptions]` the arguments in its signature and its help.

    Type checkers know them already.
    """
    signature = inspect.signature(function)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    shown = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in GenerateOptions.__annotations__.items()
    ]
    arguments = inspect.cleandoc(GenerateOptions.__doc__ or "").partition("Attributes:\n")[2]
    function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nArguments of `GenerateOptions`:\n{arguments}"
    function.__signature__ = signature.replace(parameters=[*own, *shown])  # type: ignore[attr-defined]
    return function


def check_options(method: str, options: Mapping[str, object]) -> None:
    """Check the names of arguments.

    Raises:
        TypeError: there is no such argument.
    """
    for name in options:
        if name not in GenerateOptions.__annotations__:
            raise TypeError(f"{method}() got an unexpected keyword argument {name!r}")
