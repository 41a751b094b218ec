"""Trains the variants of a configuration, one after the other."""

import tomllib
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from research.ablation.record import AblationRecord, Curve
from training.config import Config, load_config
from training.loop.checkpoint import BEST, load_checkpoint
from training.loop.history import HISTORY, read_history
from training.run import train

VARIANTS: Final = Path(__file__).with_name("variants.toml")


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


class Ablation(BaseModel):
    """Variants of one configuration. The others are compared with the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: dict[str, str]
    """Changes that all variants share."""
    variants: tuple[Variant, ...]

    @classmethod
    def load(cls, path: Path = VARIANTS) -> "Ablation":
        """Read the variants from TOML."""
        return cls.model_validate(tomllib.loads(path.read_text()))

    def config(self, variant: Variant, name: str = "chorales") -> Config:
        """The variant's configuration.

        Raises:
            ConfigurationError: a change has an unknown name or a value out of range.
        """
        return load_config(name, self.base | variant.changes)

    def run(self, corpus: Path, work: Path, *, device: str, progress: bool) -> AblationRecord:
        """Train every variant in its own folder of `work`. An interrupted ablation is resumed.

        Raises:
            ConfigurationError: a change has an unknown name or a value out of range.
            CorpusError: the corpus cannot be read, or holds nothing for the configuration's tokenizer.
            CheckpointError: a folder holds another training, or a checkpoint cannot be written.
        """
        curves = []
        for variant, config in [(variant, self.config(variant)) for variant in self.variants]:
            folder = work / variant.folder
            train(config, corpus, folder, device=device, progress=progress)
            weights = load_checkpoint(folder / BEST)["model"]
            parameters = sum(weight.numel() for weight in weights.values())
            epochs = read_history(folder / HISTORY)
            curves.append(Curve.from_history(variant.name, variant.difference, parameters, epochs))
        return AblationRecord(curves=tuple(curves))
