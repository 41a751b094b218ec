"""Options of the commands that ask for pieces, and the arguments of the client that they stand for."""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

import click
from click import Context

from fantasia_client.client import Client
from fantasia_client.connection import TLS
from fantasia_client.errors import FieldViolation
from fantasia_client.request_types import Constraints, Controls, GenerateOptions, GivenPiece, Region, VelocityShape
from fantasia_client.token import Token
from fantasia_client.types import Meter, ResumePoint, Sampling

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
KindT = TypeVar("KindT")

_PARAMETERS: Final = {"given.voices": "given_voices", "resume_token": "resume", "model_version": "model"}
"""Parameters of commands whose name is no part of the field's path."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Values of the options before the command's name."""

    server: str
    timeout_seconds: float
    wait: bool
    tls: TLS | None
    token: Token | None = None

    def connect(self, *, wait: bool | None = None) -> Client:
        """A client of the server.

        Args:
            wait: whether calls wait for a server that cannot be reached; None: as the option says.
        """
        return Client(
            self.server,
            timeout_seconds=self.timeout_seconds,
            wait_for_ready=self.wait if wait is None else wait,
            tls=self.tls,
            token=self.token,
        )


class PatternType(click.ParamType[Any, Any]):
    """Text of a certain form.

    Args:
        name: name of the type.
        example: what the text looks like, for error messages.
        pattern: regular expression of the whole text.
        convert: makes the value from the match.
    """

    def __init__(self, name: str, example: str, pattern: str, convert: Callable[["re.Match[str]"], object]) -> None:
        self.name = name
        self._example = example
        self._pattern = re.compile(pattern, re.ASCII)
        self._convert = convert

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of the text; a value that is no text stays as it is."""
        if not isinstance(value, str):
            return value
        if match := self._pattern.fullmatch(value):
            return self._convert(match)
        return self.fail(f"it is written like {self._example}, not {value!r}.", param, ctx)


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was read."""

    name: str
    data: bytes


class ModelChoice(NamedTuple):
    """The model that an option names."""

    name: str | None = None
    """None for the server's default model."""
    version: int | None = None
    """None for the default version."""


MODEL: Final = PatternType(
    "model",
    "piano or piano:2",
    "([^:]*)(?::([1-9][0-9]{0,17}))?",
    lambda match: ModelChoice(match[1], int(match[2]) if match[2] else None),
)


class InputFileType(click.ParamType[Any, Any]):
    """A file that is read at once; `-` is standard input."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The file of that path."""
        if isinstance(value, InputFile):
            return value
        try:
            return InputFile(value, sys.stdin.buffer.read() if value == "-" else Path(value).read_bytes())
        except OSError as error:
            return self.fail(f"{value!r}: {error.strerror or error}", param, ctx)


INPUT_FILE: Final = InputFileType()


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()


def _region(match: "re.Match[str]") -> Region:
    first, last = match["first"], match["last"]
    voices = _numbers(match["voices"])
    if match["start"] is not None:
        return Region(ticks=(int(match["start"]), int(match["end"])), voices=voices)
    return Region(bars=None if first is None else (int(first), int(last or first)), voices=voices)


NUMBERS: Final = PatternType("numbers", "3 or 0,2,4", r"\d+(,\d+)*", lambda match: _numbers(match[0]))
REGION: Final = PatternType(
    "region",
    "5, 5-6, 5-6:voices=1,2, all:voices=3 or ticks=0-960",
    r"(all|(?P<first>\d+)(-(?P<last>\d+))?|ticks=(?P<start>\d+)-(?P<end>\d+))(:voices=(?P<voices>\d+(,\d+)*))?",
    _region,
)
VOICE_RANGE: Final = PatternType(
    "range", "0:60-76", r"(\d+):(\d+)-(\d+)", lambda match: (int(match[1]), (int(match[2]), int(match[3])))
)
VOICE_DENSITY: Final = PatternType(
    "density", "3:0.5", r"(\d+):(\d+(\.\d*)?|\.\d+)", lambda match: (int(match[1]), float(match[2]))
)


def _meter(_context: click.Context, _option: click.Parameter, value: str | None) -> Meter | None:
    try:
        return None if value is None else Meter.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


