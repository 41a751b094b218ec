"""`python -m research comparison`: the piano recipe against other models and without its parts, at equal CPU time."""

from datetime import datetime
from pathlib import Path

import click

from research.options import folder_options, page_and_record
from training.commands.options import QUIET
from training.commands.train import exit_on_stop


@click.command()
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    help="Corpus that `prepare piano` wrote. Without it, only the page and its figure are made, from the record.",
)
@folder_options("comparison")
@QUIET
def comparison(corpus: Path | None, work: Path, docs: Path, quiet: bool) -> None:
    """Train the piano recipe, other models and the recipe without its parts, each for the same CPU time on one thread.

    An interrupted comparison is resumed.
    """
    from report import check_writable
    from research.comparison.page import IMAGE, REGION, draw, render
    from research.comparison.record import ComparisonRecord

    page, path = page_and_record(docs, "comparison")
    if corpus is None:
        record = ComparisonRecord.load(path)
    else:
        import torch

        from research.comparison.experiment import VARIANTS, Comparison

        def report(line: str) -> None:
            if not quiet:
                click.echo(f"{datetime.now():%H:%M:%S} {line}", err=True)

        for folder in (work, path.parent):
            check_writable(folder)
        torch.set_num_threads(1)
        with exit_on_stop(work):
            record = Comparison.load(VARIANTS).run(corpus, work, report)
        record.save(path)
    draw(record, docs / IMAGE)
    REGION.write(page, render(record))
    click.echo(f"wrote {page} and its figure")
