"""`python -m training pipeline`: all steps from scores to a bundle."""

from pathlib import Path

import click

from training.commands.evaluate import evaluate
from training.commands.export import export_source, serve_commands
from training.commands.options import OutputPath, check_start, parse_overrides, training_options
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
    start: Path | None,
    device: str,
    threads: int,
    overrides: tuple[str, ...],
    replace: bool,
    previews: bool,
    quiet: bool,
) -> None:
    """Make a model from scores: prepare, train, export, evaluate. The same command resumes where it stopped.

    At the end it says whether the model predicts held-out pieces better than an n-gram, whether it copies training
    pieces, whether its pieces close, and how to serve it.

    SOURCE is as for `prepare`: a folder of scores, one file, `chorales` or `folk`. A corpus that exists is used again.
    Without SOURCE, too, the existing corpus is used.

    With --from the training starts from a bundle or a run and takes minutes; see `train`.

    Names, options and folders are checked before the first step.
    """
    from training.loop.hardware import resolve_device
    from training.preflight import check_job, plan_job

    check_start(start, config)
    resolve_device(device)
    job = plan_job(source, name, config, start, data=data, runs=runs, models=models)
    changes = parse_overrides(overrides)
    note = check_job(job, changes, replace=replace)
    if note is not None:
        click.echo(note)
    if not job.has_corpus:
        assert job.source is not None
        context.invoke(prepare, source=job.source, out=job.corpus, quiet=quiet)
    run_training(
        job.config,
        job.corpus,
        job.run,
        device=device,
        threads=threads,
        changes=changes,
        quiet=quiet,
        previews=previews,
        models=models,
        start=job.start,
    )
    export_source(job.run, job.bundle, name, job.corpus)
    split = _held_out_split(job.corpus)
    context.invoke(evaluate, bundle=job.bundle, corpus=job.corpus, split=split, threads=threads)
    _report_samples(job.bundle, job.corpus, split, threads)
    click.echo(f"\n{serve_commands(models, name)}")


def _report_samples(bundle: Path, corpus: Path, split: str, threads: int) -> None:
    """Print whether what the model generates is copied, and whether it closes."""
    from music.bundle import load_bundle
    from training.corpus.store import Corpus, Split
    from training.evaluation.short_report import short_report

    loaded = load_bundle(bundle)
    report = short_report(loaded, Corpus.load(corpus), Split[split.upper()], threads=threads)
    for line in report.lines(loaded.tokenizer.name):
        click.echo(line)


def _held_out_split(path: Path) -> str:
    """The split to evaluate on: a corpus without test pieces must not fail at the end."""
    from training.corpus.store import Corpus, Split

    return "test" if Corpus.load(path).count(Split.TEST) else "valid"
