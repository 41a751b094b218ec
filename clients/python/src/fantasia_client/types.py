"""Values that calls take and return: pieces and their parts, sampling parameters, server health."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from fantasia_client import formats


@dataclass(frozen=True, slots=True, order=True)
class Meter:
    """A time signature, such as `Meter(3, 4)`. `ModelInfo.meters` lists those that a model supports."""

    numerator: int = 4
    """Number of denominators in a bar."""
    denominator: int = 4
    """The note value that is counted: 4 means a quarter note."""

    def bar_ticks(self, ticks_per_quarter: int) -> float:
        """Length of one bar in ticks."""
        return self.numerator * 4 * ticks_per_quarter / self.denominator

    def beat_ticks(self, ticks_per_quarter: int) -> float:
        """Length of one beat in ticks: three denominators of a compound meter (6/8, 9/8, 12/8, 6/4), else one."""
        units = 3 if self.numerator % 3 == 0 and self.numerator > 3 else 1
        return units * 4 * ticks_per_quarter / self.denominator

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"

    @classmethod
    def parse(cls, text: str) -> "Meter":
        """Parse text such as `3/4`.

        Raises:
            ValueError: the text is not two positive integers with a slash between them.
        """
        parts = text.split("/")
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
            raise ValueError(f"a meter is written like 3/4, not {text!r}")
        return cls(int(parts[0]), int(parts[1]))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are sampled: temperature first, then top-k and top-p.

    None means the model's default. The server checks the ranges.
    """

    temperature: float | None = None
    """Divides the logits, 0.01 to 10; 1 samples the distribution as trained."""
    top_k: int | None = None
    """Sample from the k most likely tokens only, 1 to 1024; 0 for no limit."""
    top_p: float | None = None
    """Sample from the most likely tokens whose probabilities sum to this, above 0 to 1; 1 for no limit."""


@dataclass(frozen=True, slots=True)
class Note:
    """One sounding note."""

    onset_ticks: int
    """Start, in ticks from the start of the piece."""
    duration_ticks: int
    """Length in ticks, at least 1."""
    pitch: int
    """MIDI note number, 0 to 127; 60 is C4."""
    velocity: int = 80
    """MIDI velocity, 1 to 127."""
    voice: int = 0
    """Index of the voice; 0 is the highest voice."""


@dataclass(frozen=True, slots=True)
class TempoChange:
    """A change of the tempo within a piece."""

    tick: int
    """When, in ticks from the start of the piece."""
    tempo_bpm: float
    """The new tempo in quarter notes per minute."""


@dataclass(frozen=True, slots=True)
class MeterChange:
    """A change of the meter within a piece. It begins a bar."""

    tick: int
    """When, in ticks from the start of the piece."""
    meter: Meter
    """The new time signature."""


class FinishReason(Enum):
    """Why a piece ended."""

    LENGTH = "length"
    """It reached the requested length or the model's maximum length."""
    END = "end"
    """The model sampled its end token."""
    OTHER = "other"
    """A reason that this version of the client does not know."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations that the server measured for one request."""

    queue_seconds: float
    """Time that the request waited for a slot, in seconds."""
    first_token_seconds: float
    """Time from the start of that wait to the first sampled token, in seconds."""
    total_seconds: float
    """Time from the start of that wait to the last token, in seconds."""


@dataclass(frozen=True, slots=True)
class GivenReport:
    """What became of the given piece."""

    included: bool
    """Whether the returned pieces contain it."""
    length_ticks: int
    """Its length in ticks, rounded up to the model's grid. If it is included, the added part begins here."""
    changed_notes: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Number of notes that the model does not see as they are, by reason, such as `off_grid`. The returned piece has
    them as they were given."""
    left_out: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Number of things that were left out, by kind: things in the MIDI file, and `voices` that were not asked for."""
    meter_known: bool = True
    """Whether the model knows the meter where notes are written. Where it does not, or if notes are written in more
    than one meter, it writes without bar lines."""
    meter_changes: int = 0
    """Number of changes of the meter, which the model does not see: it takes the whole piece to be in the meter where
    notes are written. The returned piece has them."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a piece can be continued: `client.generate(resume=point, bars=16)`.

    It holds all fields of the request that the piece came from, so that none has to be repeated.
    """

    request: bytes = field(repr=False)
    """A message `fantasia.v1.GenerateRequest` with the request's fields and the resume token."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the point to a file and return its path. An existing file is replaced.

        Raises:
            OSError: the file cannot be written.
        """
        path = Path(path)
        path.write_bytes(self.request)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ResumePoint":
        """Read a file that `save` wrote. If it is another file, the call that uses the point raises an error.

        Raises:
            OSError: the file cannot be read.
        """
        return cls(Path(path).read_bytes())


