"""`python -m training export`: write a run, or another bundle, as a bundle."""

import shlex
from pathlib import Path

import click

from training.commands.options import OutputPath


def export_source(source: Path, out: Path, name: str, corpus: Path | None) -> None:
    """Export a run or a bundle, and print a summary.

    Args:
        source: run or bundle.
        out: directory of the new bundle.
        name: of the model.
        corpus: of the run, if it has moved, or of the bundle.

    Raises:
        click.UsageError: `source` is a bundle and there is no corpus.
        FantasiaError: see `export_run` and `export_bundle`.
    """
    from music.manifest import MANIFEST
    from training.export import export_bundle, export_run

    if (source / MANIFEST).exists():
        if corpus is None:
            raise click.UsageError("a bundle does not contain its corpus: add --corpus")
        bundle = export_bundle(source, out, name=name, corpus_path=corpus)
    else:
        bundle = export_run(source, out, name=name, corpus_path=corpus)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    click.echo(f"wrote {out}: {bundle.network.parameters:,} parameters, {size:.1f} MB, digest {bundle.digest}")
    for metric, value in sorted(bundle.metrics.items()):
        click.echo(f"{metric}: {value}")


def serve_commands(models: Path, name: str) -> str:
    """The commands that serve a model and request a piece from it."""
    return (
        f"serve the model:  .venv/bin/python -m server --models {shlex.quote(str(models))} --default-model {name}\n"
        f"request a piece:  .venv/bin/fantasia generate --model {name} --bars 8 --seed 1 -o {name}.mid"
    )


@click.command()
@click.argument("source", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", type=OutputPath(file_okay=False, path_type=Path), required=True, help="Bundle to write.")
@click.option("--name", help="Name of the model.  [default: the folder's name]")
@click.option(
    "--corpus", type=click.Path(path_type=Path), help="Corpus of the run, if it has moved. Required if RUN is a bundle."
)
def export(source: Path, out: Path, name: str | None, corpus: Path | None) -> None:
    """Write the best checkpoint of a run as a bundle that the server loads.

    RUN may also be a bundle, even of an older format: its network is then exported with the graphs of this version.
    """
    name = name or out.resolve().name
    export_source(source, out, name, corpus)
    click.echo(serve_commands(out.parent, name))
