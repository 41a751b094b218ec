"""`python -m training pipeline`: all steps from scores to a bundle."""

from pathlib import Path

import click

from training.commands.evaluate import evaluate
from training.commands.export import export_source, serve_commands
from training.commands.options import OutputPath, parse_overrides, training_options
from training.commands.prepare import prepare
from training.commands.train import run_training

_FOLDER = OutputPath(file_okay=False, path_type=Path)


@click.command()
@click.argument("source", required=False)
@click.option("--name", required=True, help="Name of the model.")
@click.option("--config", help="See `train`.  [default: auto for your scores]")
@click.option("--data", type=_FOLDER, default=Path("data"), help="Folder of the corpus, NAME.npz.")
@click.option("--runs", type=_FOLDER, default=Path("runs"), help="Folder of the run, NAME.")
@click.option("--models", type=_FOLDER, default=Path("models"), help="Folder of the bundle, NAME.")
@click.option("--replace", is_flag=True, help="Replace a bundle of that name that was trained elsewhere.")
@training_options
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
    """Make a model from scores: prepare, train, export, evaluate. The same command resumes where it stopped.

    SOURCE is as for `prepare`: a folder of scores, one file, `chorales` or `folk`. A corpus that exists is used again.
    Without SOURCE, too, the existing corpus is used.

    Names, options and folders are checked before the first step.
    """
    from training.loop.hardware import resolve_device
    from training.preflight import check_job, plan_job

    resolve_device(device)
    job = plan_job(source, name, config, data=data, runs=runs, models=models)
    changes = parse_overrides(overrides)
    note = check_job(job, changes, replace=replace)
    if note is not None:
        click.echo(note)
    if not job.has_corpus:
        assert job.source is not None
        context.invoke(prepare, source=job.source, out=job.corpus, quiet=quiet)
    run_training(
        job.config, job.corpus, job.run, device=device, threads=threads, changes=changes, quiet=quiet, models=models
    )
    export_source(job.run, job.bundle, name, job.corpus)
    context.invoke(evaluate, bundle=job.bundle, corpus=job.corpus, split=_held_out_split(job.corpus), threads=threads)
    click.echo(f"\n{serve_commands(models, name)}")


def _held_out_split(path: Path) -> str:
    """The split to evaluate on: a corpus without test pieces must not fail at the end."""
    from training.corpus.store import Corpus, Split

    return "test" if Corpus.load(path).count(Split.TEST) else "valid"
