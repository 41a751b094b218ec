"""Trainings of one configuration with some changes each, from a TOML file."""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from training.config import Config, load_config


class Variant(BaseModel):
    """One training: changes to a configuration, written as for `--set`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    difference: str
    """What differs from the first variant, in words."""
    changes: dict[str, str]

    @property
    def folder(self) -> str:
        """The name as a folder's name."""
        return self.name.replace(" ", "-")


class Variants(BaseModel):
    """Variants of one configuration. The others are compared with the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    configuration: str
    base: dict[str, str]
    """Changes that all variants share."""
    variants: tuple[Variant, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the variants from TOML."""
        return cls.model_validate(tomllib.loads(path.read_text()))

    def config(self, variant: Variant) -> Config:
        """The variant's configuration.

        Raises:
            ConfigurationError: a change has an unknown name or a value out of range.
        """
        return load_config(self.configuration, self.base | variant.changes)
