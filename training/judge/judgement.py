"""What the judge found: every number, and what follows from them."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from training.judge.errors import JudgeError


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Likelihood(_Table):
    """The model's own charge for the held-out pieces; see `training.evaluation.Evaluation`."""

    pieces: int
    steps: int
    tokens: int
    onsets: int
    nats_per_note_step: float
    accuracy: float
    onset_accuracy: float | None
    """None where no token begins a note."""


class BaselineRow(_Table):
    """A baseline on the same pieces."""

    name: str
    nats_per_note_step: float | None
    accuracy: float
    onset_accuracy: float | None
    """None where the row does not count onsets."""


class Sampling(_Table):
    """How tokens are drawn."""

    temperature: float
    top_k: int
    top_p: float

    def __str__(self) -> str:
        limits = [f"top-k {self.top_k}"] if self.top_k else []
        limits += [f"top-p {self.top_p:g}"] if self.top_p < 1 else []
        return ", ".join([f"temperature {self.temperature:g}", *(limits or ["no limit"])])


class RatioRow(_Table):
    """One feature: distance of generated to held-out music over that of training to held-out music."""

    feature: str
    generated: float
    """Distance: Jensen-Shannon (0 to 1) for a histogram, Wasserstein in the feature's unit for a figure."""
    real: float
    ratio: float
    low: float
    """95 % bootstrap interval of the ratio."""
    high: float


class Collapse(_Table):
    """Runs of one token, over samples spread evenly over the temperatures."""

    samples: int
    temperatures: tuple[float, ...]
    bound: float
    """99.9th percentile of the longest run of every real piece."""
    longest: int
    """Longest run of any sample."""
    share: float
    """Share of samples past the bound."""
    share_by_temperature: tuple[float, ...]


class CopyingRow(_Table):
    """Longest transposition-invariant match with the training set, in successive onsets, in one view of a piece."""

    view: str
    bound: float
    """99th percentile of the held-out pieces' own."""
    real_median: float
    real_longest: int
    median: float
    longest: int
    share: float
    """Share of samples past the bound."""


class FaultRow(_Table):
    """One kind of voice-leading fault, per 100 steps."""

    fault: str
    generated: float
    low: float
    """95 % bootstrap interval of the generated rate."""
    high: float
    training: float
    held_out: float
    real: float
    """Training and held-out music together; for `out_of_range`, held-out alone, for the range is the training's."""


class SweepPoint(_Table):
    """One setting of the sampling parameters, measured against the validation pieces."""

    sampling: Sampling
    ratios: dict[str, float]
    collapse_share: float
    copying_share: float
    faults: dict[str, float]
    """Per 100 steps; empty where voice leading is not judged."""
    excess: float
    """Mean over features and faults of the logarithm of how many times the real value it is, 0 where below it."""


class Sweep(_Table):
    """The study that the defaults come from."""

    digest: str
    """Of the bundle that wrote the samples: not that of the judgement where the defaults came after the study."""
    samples: int
    """For each point."""
    points: tuple[SweepPoint, ...]
    best: Sampling
    """The point of the least excess, of those at which hardly a sample gets stuck or recites."""


class Judgement(_Table):
    """One bundle on one corpus."""

    format_version: Literal[1] = 1
    date: str
    """When it was made, UTC, ISO 8601."""
    model: str
    digest: str
    """sha256 of the bundle's manifest, in hex."""
    tokenizer: str
    corpus: str
    pieces: dict[str, int]
    """Pieces of each side of the corpus that the tokenizer keeps anything of."""
    split: str
    """The held-out side."""
    likelihood: Likelihood
    baselines: tuple[BaselineRow, ...]
    sampling: Sampling
    samples: int
    seed: int
    matched: int
    """Pieces on each side of a distance."""
    ratios: tuple[RatioRow, ...]
    collapse: Collapse
    copying: tuple[CopyingRow, ...]
    faults: tuple[FaultRow, ...]
    left_out: tuple[str, ...]
    """What makes no sense for this tokenizer, and other remarks, a sentence each."""
    sweep: Sweep | None = None

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=2) + "\n")


def load_judgement(path: Path) -> Judgement:
    """Read what `Judgement.save` wrote.

    Raises:
        JudgeError: it is not that.
    """
    try:
        return Judgement.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise JudgeError(f"{path} is not a recorded judgement: {error}") from error
