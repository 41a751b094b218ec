"""Runs the trainings of a study one after another."""

from pathlib import Path

from training.checkpoint import BEST, load_checkpoint
from training.history import HISTORY, read_history
from training.run import train
from training.study.results import Curve, Results
from training.study.variants import Study


def run_study(study: Study, corpus_path: Path, work: Path, *, device: str, progress: bool) -> Results:
    """Train every variant in its own folder of `work`, or go on where a killed study stopped.

    Raises:
        ConfigurationError: a variant changes what there is not, or to a value out of range.
        CorpusError: the corpus cannot be read or holds nothing for the configuration's tokenizer.
        CheckpointError: a folder holds another training, or a checkpoint cannot be written.
    """
    curves = []
    for variant, config in [(variant, study.config(variant)) for variant in study.variants]:
        folder = work / variant.slug
        train(config, corpus_path, folder, device=device, progress=progress)
        weights = load_checkpoint(folder / BEST)["model"]
        parameters = sum(weight.numel() for weight in weights.values())
        curves.append(Curve.of(variant.name, variant.what, parameters, read_history(folder / HISTORY)))
    return Results(curves=tuple(curves))
