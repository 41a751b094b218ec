"""What a server says of a model it has loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fantasia_client.meter import Meter
from fantasia_client.sampling import Sampling


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model and what may be asked of it."""

    name: str
    """Unique on its server."""
    digest: str
    """sha256 of the bundle's manifest, in hex: equal digests and seeds give equal bytes."""
    description: str
    """One sentence on what it writes."""
    tokenizer: str
    """Name of its tokenizer, such as `grid`."""
    voices: int
    """Number of voices; 0 where the tokenizer has no fixed number."""
    steps_per_quarter: int
    """Steps of its grid in a quarter note."""
    max_steps: int
    """Longest piece, in steps."""
    meters: tuple[Meter, ...]
    """Meters that it counts; the first one is its default."""
    default_sampling: Sampling
    """What unset sampling fields mean."""
    default_tempo_bpm: float
    """What an unset tempo means, quarter notes a minute."""
    default_program: int
    """What an unset General MIDI program means."""
    parameters: int
    """Number of trained parameters."""
    provider: str
    """The execution provider that runs it, such as `CPUExecutionProvider`."""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Measurements from its manifest, such as `test_nats_per_token`."""
    precision: str = ""
    """The arithmetic that decodes, `float32` or `int8`; empty if the server does not say."""

    def max_bars(self, meter: Meter | None = None) -> int:
        """Whole bars of the meter (by default, the model's first) in the longest piece."""
        meter = meter or (self.meters[0] if self.meters else Meter())
        return int(self.max_steps // meter.bar_ticks(self.steps_per_quarter))

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "name": self.name,
            "digest": self.digest,
            "description": self.description,
            "tokenizer": self.tokenizer,
            "voices": self.voices,
            "steps_per_quarter": self.steps_per_quarter,
            "max_steps": self.max_steps,
            "meters": [str(meter) for meter in self.meters],
            "default_sampling": {
                "temperature": self.default_sampling.temperature,
                "top_k": self.default_sampling.top_k,
                "top_p": self.default_sampling.top_p,
            },
            "default_tempo_bpm": self.default_tempo_bpm,
            "default_program": self.default_program,
            "parameters": self.parameters,
            "provider": self.provider,
            "precision": self.precision,
            "metrics": dict(self.metrics),
        }