_GIVEN: Final = (
    click.option(
        "--given",
        type=INPUT_FILE,
        metavar="FILE",
        help="MIDI file of a piece to continue, or to rewrite in part; - for standard input.",
    ),
    click.option(
        "--rewrite",
        type=REGION,
        multiple=True,
        metavar="BARS[:voices=V,V]",
        help="Part of the given piece that is written anew: 9, 5-6, 5-6:voices=1,2, all:voices=3 or ticks=0-960. "
        "All other notes stay. May be repeated. Without it, the given piece is continued.",
    ),
)
_GIVEN_ARGUMENT: Final = click.argument("given", type=INPUT_FILE, metavar="SONG")
_GIVEN_VOICES: Final = click.option(
    "--given-voices",
    type=NUMBERS,
    metavar="V,V",
    help="Voice of the model for voices of the given piece, the highest first: 0 takes only the melody, 3 makes it the "
    "bass.  [default: all voices, in order]",
)
_OMIT_GIVEN: Final = click.option("--omit-given", is_flag=True, help="Leave the given piece out of the new one.")
_LENGTH: Final = (
    click.option("--bars", type=int, help="Length in bars; of the added part if a piece is given."),
    click.option("--steps", type=int, help="Length in steps of the model's grid."),
    click.option("--seconds", type=float, help="Length in seconds."),
    click.option("--min-bars", type=int, help="The model ends the piece, but not before so many bars."),
    click.option("--max-bars", type=int, help="The model ends the piece, after so many bars at the latest."),
)
MODEL_OPTION: Final = click.option(
    "--model",
    type=MODEL,
    metavar="NAME[:VERSION]",
    help="Name of the model, or of one of its versions: piano:2. `fantasia models` lists them.",
)
_MUSIC: Final = (
    click.option(
        "--seed",
        type=click.IntRange(0, 2**64 - 1),
        help="Seed of the random stream. The same request and seed give the same bytes.",
    ),
    MODEL_OPTION,
    click.option("--meter", callback=_meter, metavar="N/D", help="Time signature, such as 3/4."),
    click.option("--tempo", "tempo_bpm", type=float, metavar="BPM", help="Tempo in quarter notes per minute."),
    click.option("--program", type=int, help="General MIDI program of every voice, 0 to 127."),
    click.option(
        "--voice-programs",
        type=NUMBERS,
        metavar="P,P",
        help="General MIDI program of each voice, the highest voice first.",
    ),
    click.option(
        "--transpose", "transposition", type=int, metavar="N", help="Transpose the finished piece, semitones."
    ),
    click.option("--scale", metavar="TEXT", help="Scale that the notes are in, such as 'A minor' or 'D dorian'."),
    click.option(
        "--pitch-classes", type=NUMBERS, metavar="P,P", help="Pitch classes of the notes, 0 (C) to 11 (B): 0,2,4,7,9."
    ),
    click.option(
        "--chords",
        metavar="TEXT",
        help="Chords, one a bar: 'Am F C G'. Am*2 stays for two bars. They start again after the last one.",
    ),
    click.option("--chord-unit", type=click.Choice(["bar", "beat"]), help="What a chord lasts; bar by default."),
    click.option("--first-chord-bar", type=int, metavar="BAR", help="Bar of the first chord."),
    click.option("--chords-once", is_flag=True, help="All notes are free after the last chord."),
    click.option(
        "--range",
        "ranges",
        type=VOICE_RANGE,
        multiple=True,
        metavar="V:LOW-HIGH",
        help="Range of a voice, MIDI note numbers: 0:60-76. May be repeated.",
    ),
    click.option("--no-rests", is_flag=True, help="Every written voice sounds all the time."),
    click.option("--no-parallels", is_flag=True, help="No parallel fifths, octaves or unisons."),
    click.option("--natural-ending", is_flag=True, help="End on a held chord in root position; with a length."),
    click.option("--density", type=float, metavar="X", help="Above 1 more notes, below 1 fewer: 0.05 to 20."),
    click.option(
        "--voice-density",
        "voice_densities",
        type=VOICE_DENSITY,
        multiple=True,
        metavar="V:X",
        help="The same for one voice: 3:0.5. May be repeated.",
    ),
    click.option("--velocity", type=int, metavar="N", help="Velocity of the written notes, 1 to 127."),
    click.option("--downbeat-accent", type=int, metavar="N", help="Added on the first beat of a bar, -64 to 64."),
    click.option("--beat-accent", type=int, metavar="N", help="Added on the other beats, -64 to 64."),
    click.option("--phrase-bars", type=int, metavar="N", help="Length of a phrase in bars, for --swell."),
    click.option("--swell", type=int, metavar="N", help="Added in the middle of a phrase, -64 to 64."),
    click.option("--temperature", type=float, help="Divides the logits; a lower value gives more predictable music."),
    click.option("--top-k", type=int, help="Sample from the k most likely tokens only; 0 for no limit."),
    click.option(
        "--top-p", type=float, help="Sample from the most likely tokens whose probabilities sum to this; 1: no limit."
    ),
    click.option("--candidates", type=int, metavar="N", help="Write N pieces side by side and keep the best of them."),
    click.option("--candidate", type=int, metavar="I", help="Keep this candidate instead, counted from 0."),
)
_RESUME: Final = click.option(
    "--resume",
    type=INPUT_FILE,
    metavar="FILE",
    help="Continue the piece of a file from --save-resume. Beside it, give only the length. It counts "
    "as in the first request: the new piece, or all that is added to a given one, what is written already included.",
)


