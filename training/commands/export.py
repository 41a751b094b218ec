"""`python -m training export`: a run as a bundle."""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Bundle to write.")
@click.option("--name", help="Name of the model.  [default: the folder's name]")
@click.option("--corpus", type=click.Path(path_type=Path), help="The run's corpus, if it has moved.")
def export(run: Path, out: Path, name: str | None, corpus: Path | None) -> None:
    """Write a run's best checkpoint as a bundle that the server loads."""
    from training.run import export_run

    bundle = export_run(run, out, name=name or out.name, corpus_path=corpus)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    click.echo(f"wrote {out}: {bundle.network.parameters:,} parameters, {size:.1f} MB, digest {bundle.digest}")
    for metric, value in sorted(bundle.metrics.items()):
        click.echo(f"{metric}: {value}")
    click.echo(f"next: python -m server --models {out.parent} --default-model {bundle.name}")
