"""`python -m research ablation`: what each part of the shipped recipe contributes."""

from pathlib import Path

import click

from research.options import folder_options, page_and_record
from training.commands.options import QUIET, THREADS
from training.commands.train import exit_on_stop


@click.command()
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    help="Corpus that `prepare chorales` wrote. Without it, only the page and its figure are made, from the record.",
)
@folder_options("ablation")
@THREADS
@QUIET
def ablation(corpus: Path | None, work: Path, docs: Path, threads: int, quiet: bool) -> None:
    """Train the chorales' recipe with one part left out at a time and record the results.

    An interrupted ablation is resumed.
    """
    from report import check_writable
    from research.ablation.page import IMAGE, REGION, draw, render
    from research.ablation.record import AblationRecord

    page, path = page_and_record(docs, "ablation")
    if corpus is None:
        record = AblationRecord.load(path)
    else:
        from research.ablation.experiment import VARIANTS, Ablation
        from training.loop.hardware import resolve_device, set_threads

        for folder in (work, path.parent):
            check_writable(folder)
        variants = Ablation.load(VARIANTS)
        set_threads(threads, variants.config(variants.variants[0]))
        with exit_on_stop(work):
            record = variants.run(corpus, work, device=resolve_device(), progress=not quiet)
        record.save(path)
    draw(record, docs / IMAGE)
    REGION.write(page, render(record))
    click.echo(f"wrote {page} and its figure")