def any_request(function: FunctionT) -> FunctionT:
    """Decorator: all options of a request."""
    return add_options(function, [*_GIVEN, _GIVEN_VOICES, _OMIT_GIVEN, *_LENGTH, *_MUSIC, _RESUME])


def continuing_request(function: FunctionT) -> FunctionT:
    """Decorator: the options of a request that continues the piece of the argument `given`."""
    return add_options(function, [_GIVEN_ARGUMENT, _GIVEN_VOICES, _OMIT_GIVEN, *_LENGTH, *_MUSIC])


def rewriting_request(function: FunctionT) -> FunctionT:
    """Decorator: the options of a request that rewrites parts of the piece of the argument `given`."""
    return add_options(function, [_GIVEN_ARGUMENT, *_MUSIC])


def add_options(function: FunctionT, options: Sequence[Callable[[FunctionT], FunctionT]]) -> FunctionT:
    """The function with the options, which the help shows in this order."""
    for option in reversed(options):
        function = option(function)
    return function


def client_arguments(values: Mapping[str, Any]) -> GenerateOptions:
    """The arguments of `Client.generate` for the values of a command's options.

    Raises:
        click.UsageError: there is more than one length.
    """
    lengths = {name: values.get(name) for name in ("bars", "steps", "seconds")}
    lengths["min_bars"] = values.get("min_bars") or values.get("max_bars")
    if sum(value is not None for value in lengths.values()) > 1:
        raise click.UsageError("Give only one of --bars, --steps, --seconds and --min-bars with --max-bars.")
    same = (
        "bars", "steps", "seconds", "min_bars", "max_bars", "seed", "candidates", "candidate", "meter", "tempo_bpm",
        "program", "voice_programs", "transposition",
    )  # fmt: skip
    arguments: dict[str, Any] = {name: values.get(name) for name in same}
    arguments["model"], arguments["model_version"] = values.get("model") or ModelChoice()
    arguments |= {
        "given": _given(values.get("given"), values.get("given_voices")),
        "rewrite": values.get("rewrite") or None,
        "omit_given": values.get("omit_given") or None,
        "sampling": _only_if_set(Sampling, values, ("temperature", "top_k", "top_p")),
        "constraints": _constraints(values),
        "controls": _only_if_set(
            Controls, {**values, "voice_densities": dict(values["voice_densities"])}, ("density", "voice_densities")
        ),
        "velocity_shape": _only_if_set(
            VelocityShape, values, ("velocity", "downbeat_accent", "beat_accent", "phrase_bars", "swell")
        ),
        "resume": ResumePoint(values["resume"].data) if values.get("resume") else None,
    }
    return cast("GenerateOptions", {name: value for name, value in arguments.items() if value is not None})


def _given(file: InputFile | None, voices: tuple[int, ...] | None) -> GivenPiece | None:
    return None if file is None else GivenPiece(file.data, voices=voices or ())


def _constraints(values: Mapping[str, Any]) -> Constraints | None:
    names = (
        "scale", "pitch_classes", "chords", "chord_unit", "first_chord_bar", "ranges", "no_rests", "no_parallels",
        "natural_ending",
    )  # fmt: skip
    constraints = _only_if_set(Constraints, {**values, "ranges": dict(values["ranges"])}, names)
    return replace(constraints or Constraints(), repeat_chords=False) if values["chords_once"] else constraints


def _only_if_set(kind: Callable[..., KindT], values: Mapping[str, Any], names: Iterable[str]) -> KindT | None:
    """An object with those values that were given; None if none was given."""
    given = {name: values[name] for name in names if not (values[name] is None or values[name] is False)}
    return kind(**given) if any(value != {} for value in given.values()) else None


def violation_sentence(violation: FieldViolation, command: click.Command) -> str:
    """The violation, with the option or argument of the command in place of the field."""
    field = violation.field
    parts = re.sub(r"\[[^]]*\]", "", field).split(".")
    parameters = {parameter.name: parameter for parameter in command.params}
    names = [_PARAMETERS.get(".".join(parts[:2])), _PARAMETERS.get(parts[0]), *parts]
    found = next((parameters[name] for name in names if name in parameters), None)
    if found is not None:
        shown = max(found.opts, key=len) if isinstance(found, click.Option) else found.make_metavar(Context(command))
        is_part = field.endswith("]") or parts[-1] != found.name
        return f"{shown}: {f'{field}: ' if is_part else ''}{violation.description}"
    if not field or violation.description.startswith(field):
        return violation.description
    return f"{field}: {violation.description}"
