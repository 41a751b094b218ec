"""What a bundle must reach to be shipped: bounds from a small TOML file, and the sentences for those it misses."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError, model_validator

from music.invalid import problems
from training.judge.errors import JudgeError
from training.judge.features import FEATURES
from training.judge.judgement import Judgement
from training.judge.voice_leading import FAULTS

DEFAULT: Final = "default"


class Thresholds(BaseModel):
    """Bounds, each the largest value that passes unless it says otherwise; what is left open is not asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    nats_per_note_step: NonNegativeFloat | None = None
    share_of_ngram_nats: NonNegativeFloat | None = None
    """Nats over those of the n-gram."""
    least_onset_accuracy: float | None = Field(default=None, ge=0, le=1)
    least_samples: int = Field(default=0, ge=0)
    """Samples below which nothing is judged."""
    collapse: NonNegativeFloat | None = None
    """Share of samples past the bound."""
    copying: NonNegativeFloat | None = None
    """The same, in every view."""
    ratio: NonNegativeFloat | None = None
    """Of every feature that `ratios` does not name."""
    ratios: dict[str, NonNegativeFloat] = {}
    faults: dict[str, NonNegativeFloat] = {}
    """Per 100 steps."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = {"ratios": [feature.name for feature in FEATURES], "faults": list(FAULTS)}
        for table, names in known.items():
            if unknown := sorted(set(getattr(self, table)) - set(names)):
                raise ValueError(
                    f"{table}: nothing called {', '.join(unknown)} is measured; known are {', '.join(names)}"
                )
        return self

    def failures(self, judgement: Judgement) -> list[str]:
        """A sentence for each bound that the judgement misses, or that it has nothing for."""
        return [
            *self._likelihood(judgement),
            *self._samples(judgement),
            *self._ratios(judgement),
            *self._faults(judgement),
        ]

    def _likelihood(self, judgement: Judgement) -> list[str]:
        likelihood = judgement.likelihood
        nats, failures = likelihood.nats_per_note_step, []
        if _past(nats, self.nats_per_note_step):
            failures.append(f"{nats:.4f} nats per note-step; at most {self.nats_per_note_step:g} pass")
        if self.share_of_ngram_nats is not None:
            for row in judgement.baselines:
                if row.nats_per_note_step is not None and nats > self.share_of_ngram_nats * row.nats_per_note_step:
                    failures.append(
                        f"{nats:.4f} nats per note-step are {nats / row.nats_per_note_step:.2f} of those of the "
                        f"{row.name} ({row.nats_per_note_step:.4f}); at most {self.share_of_ngram_nats:g} pass"
                    )
        if self.least_onset_accuracy is not None and (likelihood.onset_accuracy or 0.0) < self.least_onset_accuracy:
            failures.append(
                f"onset accuracy {likelihood.onset_accuracy or 0.0:.3f}; at least {self.least_onset_accuracy:g} passes"
            )
        return failures

    def _samples(self, judgement: Judgement) -> list[str]:
        failures = []
        if judgement.samples < self.least_samples:
            failures.append(f"judged on {judgement.samples} samples; at least {self.least_samples} are asked for")
        collapse = judgement.collapse
        if _past(collapse.share, self.collapse):
            failures.append(
                f"collapse: {collapse.share:.2%} of the samples repeat one token past {collapse.bound:.0f} times "
                f"(the longest {collapse.longest}); at most {self.collapse:.2%} pass"
            )
        failures += [
            f"copying ({row.view}): {row.share:.2%} of the samples share more than {row.bound:.0f} onsets in a row "
            f"with a training piece (the longest {row.longest}); at most {self.copying:.2%} pass"
            for row in judgement.copying
            if _past(row.share, self.copying)
        ]
        return failures

    def _ratios(self, judgement: Judgement) -> list[str]:
        found = {row.feature: row.ratio for row in judgement.ratios}
        return [
            *(f"{name}: there is a bound, but it was not measured" for name in self.ratios if name not in found),
            *(
                f"{name}: {ratio:.2f} times as far from real music as real music is; at most {limit:g} passes"
                for name, ratio in found.items()
                if _past(ratio, limit := self.ratios.get(name, self.ratio))
            ),
        ]

    def _faults(self, judgement: Judgement) -> list[str]:
        found = {row.fault: row for row in judgement.faults}
        failures = []
        for name, limit in self.faults.items():
            if name not in found:
                failures.append(f"{name}: there is a bound, but it was not measured")
            elif found[name].generated > limit:
                row = found[name]
                failures.append(
                    f"{name}: {row.generated:.2f} per 100 steps (real music {row.real:.2f}); at most {limit:g} passes"
                )
        return failures


def load_thresholds(model: str, path: Path | None = None) -> Thresholds:
    """Read a file of thresholds: the one given, else the model's own, else the default one.

    Raises:
        JudgeError: the file cannot be read, is no TOML, or names what is not measured.
    """
    folder = files("training").joinpath("gates")
    own = folder.joinpath(f"{model}.toml")
    source = path or (own if own.is_file() else folder.joinpath(f"{DEFAULT}.toml"))
    try:
        return Thresholds.model_validate(tomllib.loads(source.read_text()))
    except ValidationError as error:
        raise JudgeError(f"{source}: {problems(error, 'file')}") from error
    except (OSError, ValueError) as error:
        raise JudgeError(f"{source} holds no thresholds: {error}") from error


def _past(value: float, limit: float | None) -> bool:
    return limit is not None and not value <= limit