@dataclass(frozen=True, slots=True)
class Piece:
    """A generated piece."""

    midi: bytes = field(repr=False)
    """The piece as a Standard MIDI File."""
    notes: tuple[Note, ...] = field(repr=False)
    """The same notes, sorted by onset, then by voice."""
    ticks_per_quarter: int
    """Ticks in a quarter note, for every field in ticks."""
    length_ticks: int
    """Length in ticks, final rests included."""
    seed: int
    """Seed of the random stream, from the request or drawn by the server. The same request with this seed gives the
    same bytes: if `particles` wrote the piece, with this `candidate` and the same number of candidates, else with
    `candidates=1`."""
    token_count: int
    """Number of sampled tokens, the end token included."""
    finish_reason: FinishReason
    """Why the piece ended."""
    model: str
    """Name of the model."""
    model_digest: str
    """sha256 of the model's manifest, in hex."""
    meter: Meter
    """Time signature at the start; 4/4 if `meter_known` is False, as in MIDI."""
    tempo_bpm: float
    """Quarter notes per minute at the start."""
    programs: tuple[int, ...]
    """General MIDI program of each voice, 0 to 127, the highest voice first."""
    timing: Timing
    """Durations that the server measured."""
    meter_known: bool = True
    """Whether the piece has a time signature at the start."""
    pickup_ticks: int = 0
    """Length of the incomplete first bar in ticks; 0 if there is none."""
    tempo_changes: tuple[TempoChange, ...] = ()
    """Later tempos, in the order of their ticks."""
    candidate: int = 0
    """Index among the candidates, from 0."""
    particles: bool = False
    """Whether the candidates were particles of one filter, which all have the seed of the request. Else each has a seed
    of its own."""
    nats: float = 0.0
    """How unlikely the piece is: minus the natural logarithm of its probability under the model at temperature 1, from
    the first written token on. Lower is likelier."""
    nats_per_note_step: float = 0.0
    """`nats` by the number of note-steps (steps of the grid times voices, where voices share a grid; else tokens).
    Independent candidates are ranked by it."""
    given_nats: float = 0.0
    """The share of `nats` that given tokens have. Particles are ranked by it."""
    precision: str = ""
    """Precision of the arithmetic, `float32` or `int8`."""
    given: GivenReport | None = None
    """What became of the given piece; None if none was given."""
    resume_token: bytes = field(default=b"", repr=False)
    """Resume token; empty unless the request asked for it."""
    resume_point: ResumePoint | None = None
    """The resume token with the request's fields; None unless the request asked for a token."""
    meter_changes: tuple[MeterChange, ...] = ()
    """Later time signatures, in the order of their ticks."""
    model_version: int = 0
    """Version of the model; 0 if the server does not report it."""

    @property
    def program(self) -> int:
        """General MIDI program of the highest voice, 0 to 127."""
        return self.programs[0] if self.programs else 0

    @property
    def bars(self) -> float:
        """Length in bars of the time signatures; incomplete bars count as their parts of a bar."""
        bars, tick, meter = 0.0, 0, self.meter
        for change in (*self.meter_changes, MeterChange(self.length_ticks, self.meter)):
            end = min(change.tick, self.length_ticks)
            bars += (end - tick) / meter.bar_ticks(self.ticks_per_quarter)
            tick, meter = end, change.meter
        return bars

    @property
    def duration_seconds(self) -> float:
        """Playing time in seconds, with all tempo changes."""
        seconds, tick, tempo_bpm = 0.0, 0, self.tempo_bpm
        for change in (*self.tempo_changes, TempoChange(self.length_ticks, self.tempo_bpm)):
            end = min(change.tick, self.length_ticks)
            seconds += (end - tick) / self.ticks_per_quarter * 60 / tempo_bpm
            tick, tempo_bpm = end, change.tempo_bpm
        return seconds

    def save(self, path: str | os.PathLike[str], *, soundfont: str | os.PathLike[str] | None = None) -> Path:
        """Write the piece to a file and return its path. The suffix of the path selects the format.

        `.mid` and `.midi` need nothing more. `.wav` needs the extra `audio`, `.musicxml` the extra `notation`, and
        `.png`, `.svg` and `.pdf` (a piano roll) the extra `plot`.

        An existing file is replaced. If saving fails, it is unchanged, and no new file appears.

        Args:
            path: path of the file.
            soundfont: SoundFont 2 file with the instruments of a `.wav`; None for the client's own.

        Raises:
            ValueError: the suffix is another one, or the SoundFont is invalid.
            MissingExtraError: the package that the format needs is not installed.
            OSError: the file cannot be written, or the SoundFont cannot be read.
        """
        write = formats.writer(path, soundfont=soundfont)
        formats.replace_file(Path(path), write(self))
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        """All fields except the MIDI bytes and the resume token, as JSON types."""
        left_out = ("midi", "resume_token", "resume_point")
        document = {name: value for name, value in asdict(self).items() if name not in left_out}
        return document | {
            "bars": self.bars,
            "duration_seconds": self.duration_seconds,
            "finish_reason": self.finish_reason.value,
            "meter": str(self.meter),
            "meter_changes": [{"tick": change.tick, "meter": str(change.meter)} for change in self.meter_changes],
        }


