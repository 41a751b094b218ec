"""`python -m bench.scale`: measure, print, record."""

from pathlib import Path
from typing import Any, get_args

import click

from bench.options import parse_name
from bench.scale.measure import ScaleOptions, run_scale
from bench.scale.page import as_text, write_page
from bench.scale.record import SCALE_RESULTS, Balancer
from fantasia_client import FantasiaClientError
from music.errors import FantasiaError
from report import check_writable


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--models", type=click.Path(path_type=Path), default=ScaleOptions.models, help="Bundle to serve.")
@click.option(
    "--balancers",
    type=click.Choice(get_args(Balancer)),
    multiple=True,
    default=ScaleOptions.balancers,
    help="Who spreads the calls: the client over a DNS name, or Envoy. May be given twice.",
)
@click.option(
    "--replicas",
    type=click.IntRange(2, 32),
    default=ScaleOptions.replicas,
    help="Number of replicas before one joins.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1, max=1000),
    default=ScaleOptions.rate,
    help="Calls a second beside join, rollout and crash.",
)
@click.option(
    "--connection-age-seconds",
    type=click.FloatRange(min=1, max=3600),
    default=ScaleOptions.connection_age_seconds,
    help="Maximum age of a connection.",
)
@click.option(
    "--join-seconds",
    type=click.FloatRange(min=1, max=3600),
    default=ScaleOptions.join_seconds,
    help="How long calls are counted after a replica joined.",
)
@click.option(
    "--throughput-seconds",
    type=click.FloatRange(min=1, max=3600),
    default=ScaleOptions.throughput_seconds,
    help="Approximate duration of the throughput measurements of each balancer.",
)
@click.option("--record", callback=parse_name, help="Write bench/results/scale/NAME.json.", metavar="NAME")
@click.option(
    "--render",
    type=click.Path(path_type=Path),
    metavar="PAGE",
    help="Measure nothing: write the recorded results into PAGE.",
)
def main(record: str | None, render: Path | None, **chosen: Any) -> None:
    """Run several replicas on loopback addresses: throughput, skew, a rolling update and a crash under load.

    The exit code is 1 if a call failed, a piece differs, or a replica's calls deviate by more than 10 % from the mean.
    """
    try:
        if render:
            write_page(render)
            return
        if record:
            check_writable(SCALE_RESULTS)
        found = run_scale(ScaleOptions(**{**chosen, "balancers": tuple(chosen["balancers"])}))
        click.echo(as_text(found))
        if record:
            found.save(SCALE_RESULTS / f"{record}.json")
    except (FantasiaError, FantasiaClientError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if problems := list(found.problems()):
        raise click.ClickException("; ".join(problems))


if __name__ == "__main__":
    main(prog_name="python -m bench.scale")
