"""Training configurations: named TOML files in `training/configs`, or a TOML file of the user."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from music.errors import problems
from music.manifest import MAX_STEPS, Defaults, Description
from music.tokenizers import TOKENIZERS
from training.errors import ConfigurationError

TEST_CONFIGS: Final = {
    "smoke": "configuration smoke is a network for tests. It is too small to learn music, and its losses and "
    "accuracies do not describe your scores. Use configuration auto for them."
}
"""Configurations that are not made to be listened to, with the warning for each."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    old_keys: ClassVar[dict[str, str]] = {}
    """New names of keys by their old ones, which bundles, checkpoints and TOML files of earlier versions have."""

    @classmethod
    def current_keys(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values by their current keys.

        Raises:
            ValueError: a value is given under both its names.
        """
        current: dict[str, Any] = {}
        for key, value in values.items():
            name = cls.old_keys.get(key, key)
            if name in current:
                raise ValueError(f"{name} is given twice: {key} is its old name")
            current[name] = value
        return current

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, values: Any) -> Any:
        return cls.current_keys(values) if isinstance(values, Mapping) else values


class TokenizerConfig(_Table):
    """The tokenizer and those of its parameters that do not depend on the corpus."""

    name: str
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> "TokenizerConfig":
        if self.name not in TOKENIZERS:
            raise ValueError(f"unknown tokenizer {self.name!r}; known are {', '.join(sorted(TOKENIZERS))}")
        return self


class NetworkConfig(_Table):
    """Shape of the LSTM. `hidden` and `embedding` are widths, dropouts are probabilities."""

    old_keys: ClassVar[dict[str, str]] = {"told": "voice_features", "relative": "interval_output"}

    layers: int = Field(ge=1, le=8)
    hidden: int = Field(ge=8, le=4096)
    embedding: int = Field(ge=4, le=4096)
    skip: bool = Field(
        default=True, description="whether the outputs see the inputs and all layers, not only the last layer"
    )
    voice_features: tuple[Literal["sounding", "ages", "motions", "elapsed", "intervals", "before", "profile"], ...] = (
        Field(
            default=("sounding", "ages", "motions", "elapsed", "intervals", "before", "profile"),
            description="features of the voices that the network sees, if the tokenizer has voices",
        )
    )
    interval_output: bool = Field(
        default=True,
        description="whether further outputs score pitches by their interval from each voice, or from the last notes",
    )
    length_input: bool = Field(
        default=False, description="whether the network sees how much of the piece is left, if that is known"
    )
    note_features: tuple[Literal["chord", "past", "sounding", "profile", "intervals", "durations", "match"], ...] = (
        Field(
            default=("chord", "past", "sounding", "profile", "intervals", "durations", "match"),
            description="what the network sees of the notes so far, if the tokenizer is `events`; empty for nothing",
        )
    )
    dropout_input: float = Field(ge=0, lt=1)
    dropout_between: float = Field(ge=0, lt=1)
    dropout_output: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _sees_sounding_pitches(self) -> "NetworkConfig":
        if (self.voice_features or self.interval_output) and "sounding" not in self.voice_features:
            raise ValueError("voice_features must contain 'sounding', unless it is empty and interval_output is false")
        return self


class TrainingConfig(_Table):
    """How to train. A step takes `batch_size` rows of pieces, `window` tokens of each."""

    old_keys: ClassVar[dict[str, str]] = {
        "lanes": "batch_size",
        "average": "ema_decay",
        "unknown_meter": "meter_dropout",
    }

    epochs: int = Field(ge=1)
    patience: int = Field(ge=1, description="epochs without a better validation loss before stopping")
    batch_size: int = Field(ge=1, description="rows of a TBPTT batch, for all processes together")
    window: int = Field(ge=2, description="tokens of a TBPTT window: gradients flow back so far")
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    gradient_clip: float = Field(gt=0)
    warmup_epochs: float = Field(ge=0)
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="decay per step of the moving average of the weights; 0 for none"
    )
    calibrate: bool = Field(
        default=False, description="whether the logits are scaled on the validation pieces at the end"
    )
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="of the rate after the warm-up")
    transpose: tuple[int, int] = Field(description="lowest and highest transposition, in semitones")
    meter_dropout: float = Field(ge=0, le=1, description="share of the pieces whose meter is hidden from the network")
    length_dropout: float = Field(
        default=0.5, ge=0, le=1, description="share of the pieces whose length is hidden from a network that sees it"
    )
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
    """What the bundle tells the server: limits, and defaults for what a request leaves open."""

    description: Description
    max_steps: int = Field(default=4096, ge=1, le=MAX_STEPS)
    closing_temperature: float = Field(
        default=1.0,
        ge=0.1,
        le=1,
        description="factor of the temperature in the last bar of a piece of a requested length, so that it closes",
    )


class Config(_Table):
    """The whole configuration of a run."""

    tokenizer: TokenizerConfig
    network: NetworkConfig
    training: TrainingConfig
    bundle: BundleConfig

    @model_validator(mode="after")
    def _closes_what_ends(self) -> "Config":
        if self.bundle.closing_temperature != 1 and not self.network.length_input:
            raise ValueError("bundle.closing_temperature must be 1 if network.length_input is false")
        return self


def named_configs() -> list[str]:
    """Names of the configurations that come with Fantasia."""
    folder = files("training").joinpath("configs")
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load_config(name: str, overrides: dict[str, str] | None = None) -> Config:
    """Read a named configuration or a TOML file.

    Args:
        name: of the configuration, or path of the file.
        overrides: TOML values by `table.key`, which replace those of the file.

    Raises:
        ConfigurationError: there is no such configuration, or a value is unknown or out of range.
    """
    if name in named_configs():
        text = files("training").joinpath("configs", f"{name}.toml").read_text()
    elif Path(name).is_file():
        text = Path(name).read_text()
    else:
        raise ConfigurationError(
            f"unknown configuration {name!r}: known are {', '.join(named_configs())}; or give a .toml file"
        )
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: not TOML: {error}") from error
    return parse_config(tables, name, overrides)


def parse_config(tables: dict[str, Any], name: str, overrides: dict[str, str] | None = None) -> Config:
    """The configuration in the tables of a TOML file.

    Args:
        tables: of the file.
        name: of the file, for error messages.
        overrides: TOML values by `table.key`, which replace those in `tables`.

    Raises:
        ConfigurationError: a value is unknown or out of range.
    """
    kinds: dict[str, type[_Table]] = {"network": NetworkConfig, "training": TrainingConfig}
    try:
        tables = {
            key: kinds[key].current_keys(table) if key in kinds and isinstance(table, dict) else table
            for key, table in tables.items()
        }
        for key, value in (overrides or {}).items():
            *path, last = key.split(".")
            table = tables
            for part in path:
                table = table.setdefault(part, {})
            if len(path) == 1 and path[0] in kinds:
                last = kinds[path[0]].old_keys.get(last, last)
            table[last] = tomllib.loads(f"value = {value}")["value"]
        return Config.model_validate(tables)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: an override is not TOML: {error}") from error
    except (AttributeError, TypeError) as error:
        raise ConfigurationError(f"{name}: an override names no table: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{name}: {problems(error)}") from error
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from error
