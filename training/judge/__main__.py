"""`python -m training.judge`: what has been recorded, and the page that shows it."""

from pathlib import Path

import click

from music.bundle import load_bundle
from music.errors import FantasiaError
from training.judge.judgement import load_judgement
from training.judge.page import RESULTS, render


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Show what `python -m training evaluate --record` kept."""


@main.command("render")
@click.argument("page", type=click.Path(path_type=Path))
def render_page(page: Path) -> None:
    """Write the recorded judgements into PAGE, between its marks, and draw their figures."""
    try:
        render(page)
    except FantasiaError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.pass_context
def current(context: click.Context, bundle: Path) -> None:
    """Succeed if the judgement recorded for BUNDLE is of this very bundle, sampling study included."""
    try:
        loaded = load_bundle(bundle)
        path = RESULTS / f"{loaded.name}.json"
        judgement = load_judgement(path) if path.exists() else None
    except FantasiaError as error:
        raise click.ClickException(str(error)) from error
    same = judgement is not None and judgement.digest == loaded.digest and judgement.sweep is not None
    click.echo(f"{loaded.name}: {'judged already' if same else 'not judged yet'}")
    context.exit(0 if same else 1)


if __name__ == "__main__":
    main(prog_name="python -m training.judge")
