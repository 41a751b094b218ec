"""The results of evaluating one bundle, as a JSON file."""

from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

from report import Record

RESULTS: Final = Path(__file__).parent / "results"
"""Folder of the shipped bundles' records: NAME.json."""


class Likelihood(Record):
    """How well the model predicts the held-out pieces; see `training.evaluation.likelihood`."""

    pieces: int
    steps: int
    tokens: int
    onsets: int
    """Tokens that begin a note."""
    nats_per_note_step: float
    accuracy: float
    onset_accuracy: float | None
    """None if no token begins a note."""
    pitch_accuracy: float | None = None
    """Share of the onset tokens that were the most probable of all onset tokens. None if no token begins a note."""
    nats_per_note: float | None = None
    """Nats of all tokens, divided by the notes of the scores. None if they have none."""
    bits_per_second: float | None = None
    """Bits of all tokens, divided by the playing time of the scores at their tempos. None if they last no time."""
    bits_per_second_by_piece: tuple[float, ...] = ()
    """The same of each piece, ascending."""


class Baseline(Record):
    """How well a baseline predicts the same pieces."""

    name: str
    nats_per_note_step: float | None
    """None if the baseline gives no probabilities."""
    accuracy: float
    onset_accuracy: float | None
    """None if the baseline does not count onsets."""


class Sampling(Record):
    """Parameters with which tokens are sampled."""

    temperature: float
    top_k: int
    top_p: float

    def __str__(self) -> str:
        limits = [f"top-k {self.top_k}"] if self.top_k else []
        limits += [f"top-p {self.top_p:g}"] if self.top_p < 1 else []
        return ", ".join([f"temperature {self.temperature:g}", *(limits or ["no top-k or top-p"])])


class Ranking(StrEnum):
    """Which of several candidates is returned."""

    LIKELIHOOD = "likelihood"
    """The likeliest: the lowest nats of given and written tokens."""
    GIVEN = "given"
    """The one after which the given tokens are likeliest: the lowest nats of given tokens."""

    @property
    def description(self) -> str:
        """A cell for a table."""
        return {Ranking.LIKELIHOOD: "all tokens", Ranking.GIVEN: "given tokens"}[self]


class FeatureRatio(Record):
    """One feature: distance of generated to held-out music, divided by that of training to held-out music."""

    feature: str
    generated: float
    """Distance: Jensen-Shannon (0 to 1) for a histogram, Wasserstein in the feature's unit for a single value."""
    training: float
    ratio: float
    low: float
    """Lower end of the ratio's 95 % bootstrap interval."""
    high: float


class Repetition(Record):
    """Longest run of one token in samples spread evenly over the temperatures."""

    samples: int
    temperatures: tuple[float, ...]
    bound: float
    """99.9th percentile of the longest run of every real piece."""
    longest: int
    """Longest run of any sample."""
    share_above: float
    """Share of the samples above the bound."""
    share_above_by_temperature: tuple[float, ...]


class Memorisation(Record):
    """Longest transposition-invariant match with the training set, in successive onsets, in one view of a piece."""

    view: str
    bound: float
    """99th percentile of the held-out pieces' longest matches."""
    held_out_median: float
    held_out_longest: int
    median: float
    longest: int
    share_above: float
    """Share of the samples above the bound."""


class FaultRate(Record):
    """One kind of voice-leading fault, per 100 steps."""

    fault: str
    generated: float
    low: float
    """Lower end of the generated rate's 95 % bootstrap interval."""
    high: float
    training: float
    held_out: float
    real: float
    """Training and held-out music together. For `out_of_range` held-out alone: training music defines the range."""


class FormShare(Record):
    """One of the measures of `training.evaluation.form`: the share of all notes, or of all bars."""

    measure: str
    generated: float
    low: float
    """Lower end of the generated share's 95 % bootstrap interval over pieces."""
    high: float
    training: float
    held_out: float


class TwoSampleTest(Record):
    """How well a random forest tells real held-out pieces from others; see `training.evaluation.two_sample`."""

    pieces: int
    """Pieces of each set."""
    training: tuple[float, ...]
    """Accuracy against training pieces, for each seed."""
    generated: tuple[float, ...]
    """Accuracy against generated pieces of the same lengths and meters, for each seed."""


class Endings(Record):
    """Share of pieces that close; see `training.endings`."""

    pieces: int
    """Generated pieces of each length."""
    meters: tuple[str, ...]
    """Their meters, in turn."""
    by_bars: dict[int, float]
    """By the number of bars that was asked for."""
    open_length: float
    """Of pieces whose length the model chooses."""
    held_out: float
    """Of real pieces."""
    shorter: float
    """Share of the pieces of a requested length that end before it."""


class SweepPoint(Record):
    """One combination of sampling parameters, measured against the validation pieces."""

    sampling: Sampling
    ratios: dict[str, float]
    """By feature."""
    repetition_share: float
    """Share of the samples above the bound of repetition."""
    memorisation_share: float
    """Share of the samples above the bound of memorisation."""
    faults: dict[str, float]
    """Per 100 steps. Empty if there are no voices to measure."""
    excess: float
    """Mean over features and faults of log(generated value / real value), with negative logarithms counted as 0."""


class Sweep(Record):
    """The sweep over sampling parameters from which a bundle's defaults were chosen."""

    digest: str
    """Digest of the bundle that generated the samples. Differs from the evaluated one if defaults changed later."""
    samples: int
    """For each point."""
    points: tuple[SweepPoint, ...]
    best: Sampling
    """The point of the lowest excess among those with little repetition and memorisation."""


class EvaluationRecord(Record):
    """One bundle evaluated on one corpus."""

    format_version: Literal[2] = 2
    date: str
    """UTC, ISO 8601."""
    model: str
    digest: str
    """sha256 of the bundle's manifest, in hex."""
    tokenizer: str
    corpus: str
    pieces: dict[str, int]
    """Number of pieces by split."""
    split: str
    """The held-out split."""
    likelihood: Likelihood
    baselines: tuple[Baseline, ...]
    sampling: Sampling
    samples: int
    seed: int
    pieces_per_set: int
    """Pieces on each side of a distance."""
    ratios: tuple[FeatureRatio, ...]
    repetition: Repetition
    memorisation: tuple[Memorisation, ...]
    faults: tuple[FaultRate, ...]
    form: tuple[FormShare, ...] = ()
    two_sample: TwoSampleTest | None = None
    """None if there are too few pieces."""
    endings: Endings | None = None
    """None if they are not defined for the tokenizer."""
    remarks: tuple[str, ...]
    """What was not measured and why, and other remarks, a sentence each."""
    sweep: Sweep | None = None
