"""`python -m training draw`: draw the network of a bundle."""

from pathlib import Path

import click

from training.commands.options import OutputPath


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--out", type=OutputPath(dir_okay=False, path_type=Path), required=True, help="Figure: .png or .svg.")
def draw(bundle: Path, out: Path) -> None:
    """Draw the network of a bundle from its ONNX graph. Each box is a node with its weights."""
    from training.drawing import draw_bundle
    from training.errors import ExportError

    if out.suffix not in (".png", ".svg"):
        raise ExportError(f"cannot draw {out}: its name must end in .png or .svg")
    draw_bundle(bundle, out)
    click.echo(f"wrote {out}")
