"""Thresholds that a bundle must meet before it is shipped, read from a TOML file."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError, model_validator

from music.errors import problems
from training.errors import TrainingError
from training.evaluation.features import FEATURES
from training.evaluation.record import EvaluationRecord
from training.evaluation.voice_leading import FAULTS

DEFAULT: Final = "default"
_NOT_MEASURED: Final = "there is a threshold, but it was not measured"


class ThresholdsError(TrainingError):
    """A file of thresholds cannot be read, or names something that is not measured."""


class Thresholds(BaseModel):
    """Bounds. The bound itself passes. A bound that is not set is not checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_nats_per_note_step: NonNegativeFloat | None = None
    max_share_of_ngram_nats: NonNegativeFloat | None = None
    """Nats divided by those of the n-gram."""
    min_onset_accuracy: float | None = Field(default=None, ge=0, le=1)
    min_samples: int = Field(default=0, ge=0)
    max_repetition: NonNegativeFloat | None = None
    """Share of the samples above the bound of repetition."""
    max_memorisation: NonNegativeFloat | None = None
    """Share of the samples above the bound of memorisation, in every view."""
    max_ratio: NonNegativeFloat | None = None
    """For every feature that `max_ratios` does not name."""
    max_ratios: dict[str, NonNegativeFloat] = {}
    max_faults: dict[str, NonNegativeFloat] = {}
    """Per 100 steps."""
    min_endings: float | None = Field(default=None, ge=0, le=1)
    """Share of the pieces of a requested length that close, for every length."""
    min_open_endings: float | None = Field(default=None, ge=0, le=1)
    """The same of pieces whose length the model chooses."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        known = {"max_ratios": [feature.name for feature in FEATURES], "max_faults": list(FAULTS)}
        for table, names in known.items():
            if unknown := sorted(set(getattr(self, table)) - set(names)):
                raise ValueError(f"{table}: {', '.join(unknown)} is not measured; known are {', '.join(names)}")
        return self

    def failures(self, evaluation: EvaluationRecord) -> list[str]:
        """A sentence for each bound that the evaluation misses or for which it has no value."""
        return [
            *self._likelihood(evaluation),
            *self._samples(evaluation),
            *self._ratios(evaluation),
            *self._faults(evaluation),
            *self._endings(evaluation),
        ]

    def _likelihood(self, evaluation: EvaluationRecord) -> list[str]:
        likelihood = evaluation.likelihood
        nats, failures = likelihood.nats_per_note_step, []
        if _above(nats, self.max_nats_per_note_step):
            failures.append(f"{nats:.4f} nats per note-step; the maximum is {self.max_nats_per_note_step:g}")
        if self.max_share_of_ngram_nats is not None:
            for row in evaluation.baselines:
                if row.nats_per_note_step is not None and nats > self.max_share_of_ngram_nats * row.nats_per_note_step:
                    failures.append(
                        f"{nats:.4f} nats per note-step, {nats / row.nats_per_note_step:.2f} times those of the "
                        f"{row.name} ({row.nats_per_note_step:.4f}); the maximum is {self.max_share_of_ngram_nats:g}"
                    )
        if self.min_onset_accuracy is not None and (likelihood.onset_accuracy or 0.0) < self.min_onset_accuracy:
            failures.append(
                f"onset accuracy {likelihood.onset_accuracy or 0.0:.3f}; the minimum is {self.min_onset_accuracy:g}"
            )
        return failures

    def _samples(self, evaluation: EvaluationRecord) -> list[str]:
        failures = []
        if evaluation.samples < self.min_samples:
            failures.append(f"evaluated on {evaluation.samples} samples; the minimum is {self.min_samples}")
        repetition = evaluation.repetition
        if _above(repetition.share_above, self.max_repetition):
            failures.append(
                f"repetition: {repetition.share_above:.2%} of the samples repeat one token more than "
                f"{repetition.bound:.0f} times (at most {repetition.longest}); the maximum is {self.max_repetition:.2%}"
            )
        failures += [
            f"memorisation ({row.view}): {row.share_above:.2%} of the samples share more than {row.bound:.0f} onsets "
            f"in a row with a training piece (at most {row.longest}); the maximum is {self.max_memorisation:.2%}"
            for row in evaluation.memorisation
            if _above(row.share_above, self.max_memorisation)
        ]
        return failures

    def _ratios(self, evaluation: EvaluationRecord) -> list[str]:
        ratios = {row.feature: row.ratio for row in evaluation.ratios}
        return [
            *(
                f"{name}: there is a threshold, but it was not measured"
                for name in self.max_ratios
                if name not in ratios
            ),
            *(
                f"{name}: distance to held-out music {ratio:.2f} times that of training music; the maximum is {limit:g}"
                for name, ratio in ratios.items()
                if _above(ratio, limit := self.max_ratios.get(name, self.max_ratio))
            ),
        ]

    def _faults(self, evaluation: EvaluationRecord) -> list[str]:
        rates = {row.fault: row for row in evaluation.faults}
        failures = []
        for name, limit in self.max_faults.items():
            if name not in rates:
                failures.append(f"{name}: {_NOT_MEASURED}")
            elif rates[name].generated > limit:
                row = rates[name]
                failures.append(
                    f"{name}: {row.generated:.2f} per 100 steps (real music {row.real:.2f}); the maximum is {limit:g}"
                )
        return failures

    def _endings(self, evaluation: EvaluationRecord) -> list[str]:
        measured = evaluation.endings
        if measured is None:
            bounds = {"min_endings": self.min_endings, "min_open_endings": self.min_open_endings}
            return [f"{name}: {_NOT_MEASURED}" for name, bound in bounds.items() if bound is not None]
        shares = [(f"of {bars} bars", share, self.min_endings) for bars, share in measured.by_bars.items()]
        shares.append(("of the model's own length", measured.open_length, self.min_open_endings))
        return [
            f"endings: {share:.1%} of the pieces {which} close (real music {measured.held_out:.1%}); "
            f"the minimum is {bound:.1%}"
            for which, share, bound in shares
            if bound is not None and share < bound
        ]


def load_thresholds(model: str, path: Path | None = None) -> Thresholds:
    """Read the given file, or else the model's own file in `training/thresholds`, or else the default file there.

    Raises:
        ThresholdsError: the file cannot be read, is not TOML, or names something that is not measured.
    """
    folder = files("training").joinpath("thresholds")
    own = folder.joinpath(f"{model}.toml")
    source = path or (own if own.is_file() else folder.joinpath(f"{DEFAULT}.toml"))
    try:
        return Thresholds.model_validate(tomllib.loads(source.read_text()))
    except ValidationError as error:
        raise ThresholdsError(f"{source}: {problems(error, 'file')}") from error
    except (OSError, ValueError) as error:
        raise ThresholdsError(f"{source} is not a readable file of thresholds: {error}") from error


def _above(value: float, limit: float | None) -> bool:
    return limit is not None and not value <= limit  # NaN is above every limit
