"""Thresholds that a bundle must meet before it is shipped, read from a TOML file."""

import tomllib
from importlib.resources import files
from pathlib import Path
from statistics import mean
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError, model_validator

from music.errors import problems
from training.errors import TrainingError
from training.evaluation.features import FEATURES
from training.evaluation.form import MEASURES
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
    max_nats_per_note: NonNegativeFloat | None = None
    max_share_of_ngram_nats: NonNegativeFloat | None = None
    """Nats divided by those of the n-gram."""
    min_onset_accuracy: float | None = Field(default=None, ge=0, le=1)
    min_onset_accuracy_by_ngram: NonNegativeFloat | None = None
    """Onset accuracy divided by that of the n-gram."""
    min_pitch_accuracy: float | None = Field(default=None, ge=0, le=1)
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
    max_two_sample_accuracy: float | None = Field(default=None, ge=0, le=1)
    """Mean accuracy at which held-out and generated pieces are told apart."""
    min_form: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Share of notes or bars, by the measures of `training.evaluation.form`."""
    min_endings: float | None = Field(default=None, ge=0, le=1)
    """Share of the pieces of a requested length that close, for every length."""
    min_open_endings: float | None = Field(default=None, ge=0, le=1)
    """The same of pieces whose length the model chooses."""
    max_shorter: float | None = Field(default=None, ge=0, le=1)
    """Share of the pieces of a requested length that end before it."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        known = {
            "max_ratios": [feature.name for feature in FEATURES],
            "max_faults": list(FAULTS),
            "min_form": list(MEASURES),
        }
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
            *self._two_sample(evaluation),
            *self._form(evaluation),
            *self._endings(evaluation),
        ]

    def _likelihood(self, evaluation: EvaluationRecord) -> list[str]:
        likelihood = evaluation.likelihood
        nats, failures = likelihood.nats_per_note_step, []
        if _above(nats, self.max_nats_per_note_step):
            failures.append(f"{nats:.4f} nats per note-step; the maximum is {self.max_nats_per_note_step:g}")
        if self.max_nats_per_note is not None:
            if likelihood.nats_per_note is None:
                failures.append(f"max_nats_per_note: {_NOT_MEASURED}")
            elif _above(likelihood.nats_per_note, self.max_nats_per_note):
                failures.append(
                    f"{likelihood.nats_per_note:.3f} nats per note; the maximum is {self.max_nats_per_note:g}"
                )
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
        if self.min_onset_accuracy_by_ngram is not None:
            for row in evaluation.baselines:
                needed = self.min_onset_accuracy_by_ngram * (row.onset_accuracy or 0.0)
                if row.nats_per_note_step is not None and (likelihood.onset_accuracy or 0.0) < needed:
                    failures.append(
                        f"onset accuracy {likelihood.onset_accuracy or 0.0:.3f}; the minimum is "
                        f"{self.min_onset_accuracy_by_ngram:g} times that of the {row.name} ({row.onset_accuracy:.3f})"
                    )
        if self.min_pitch_accuracy is not None and (likelihood.pitch_accuracy or 0.0) < self.min_pitch_accuracy:
            failures.append(
                f"accuracy of which note begins {likelihood.pitch_accuracy or 0.0:.3f}; the minimum is "
                f"{self.min_pitch_accuracy:g}"
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

    def _two_sample(self, evaluation: EvaluationRecord) -> list[str]:
        if self.max_two_sample_accuracy is None:
            return []
        if evaluation.two_sample is None:
            return [f"max_two_sample_accuracy: {_NOT_MEASURED}"]
        generated, training = mean(evaluation.two_sample.generated), mean(evaluation.two_sample.training)
        if generated <= self.max_two_sample_accuracy:
            return []
        return [
            f"two-sample test: {generated:.1%} of held-out and generated pieces are told apart (held-out and training "
            f"pieces {training:.1%}); the maximum is {self.max_two_sample_accuracy:.1%}"
        ]

    def _form(self, evaluation: EvaluationRecord) -> list[str]:
        shares = {row.measure: row for row in evaluation.form}
        return [
            f"{name}: {shares[name].generated:.1%} (real music {shares[name].held_out:.1%}); the minimum is {limit:.1%}"
            if name in shares
            else f"{name}: {_NOT_MEASURED}"
            for name, limit in self.min_form.items()
            if name not in shares or shares[name].generated < limit
        ]

    def _endings(self, evaluation: EvaluationRecord) -> list[str]:
        measured = evaluation.endings
        if measured is None:
            bounds = {
                "min_endings": self.min_endings,
                "min_open_endings": self.min_open_endings,
                "max_shorter": self.max_shorter,
            }
            return [f"{name}: {_NOT_MEASURED}" for name, bound in bounds.items() if bound is not None]
        shares = [(f"of {bars} bars", share, self.min_endings) for bars, share in measured.by_bars.items()]
        shares.append(("of the model's own length", measured.open_length, self.min_open_endings))
        shorter = []
        if _above(measured.shorter, self.max_shorter):
            shorter = [
                f"endings: {measured.shorter:.1%} of the pieces end before their length; the maximum is "
                f"{self.max_shorter:.1%}"
            ]
        return shorter + [
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
