"""`python -m training export`: a run as a bundle, or a bundle with the graphs of this version."""

import shlex
from pathlib import Path

import click

from training.commands.output import OutputPath


def write_bundle(source: Path, out: Path, name: str, corpus: Path | None) -> None:
    """Write a run or a bundle as a bundle, and say what it is.

    Raises:
        click.UsageError: a bundle is given without its corpus.
        FantasiaError: as of `export_run` and `export_bundle`.
    """
    from music.manifest import MANIFEST
    from training.run import export_bundle, export_run

    if (source / MANIFEST).exists():
        if corpus is None:
            raise click.UsageError("a bundle does not hold its corpus: give --corpus")
        bundle = export_bundle(source, out, name=name, corpus_path=corpus)
    else:
        bundle = export_run(source, out, name=name, corpus_path=corpus)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    click.echo(f"wrote {out}: {bundle.network.parameters:,} parameters, {size:.1f} MB, digest {bundle.digest}")
    for metric, value in sorted(bundle.metrics.items()):
        click.echo(f"{metric}: {value}")


def how_to_hear(models: Path, name: str) -> str:
    """The commands that serve a model and ask it for a piece of a certain length."""
    return (
        f"serve it:          .venv/bin/python -m server --models {shlex.quote(str(models))} --default-model {name}\n"
        f"ask it for music:  .venv/bin/fantasia generate --model {name} --bars 8 --seed 1 -o {name}.mid"
    )


@click.command()
@click.argument("source", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", type=OutputPath(file_okay=False, path_type=Path), required=True, help="Bundle to write.")
@click.option("--name", help="Name of the model.  [default: the folder's name]")
@click.option("--corpus", type=click.Path(path_type=Path), help="The run's corpus, if it has moved; a bundle's.")
def export(source: Path, out: Path, name: str | None, corpus: Path | None) -> None:
    """Write a run's best checkpoint as a bundle that the server loads.

    RUN may be a bundle, too, even one of an older format: its network is then exported with the graphs of this version.
    """
    name = name or out.resolve().name
    write_bundle(source, out, name, corpus)
    click.echo(how_to_hear(out.parent, name))