@dataclass(frozen=True, slots=True)
class Generation:
    """What one request gave."""

    pieces: tuple[Piece, ...]
    """The pieces, the best first; at least one."""
    candidates: int
    """Number of candidates that were written."""
    given: GivenReport | None
    """What became of the given piece; None if none was given."""
    timing: Timing
    """Durations that the server measured."""
    particles: bool = False
    """Whether the candidates were particles of one filter; see `Piece.particles`."""


@dataclass(frozen=True, slots=True)
class StreamStart:
    """What is known of a streamed piece before its first note."""

    ticks_per_quarter: int
    """Ticks in a quarter note, for every field in ticks."""
    seed: int
    """Seed of the request, given or drawn."""
    meter: Meter
    """Time signature at the start; 4/4 if `meter_known` is False, as in MIDI."""
    meter_known: bool
    """Whether the piece has a time signature at the start."""
    pickup_ticks: int
    """Length of the incomplete first bar in ticks."""
    tempo_bpm: float
    """Quarter notes per minute at the start."""
    tempo_changes: tuple[TempoChange, ...]
    """Later tempos, in the order of their ticks."""
    programs: tuple[int, ...]
    """General MIDI program of each voice, the highest voice first."""
    length_ticks: int
    """Length of the piece in ticks; 0 if the model decides it."""
    meter_changes: tuple[MeterChange, ...] = ()
    """Later time signatures, in the order of their ticks."""


@dataclass(frozen=True, slots=True)
class StreamUpdate:
    """What a stream has to tell since the last update."""

    watermark_ticks: int
    """Everything before this tick is final: no later update has a note that begins or ends before it."""
    notes: tuple[Note, ...] = ()
    """Notes that are complete, each in one update only, in the order of their ends."""
    sounding: tuple[Note, ...] = ()
    """All notes that have begun and whose end is not certain yet, with their length so far. The next update replaces
    them."""
    start: StreamStart | None = None
    """What is known before the first note; in the first update only."""
    resume_token: bytes = field(default=b"", repr=False)
    """Resume token of this place; empty unless the request asked for it."""
    generation: Generation | None = None
    """What `generate_many` would have returned; in the last update only."""

    @property
    def piece(self) -> Piece | None:
        """The finished piece; in the last update only."""
        return self.generation.pieces[0] if self.generation else None


@dataclass(frozen=True, slots=True)
class NoteEvaluation:
    """How likely a note is under a model, given all tokens before it."""

    note: Note
    """The note as the model sees it, with 480 ticks in a quarter note."""
    nats: float
    """Nats of all tokens of the note: its onset, and that it is held."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How likely a piece is under a model, at temperature 1."""

    nats: float
    """Minus the natural logarithm of the probability of all tokens, the end token included."""
    nats_per_note_step: float
    """`nats` by the number of note-steps (steps of the grid times voices, where voices share a grid; else tokens)."""
    token_count: int
    """Number of tokens, the end token included."""
    notes: tuple[NoteEvaluation, ...] = field(repr=False)
    """Each note that the model sees, in the order of their onsets."""
    changed_notes: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Number of notes that the model does not see as they are, by reason."""
    left_out: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Number of things that were left out, by kind: things in the MIDI file, and `voices` that were not asked for."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON types."""
        return asdict(self)


class Health(Enum):
    """State that a server reports (grpc.health.v1)."""

    SERVING = "SERVING"
    """The server is ready for requests."""
    NOT_SERVING = "NOT_SERVING"
    """The server is starting or stopping."""
    UNKNOWN = "UNKNOWN"
    """The server reports another state."""
