"""The `fantasia` command."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from fantasia_client.address import DEFAULT_SERVER, checked_server
from fantasia_client.client import Client
from fantasia_client.connection import DEFAULT_TIMEOUT_SECONDS, TLS
from fantasia_client.errors import DeadlineExceededError, FantasiaClientError, ServerUnavailableError
from fantasia_client.health import Health
from fantasia_client.meter import Meter
from fantasia_client.output import Output, output_option
from fantasia_client.piece import Piece
from fantasia_client.report import describe, report
from fantasia_client.sampling import Sampling
from fantasia_client.settings import MIN_TIMEOUT_SECONDS
from fantasia_client.version import VERSION

_EXPLAIN_SECONDS = 2.0
"""How long it may take to find out why a server cannot be reached, after a wait that was in vain."""


class _Interrupted(click.ClickException):
    """Ctrl-C, with the exit code that shells give it: 128 and the number of the signal."""

    exit_code = 130


class _Commands(click.Group):
    """Ends with a sentence on stderr and exit code 1 where a call fails (click: 2 for wrong usage)."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FantasiaClientError as error:
            raise click.ClickException(_explained(error, ctx.obj)) from error
        except KeyboardInterrupt as error:
            raise _Interrupted("interrupted") from error
        except BrokenPipeError:
            raise  # click ends without a word: the reader has gone
        except OSError as error:
            if error.filename is not None:
                raise
            # Of what is still in the buffer, Python would complain once more as it exits.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
            raise click.ClickException(f"cannot write standard output: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class _Target:
    """What the options before the command's name say."""

    server: str
    timeout_seconds: float
    wait: bool
    tls: TLS | None

    def connect(self) -> Client:
        return Client(self.server, timeout_seconds=self.timeout_seconds, wait_for_ready=self.wait, tls=self.tls)


def _explained(error: FantasiaClientError, target: _Target | None) -> str:
    """The error's sentence; where `--wait` waited for nothing, with the reason that the server cannot be reached."""
    if isinstance(error, DeadlineExceededError) and target is not None and target.wait:
        try:
            with Client(target.server, tls=target.tls) as client:
                client.health(timeout_seconds=_EXPLAIN_SECONDS)
        except ServerUnavailableError as reason:
            return f"{error}: {reason}"
        except FantasiaClientError:
            pass
    return str(error)


def _address(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return checked_server(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def _timeout(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if not value >= MIN_TIMEOUT_SECONDS:
        raise click.BadParameter(f"{value} is not {MIN_TIMEOUT_SECONDS} or above.")
    return value


def _meter(_context: click.Context, _option: click.Parameter, value: str | None) -> Meter | None:
    try:
        return None if value is None else Meter.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 it failed (one sentence on stderr says why), 2 wrong usage, 130 interrupted.",
)
@click.version_option(VERSION, prog_name="fantasia")
@click.option(
    "--server",
    metavar="HOST:PORT",
    envvar="FANTASIA_SERVER",
    callback=_address,
    default=DEFAULT_SERVER,
    show_default=True,
    show_envvar=True,
    help="Address of the server; port 50051 where none is given.",
)
@click.option(
    "--timeout",
    type=float,
    callback=_timeout,
    metavar="SECONDS",
    default=DEFAULT_TIMEOUT_SECONDS,
    show_default=True,
    help="Longest wait for the answer, in seconds, 0.01 or more; inf for no limit.",
)
@click.option("--wait", is_flag=True, help="If the server is not up yet, wait for it within the timeout.")
@click.option("--tls", is_flag=True, help="Encrypt the connection.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="PEM file of the authorities to trust; implies --tls.",
)
@click.pass_context
def main(context: click.Context, server: str, timeout: float, wait: bool, tls: bool, ca: Path | None) -> None:
    """Ask a Fantasia server for music."""
    try:
        trust = TLS.from_files(ca) if ca else TLS() if tls else None
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{error}.", param_hint="--ca") from error
    context.obj = _Target(server, timeout, wait, trust)


@main.command()
@click.option("--bars", type=int, help="Length in bars.")
@click.option("--steps", type=int, help="Length in steps of the model's grid.")
@click.option("--seconds", type=float, help="Length in seconds.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    help="Seed of the random stream: the same request and seed give the same bytes.",
)
@click.option("--model", help="Name of the model, as `fantasia models` lists it.")
@click.option("--temperature", type=float, help="Divides the logits: below 1 more predictable, above 1 less.")
@click.option("--top-k", type=int, help="Only the k likeliest tokens may be drawn; 0 for no limit.")
@click.option("--top-p", type=float, help="Only the likeliest tokens whose probabilities sum to this; 1: all.")
@click.option("--tempo", type=float, metavar="BPM", help="Quarter notes a minute.")
@click.option("--program", type=int, help="General MIDI program of every voice, 0 to 127.")
@click.option("--meter", callback=_meter, metavar="N/D", help="Time signature, such as 3/4.")
@click.option(
    "-o",
    "--output",
    callback=output_option,
    metavar="FILE",
    help="MIDI file to write; an existing file is replaced. - for standard output.",
)
@click.option(
    "--plot",
    callback=output_option,
    metavar="FILE",
    help="Draw a piano roll into this PNG, SVG or PDF file; - for a PNG on standard output. Needs matplotlib.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all of the answer but the MIDI bytes as JSON.")
@click.pass_obj
def generate(
    target: _Target,
    *,
    bars: int | None,
    steps: int | None,
    seconds: float | None,
    seed: int | None,
    model: str | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    tempo: float | None,
    program: int | None,
    meter: Meter | None,
    output: Output | None,
    plot: Output | None,
    as_json: bool,
) -> None:
    """Ask the server for one piece.

    The model decides what is not given, the length included: ask for a length.

    Example: fantasia generate --bars 8 --seed 7 -o a.mid --plot a.png
    """
    lengths = {"--bars": bars, "--steps": steps, "--seconds": seconds}
    if sum(value is not None for value in lengths.values()) > 1:
        raise click.UsageError(f"Give one of {', '.join(lengths)}, and no more.")
    if not (output or plot or as_json):
        raise click.UsageError("Say what to do with the piece: -o FILE, --plot FILE or --json.")
    if output and plot and output.same_file(plot):
        raise click.UsageError("-o and --plot name the same file.")
    places = [place for place in (output, plot) if place]
    shared = any(place.shares_stdout for place in places)
    if shared and as_json:
        raise click.UsageError("--json writes to standard output too: give -o or --plot a file.")
    # All that can go wrong here goes wrong before the server has worked for nothing.
    draw = _plotter(plot) if plot else None
    for place in places:
        place.check()
    with target.connect() as client:
        piece = client.generate(
            bars=bars,
            steps=steps,
            seconds=seconds,
            seed=seed,
            model=model,
            sampling=Sampling(temperature, top_k, top_p),
            tempo_bpm=tempo,
            program=program,
            meter=meter,
        )
    if output:
        output.write(piece.midi)
    if plot and draw:
        plot.write(draw(piece))
    if as_json:
        files = {"output": output and str(output), "plot": plot and str(plot)}
        click.echo(json.dumps(files | piece.to_dict(), indent=2))
    else:
        click.echo(report(piece, output, plot), err=shared)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_obj
def models(target: _Target, as_json: bool) -> None:
    """List the models that the server has loaded, the default one first."""
    with target.connect() as client:
        loaded = client.list_models()
    if as_json:
        marked = [{"default": index == 0, **model.to_dict()} for index, model in enumerate(loaded)]
        click.echo(json.dumps(marked, indent=2))
    elif not loaded:
        click.echo("The server has loaded no model.")
    else:
        # By the contract the default comes first.
        click.echo("\n\n".join(describe(model, default=index == 0) for index, model in enumerate(loaded)))


@main.command()
@click.pass_obj
def health(target: _Target) -> None:
    """Say whether the server takes work; exit code 1 where it does not."""
    with target.connect() as client:
        state = client.health()
    if state is not Health.SERVING:
        raise click.ClickException(f"{target.server} does not take work: {state.value}")
    click.echo(f"{target.server} takes work: {state.value}")


def _plotter(place: Output) -> Callable[[Piece], bytes]:
    """What draws; an error where matplotlib is missing or the ending is unknown."""
    from fantasia_client import piano_roll  # here, because matplotlib is optional and slow to import

    suffix = ".png" if place.is_stdout else place.path.suffix.lower()
    if suffix not in piano_roll.SUFFIXES:
        endings = ", ".join(piano_roll.SUFFIXES)
        raise click.UsageError(f"--plot draws {endings} files, and {place} ends in none of these.")
    return partial(piano_roll.render_piano_roll, file_format=suffix[1:])
