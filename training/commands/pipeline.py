"""`python -m training pipeline`: from scores to a bundle, every step after the other."""

from pathlib import Path

import click

from training.commands.evaluate import evaluate
from training.commands.export import how_to_hear, write_bundle
from training.commands.output import OutputPath
from training.commands.overrides import parsed
from training.commands.prepare import prepare
from training.commands.train import run_training

_FOLDER = OutputPath(file_okay=False, path_type=Path)


@click.command()
@click.argument("source", required=False)
@click.option("--name", required=True, help="Name of the model.")
@click.option("--config", help="As of `train`.  [default: auto for your scores]")
@click.option("--data", type=_FOLDER, default=Path("data"), help="Folder for what is read: NAME.npz.")
@click.option("--runs", type=_FOLDER, default=Path("runs"), help="Folder for the training: NAME.")
@click.option("--models", type=_FOLDER, default=Path("models"), help="Folder for the bundle: NAME.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to train.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 chooses by size and machine.")
@click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Change the configuration.")
@click.option("--replace", is_flag=True, help="Replace a bundle of that name that was trained elsewhere.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def pipeline(
    context: click.Context,
    source: str | None,
    name: str,
    config: str | None,
    data: Path,
    runs: Path,
    models: Path,
    device: str,
    threads: int,
    overrides: tuple[str, ...],
    replace: bool,
    quiet: bool,
) -> None:
    """Make a model from scores: prepare, train, export, evaluate. The same command goes on where it stopped.

    SOURCE is as of `prepare`: a folder of scores, one file, `chorales` or `folk`. Scores that were read before are not
    read again, and without SOURCE they are taken as they are.

    Names, options, folders and the scores' folder are checked before the first step.
    """
    from training.devices import chosen_device
    from training.preflight import check, planned

    chosen_device(device)
    job = planned(source, name, config, data=data, runs=runs, models=models)
    changes = parsed(overrides)
    remark = check(job, changes, replace=replace)
    if remark is not None:
        click.echo(remark)
    if not job.has_corpus:
        assert job.source is not None
        context.invoke(prepare, source=job.source, out=job.corpus, quiet=quiet)
    run_training(
        job.config, job.corpus, job.run, device=device, threads=threads, changes=changes, quiet=quiet, models=models
    )
    write_bundle(job.run, job.bundle, name, job.corpus)
    context.invoke(evaluate, bundle=job.bundle, corpus=job.corpus, split=_held_out(job.corpus), threads=threads)
    click.echo(f"\n{how_to_hear(models, name)}")


def _held_out(path: Path) -> str:
    """The side of the split to judge the model on: a split without test pieces is no reason to fail at the end."""
    from training.corpus import Corpus, Split

    return "test" if Corpus.load(path).count(Split.TEST) else "valid"
