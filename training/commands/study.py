"""`python -m training study`: what each part of the recipe is worth."""

from pathlib import Path

import click


@click.command()
@click.option("--corpus", type=click.Path(path_type=Path), help="What `prepare chorales` wrote; without it, draw only.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/study"),
    help="Folder for the trainings.",
)
@click.option(
    "--docs",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs"),
    help="Folder of the page that shows the results.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 for one a core.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def study(corpus: Path | None, work: Path, docs: Path, threads: int, quiet: bool) -> None:
    """Train the chorales' recipe with one thing left out at a time, and write down what came of it.

    A study that was killed goes on where it stopped.
    """
    from training.study.figures import draw
    from training.study.page import FIGURE, render
    from training.study.results import Results

    recorded = docs / "study" / "results.json"
    if corpus is None:
        results = Results.load(recorded)
    else:
        from training.devices import chosen_device
        from training.study.experiment import run_study
        from training.study.variants import load_study

        device = chosen_device(threads=threads)
        results = run_study(load_study(), corpus, work, device=device, progress=not quiet)
        results.save(recorded)
    draw(results, docs / FIGURE)
    render(docs / "study.md", results)
    click.echo(f"wrote {docs / 'study.md'} and its figure")
