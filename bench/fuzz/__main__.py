"""`python -m bench.fuzz`: random requests, mutated MIDI files and random cancellations against a real server."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from bench.fuzz.reading import run_reading
from bench.fuzz.record import FUZZ_RESULTS, FuzzRecord, fuzz_lines, reading_lines, result_path
from bench.fuzz.run import FuzzOptions, replay, run_fuzz
from bench.fuzz.workloads import Workload
from bench.options import parse_name
from music.errors import FantasiaError
from report import check_writable

T = TypeVar("T")

_COUNT: Final = click.IntRange(min=1)
_SHORT: Final = "--max-candidate-steps=160"
"""Flag of the server that makes long pieces an error, since few of them would take most of the time."""
_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "show_default": True}
_models = click.option(
    "--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True, help="Folder of bundles."
)
_seed = click.option("--seed", type=_COUNT, default=1, show_default=True, help="Seed of all cases.")
_processes = click.option("--processes", type=_COUNT, default=2, show_default=True, help="Client processes.")
_server = click.option(
    "--server", multiple=True, metavar="FLAG", help="A flag of the server, such as --server=--slots=8."
)
_record = click.option("--record", callback=parse_name, metavar="NAME", help="Write bench/results/fuzz/NAME.json.")
_fresh = click.option("--fresh", is_flag=True, help="Do not continue a record that exists, but begin it anew.")


@click.group(context_settings=_SETTINGS)
def main() -> None:
    """Send what a server must survive, and check every answer. The exit code is 1 if something is wrong.

    With --record, requests, midi and cancels continue the record if it exists: they send the cases that it does not
    count yet. Ctrl-C ends a run after the cases under way, and what was found is recorded.
    """


def _workload(name: Workload, calls: int, help_text: str, flags: Sequence[str] = ()) -> None:
    """Add a command that sends a workload to a server with some flags."""

    @main.command(name, help=help_text, context_settings=_SETTINGS)
    @click.option("--calls", type=_COUNT, default=calls, help="Number of calls, those of a continued record included.")
    @click.option("--tasks", type=_COUNT, default=FuzzOptions.tasks, help="Calls of a process at a time.")
    @_models
    @_seed
    @_processes
    @_server
    @_record
    @_fresh
    @click.pass_context
    def command(
        context: click.Context, /, record: str | None, fresh: bool, server: tuple[str, ...], **chosen: Any
    ) -> None:
        def save(found: FuzzRecord) -> None:
            if record:
                found.save(result_path(record))

        def run() -> FuzzRecord:
            earlier = None
            if record:
                check_writable(FUZZ_RESULTS)
                path = result_path(record)
                earlier = FuzzRecord.load(path) if path.exists() and not fresh else None
            found = run_fuzz(FuzzOptions(workload=name, server=(*flags, *server), **chosen), earlier, save)
            save(found)
            return found

        found = _checked(run)
        click.echo("\n".join(fuzz_lines(found)))
        context.exit(0 if found.is_clean else 1)


_workload(
    "requests", 1_000_000, "Send random requests: mostly valid, wrong in some fields, or mutated bytes.", [_SHORT]
)
_workload("midi", 5_000, "Send mutated MIDI files as given pieces.", [_SHORT])
_workload("cancels", 100_000, "Send valid calls, and end most of them at random times.")


@main.command(context_settings=_SETTINGS)
@click.option("--files", type=_COUNT, default=100_000, help="Number of files.")
@_models
@_seed
@_processes
@_record
@click.pass_context
def read(context: click.Context, files: int, models: Path, seed: int, processes: int, record: str | None) -> None:
    """Read mutated MIDI files in process, with the limits of the server."""
    found = _checked(lambda: run_reading(files, models, seed, processes))
    if record:
        found.save(result_path(record))
    click.echo("\n".join(reading_lines(found)))
    context.exit(1 if found.fault_count else 0)


@main.command("replay", context_settings=_SETTINGS)
@click.argument("record", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_models
@_server
@click.pass_context
def replay_faults(context: click.Context, record: Path, models: Path, server: tuple[str, ...]) -> None:
    """Send the faults of a RECORD again, one at a time."""

    def run() -> bool:
        wrong = False
        for fault, outcome in replay(FuzzRecord.load(record).faults, models, server):
            click.echo(f"{fault.index} {fault.method} {outcome.code}: {'; '.join(outcome.problems) or 'as promised'}")
            wrong |= bool(outcome.problems)
        return wrong

    context.exit(1 if _checked(run) else 0)


def _checked(run: Callable[[], T]) -> T:
    try:
        return run()
    except (FantasiaError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m bench.fuzz")
