"""`python -m bench`: measure, print, record."""

from pathlib import Path
from typing import Any

import click

from bench.options import Options, model_options, parse_name, parse_parts, parse_widths
from bench.page import write_page
from bench.record import RESULTS
from bench.tables import as_text
from music.errors import FantasiaError
from report import check_writable

_COUNT = click.IntRange(min=1)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@model_options(provider=Options.provider)
@click.option(
    "--parts", callback=parse_parts, default=",".join(Options.parts), help="Parts to measure, separated by commas."
)
@click.option(
    "--widths",
    callback=parse_widths,
    default=",".join(map(str, Options.widths)),
    help="Batch sizes of the engine, separated by commas.",
)
@click.option(
    "--clients",
    callback=parse_widths,
    default=",".join(map(str, Options.clients)),
    help="Numbers of concurrent clients of the service, separated by commas.",
)
@click.option("--steps", type=_COUNT, default=Options.steps, help="Length of a piece in grid steps.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.0, min_open=True, max=1e6),
    default=Options.seconds,
    help="Approximate duration of all measurements; every one has at least 3 rounds.",
)
@click.option("--threads", type=_COUNT, default=Options.threads, help="CPU threads of one run of the model.")
@click.option("--record", callback=parse_name, help="Write bench/results/NAME.json.", metavar="NAME")
@click.option(
    "--render",
    type=click.Path(path_type=Path),
    metavar="PAGE",
    help="Measure nothing: write the recorded results into PAGE.",
)
def main(record: str | None, render: Path | None, **chosen: Any) -> None:
    """Compare engine, service and peers with a bare loop of the same model."""
    try:
        if render:
            write_page(render)
            return
        from bench.suite import run_suite  # needs ONNX Runtime, which rendering does not

        if record:
            check_writable(RESULTS)
        measured = run_suite(Options(**chosen))
        click.echo(as_text(measured), nl=False)
        if record:
            measured.save(RESULTS / f"{record}.json")
    except (FantasiaError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m bench")
