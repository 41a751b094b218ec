"""What a server tells about its models."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from fantasia_client.types import Meter, Sampling


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What requests may ask of a model. The server refuses the rest with `InvalidRequestError`."""

    continuation: bool = False
    """A given piece is continued."""
    rewrite_bars: bool = False
    """Regions of all voices are rewritten."""
    rewrite_voices: bool = False
    """Regions of some voices are rewritten."""
    rewrite_ticks: bool = False
    """Regions may begin and end within a bar."""
    scale: bool = False
    """`Constraints.scale` and `Constraints.pitch_classes`."""
    chords: bool = False
    """`Constraints.chords`."""
    ranges: bool = False
    """`Constraints.ranges`."""
    no_rests: bool = False
    """`Constraints.no_rests`."""
    no_parallels: bool = False
    """`Constraints.no_parallels`."""
    natural_ending: bool = False
    """`Constraints.natural_ending`."""
    density: bool = False
    """`Controls.density`."""
    voice_densities: bool = False
    """`Controls.voice_densities`."""
    dynamics: bool = False
    """The model writes dynamics itself in new pieces, and refuses `velocity_shape`. A given piece may be otherwise."""
    open_length: bool = False
    """The model may decide where a piece ends."""
    evaluation: bool = False
    """`Client.evaluate`."""
    default_candidates: int = 0
    """Number of candidates of a request with `rewrite` that does not say."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of requests. 0: the server does not report the bound."""

    max_given_bytes: int = 0
    """Size of a given MIDI file in bytes."""
    max_given_notes: int = 0
    """Notes of a given piece."""
    max_given_bars: int = 0
    """Bars of a given piece."""
    max_given_tracks: int = 0
    """Tracks of a given MIDI file."""
    max_candidates: int = 0
    """Candidates of a request."""
    max_candidate_steps: int = 0
    """Candidates times steps of the whole piece."""
    max_evaluated_pieces: int = 0
    """Pieces of a call of `evaluate`."""
    max_evaluated_steps: int = 0
    """Steps of all pieces of a call of `evaluate` together."""


class UnavailableState(StrEnum):
    """Why a version of a model takes no calls."""

    LOADING = "loading"
    """Its bundle is being copied, verified or loaded."""
    REFUSED = "refused"
    """Its bundle cannot be used."""
    UNLOADING = "unloading"
    """It finishes the calls that it has, then it is unloaded."""
    OTHER = "other"
    """A state that this client does not know."""


@dataclass(frozen=True, slots=True)
class UnavailableModel:
    """A version of a model that a server has found, and that takes no calls."""

    name: str
    """Name of the model."""
    version: int
    """Number of the version; 0 if it has none yet."""
    state: UnavailableState
    """Why it takes no calls."""
    reason: str = ""
    """What is wrong with a refused bundle, as one sentence."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that a server has loaded."""

    name: str
    """Name; with the version, unique on its server."""
    digest: str
    """sha256 of the bundle's manifest, in hex. Models with equal digests give equal bytes for equal seeds."""
    description: str
    """One sentence about the music it generates."""
    tokenizer: str
    """Name of its tokenizer, such as `grid`."""
    voices: int
    """Number of voices; 0 if the tokenizer has no fixed number."""
    steps_per_quarter: int
    """Grid steps in a quarter note."""
    max_steps: int
    """Maximum length of a piece, in steps."""
    meters: tuple[Meter, ...]
    """Supported meters; the first one is the default."""
    default_sampling: Sampling
    """Defaults of the sampling parameters."""
    default_tempo_bpm: float
    """Default tempo, quarter notes per minute."""
    default_program: int
    """Default General MIDI program."""
    parameters: int
    """Number of trained parameters."""
    provider: str
    """ONNX Runtime execution provider, such as `CPUExecutionProvider`."""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Metrics from its manifest, such as `test_nats_per_note_step`."""
    precision: str = ""
    """Precision of the decode graph, `float32` or `int8`; empty if the server does not report it."""
    ranges: Mapping[int, tuple[int, int]] = field(default_factory=dict, hash=False)
    """Lowest and highest MIDI note number of each voice; voice 0 is the highest."""
    capabilities: Capabilities = Capabilities()
    """What requests may ask of this model."""
    limits: Limits = Limits()
    """Bounds of requests."""
    version: int = 0
    """Number of its version, at least 1; 0 if the server does not report it."""
    default_version: bool = True
    """Whether requests that name the model without a version get this one."""

    def max_bars(self, meter: Meter | None = None) -> int:
        """Maximum length of a piece in whole bars of the meter, by default the model's first meter."""
        meter = meter or (self.meters[0] if self.meters else Meter())
        return int(self.max_steps // meter.bar_ticks(self.steps_per_quarter))

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON types."""
        ranges = [{"voice": voice, "lowest": low, "highest": high} for voice, (low, high) in self.ranges.items()]
        return asdict(self) | {"meters": [str(meter) for meter in self.meters], "ranges": ranges}
