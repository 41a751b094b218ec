"""What a fuzzer knows of a model: what `ListModels` says, as numbers."""

from dataclasses import dataclass
from typing import Final, Self

from fantasia.v1 import generation_pb2 as pb

TICKS_PER_QUARTER: Final = 480


def bar_ticks(numerator: int, denominator: int) -> int:
    """Length of a bar."""
    return numerator * 4 * TICKS_PER_QUARTER // denominator


def beat_ticks(numerator: int, denominator: int) -> int:
    """Length of a beat in ticks: three denominators in 6/8, 9/8, 12/8 and so on, else one."""
    is_compound = numerator in range(6, 65, 3)
    return (3 if is_compound else 1) * 4 * TICKS_PER_QUARTER // denominator


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model can do."""

    message: pb.Model
    is_default: bool
    """Whether requests without a model's name get it."""

    @classmethod
    def of_all(cls, response: pb.ListModelsResponse) -> tuple[Self, ...]:
        """All models of a server."""
        return tuple(cls(model, index == 0) for index, model in enumerate(response.models))

    @property
    def name(self) -> str:
        """Its name."""
        return self.message.name

    @property
    def voices(self) -> int:
        """Number of voices, at least 1."""
        return max(self.message.voices, 1)

    @property
    def step_ticks(self) -> int:
        """Length of a step of the grid."""
        return TICKS_PER_QUARTER // self.message.steps_per_quarter

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Lowest and highest pitch of each voice."""
        return [(each.lowest, each.highest) for each in self.message.ranges]

    @property
    def meters(self) -> list[tuple[int, int]]:
        """Supported meters, the default one first."""
        return [(meter.numerator, meter.denominator) for meter in self.message.meters]
