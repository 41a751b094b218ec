"""`python -m bench.torture`: do it, print, record."""

from pathlib import Path
from typing import Any

import click

from bench.options import parse_name
from bench.torture.page import as_text, write_page
from bench.torture.record import TORTURE_RESULTS
from bench.torture.run import TortureOptions, run_torture
from bench.torture.scenarios import SCENARIOS
from bench.torture.stopping import NAME as STOPPING
from fantasia_client import FantasiaClientError
from music.errors import FantasiaError
from report import check_writable


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--models", type=click.Path(path_type=Path), default=TortureOptions.models, help="Folder of bundles.")
@click.option(
    "--scenarios",
    type=click.Choice((*SCENARIOS, STOPPING)),
    multiple=True,
    help="What happens to the server; may be given several times. Without it, everything.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1, max=3600),
    default=TortureOptions.seconds,
    help="Duration of each scenario.",
)
@click.option(
    "--soak-minutes",
    type=click.FloatRange(min=0, max=10_000),
    default=TortureOptions.soak_minutes,
    help="Duration of the soak after the scenarios.",
)
@click.option("--restarts", type=click.IntRange(0, 1000), default=TortureOptions.restarts, help="Restarts in the soak.")
@click.option("--record", callback=parse_name, help="Write bench/results/torture/NAME.json.", metavar="NAME")
@click.option(
    "--render",
    type=click.Path(path_type=Path),
    metavar="PAGE",
    help="Do nothing: write the recorded results into PAGE.",
)
def main(record: str | None, render: Path | None, **chosen: Any) -> None:
    """Do to a server what it must survive, while callers that behave well check every piece that they get.

    The exit code is 1 if a call failed, a piece differs, or the server keeps memory, threads, descriptors or slots.
    """
    try:
        if render:
            write_page(render)
            return
        if record:
            check_writable(TORTURE_RESULTS)
        found = run_torture(TortureOptions(**{**chosen, "scenarios": tuple(chosen["scenarios"])}))
        click.echo(as_text(found))
        if record:
            found.save(TORTURE_RESULTS / f"{record}.json")
    except (FantasiaError, FantasiaClientError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if problems := list(found.problems()):
        raise click.ClickException("; ".join(problems))


if __name__ == "__main__":
    main(prog_name="python -m bench.torture")
