"""Trains the variants of a configuration, one after the other."""

from pathlib import Path
from typing import Final

from research.ablation.record import AblationRecord, Curve
from research.variants import Variants
from training.loop.checkpoint import BEST, load_checkpoint
from training.loop.history import HISTORY, read_history
from training.run import train

VARIANTS: Final = Path(__file__).with_name("variants.toml")


class Ablation(Variants):
    """Variants of one configuration, each trained for its number of epochs."""

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
