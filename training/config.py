"""Training configurations: small named TOML files beside this module, or a file of one's own."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from music.invalid import problems
from music.manifest import MAX_STEPS, Defaults, Description
from music.tokenizers import TOKENIZERS
from training.errors import ConfigurationError

NOT_FOR_MUSIC: Final = {
    "smoke": "configuration smoke is a network for tests, far too small to learn music: what it writes, its losses and "
    "its accuracies say nothing of your scores. Train them with configuration auto."
}
"""Configurations that are not for a model to listen to, and what to say of each."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TokenizerConfig(_Table):
    """Which tokenizer, and the parameters that the corpus does not decide."""

    name: str
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> "TokenizerConfig":
        if self.name not in TOKENIZERS:
            raise ValueError(f"unknown tokenizer {self.name!r}; known are {', '.join(sorted(TOKENIZERS))}")
        return self


class NetworkConfig(_Table):
    """Shape of the LSTM. `hidden` and `embedding` are widths; dropouts are probabilities."""

    layers: int = Field(ge=1, le=8)
    hidden: int = Field(ge=8, le=4096)
    embedding: int = Field(ge=4, le=4096)
    skip: bool = Field(
        default=True, description="whether the outputs see the inputs and every layer, not the last alone"
    )
    told: tuple[Literal["sounding", "ages", "motions", "elapsed", "intervals", "before", "profile"], ...] = Field(
        default=("sounding", "ages", "motions", "elapsed", "intervals", "before", "profile"),
        description="what the network is told of the voices, where the tokenizer has any",
    )
    relative: bool = Field(default=True, description="whether it scores pitches by their interval from each voice too")
    dropout_input: float = Field(ge=0, lt=1)
    dropout_between: float = Field(ge=0, lt=1)
    dropout_output: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _hears(self) -> "NetworkConfig":
        if (self.told or self.relative) and "sounding" not in self.told:
            raise ValueError("told must name 'sounding', unless it is empty and relative is false")
        return self


class TrainingConfig(_Table):
    """How to train. A step sees `lanes` pieces side by side, `window` tokens of each."""

    epochs: int = Field(ge=1)
    patience: int = Field(ge=1, description="epochs without a better validation loss before stopping")
    lanes: int = Field(ge=1)
    window: int = Field(ge=2, description="tokens that gradients flow back through")
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    gradient_clip: float = Field(gt=0)
    warmup_epochs: float = Field(ge=0)
    average: float = Field(default=0.0, ge=0, lt=1, description="what the moving average of the weights keeps a step")
    calibrate: bool = Field(
        default=False, description="whether the logits are scaled on the validation pieces at the end"
    )
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="of the rate after the warm-up")
    transpose: tuple[int, int] = Field(description="least and greatest transposition, in semitones")
    unknown_meter: float = Field(ge=0, le=1, description="share of pieces heard without their bar lines")
    seed: int = Field(ge=0, lt=2**31)

    @model_validator(mode="after")
    def _ordered(self) -> "TrainingConfig":
        low, high = self.transpose
        if not -24 <= low <= 0 <= high <= 24:
            raise ValueError(
                f"transpose must be [low, high] with -24 <= low <= 0 <= high <= 24, not {list(self.transpose)}"
            )
        return self


class BundleConfig(_Table, Defaults):
    """What the bundle tells the server: defaults for what a caller leaves open, and its limits."""

    description: Description
    max_steps: int = Field(default=4096, ge=1, le=MAX_STEPS)


class Config(_Table):
    """One training run, whole."""

    tokenizer: TokenizerConfig
    network: NetworkConfig
    training: TrainingConfig
    bundle: BundleConfig


def named_configs() -> list[str]:
    """Names of the configurations that come with Fantasia."""
    folder = files("training").joinpath("configs")
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load_config(name: str, overrides: dict[str, str] | None = None) -> Config:
    """Read a named configuration or a TOML file; `overrides` maps `table.key` to a TOML value.

    Raises:
        ConfigurationError: there is no such configuration, or a value is unknown or out of range.
    """
    if name in named_configs():
        text = files("training").joinpath("configs", f"{name}.toml").read_text()
    elif Path(name).is_file():
        text = Path(name).read_text()
    else:
        raise ConfigurationError(
            f"no configuration {name!r}: known are {', '.join(named_configs())}, or give a .toml file"
        )
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: not TOML: {error}") from error
    return config_of(tables, name, overrides)


def config_of(tables: dict[str, Any], name: str, overrides: dict[str, str] | None = None) -> Config:
    """The configuration that tables describe, as they stand in a file called `name`.

    Raises:
        ConfigurationError: a value is unknown or out of range.
    """
    try:
        for key, value in (overrides or {}).items():
            *path, last = key.split(".")
            table = tables
            for part in path:
                table = table.setdefault(part, {})
            table[last] = tomllib.loads(f"value = {value}")["value"]
        return Config.model_validate(tables)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: an override is not TOML: {error}") from error
    except (AttributeError, TypeError) as error:
        raise ConfigurationError(f"{name}: an override names no table: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{name}: {problems(error)}") from error
