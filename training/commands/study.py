"""`python -m training study`: what each part of the recipe is worth."""

from pathlib import Path

import click

from training.commands.interruption import interruptible
from training.commands.output import OutputPath


@click.command()
@click.option("--corpus", type=click.Path(path_type=Path), help="What `prepare chorales` wrote; without it, draw only.")
@click.option(
    "--work",
    type=OutputPath(file_okay=False, path_type=Path),
    default=Path("runs/study"),
    help="Folder for the trainings.",
)
@click.option(
    "--docs",
    type=OutputPath(file_okay=False, path_type=Path),
    default=Path("docs"),
    help="Folder of the page that shows the results.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 chooses by size and machine.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def study(corpus: Path | None, work: Path, docs: Path, threads: int, quiet: bool) -> None:
    """Train the chorales' recipe with one thing left out at a time, and write down what came of it.

    A study that was killed goes on where it stopped.
    """
    from training.errors import CorpusError
    from training.study.figures import draw
    from training.study.page import FIGURE, render
    from training.study.results import Results

    recorded = docs / "study" / "results.json"
    page = docs / "study.md"
    if not page.is_file():  # before the training, which takes long
        raise CorpusError(f"there is no page {page} to write the results into")
    if corpus is None:
        results = Results.load(recorded)
    else:
        from training.devices import chosen_device
        from training.files import check_writable
        from training.study.experiment import run_study
        from training.study.variants import load_study
        from training.threads import use_threads

        for folder in (work, recorded.parent):
            check_writable(folder)
        plan = load_study()
        use_threads(threads, plan.config(plan.variants[0]))
        with interruptible(work):
            results = run_study(plan, corpus, work, device=chosen_device(), progress=not quiet)
        results.save(recorded)
    draw(results, docs / FIGURE)
    render(page, results)
    click.echo(f"wrote {page} and its figure")
