"""The trainings that a study compares."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from training.config import Config, load_config

VARIANTS = Path(__file__).with_name("variants.toml")


class Variant(BaseModel):
    """One training: overrides of a configuration, as `--set` takes them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    what: str
    """What is different, in words."""
    changes: dict[str, str]

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return self.name.replace(" ", "-")


class Study(BaseModel):
    """Variants of one configuration; the first is what the others are compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: dict[str, str]
    """Overrides that all of them share."""
    variants: tuple[Variant, ...]

    def config(self, variant: Variant, name: str = "chorales") -> Config:
        """The variant's configuration.

        Raises:
            ConfigurationError: a change names nothing, or a value is out of range.
        """
        return load_config(name, self.base | variant.changes)


def load_study(path: Path = VARIANTS) -> Study:
    """Read a study from TOML."""
    return Study.model_validate(tomllib.loads(path.read_text()))
