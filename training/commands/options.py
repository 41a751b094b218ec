"""Options that several commands share."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


class OutputPath(click.Path):
    """A path to write to, with the parameters of `click.Path`.

    It refuses `-`: this usually means standard output, but would become a file of that name.
    """

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, if it is not `-`."""
        if os.fspath(value) == "-":
            self.fail("- means standard output, which is not supported here; write ./- for a file called -", param, ctx)
        return super().convert(value, param, ctx)


OVERRIDES: Final = click.option(
    "--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Override a value of the configuration."
)


DEVICE: Final = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Device to train on."
)
THREADS: Final = click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 for automatic.")
QUIET: Final = click.option("--quiet", is_flag=True, help="Show no progress bar.")


FROM: Final = click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path),
    help="Bundle or run to start from: its tokenizer and network, and a schedule for small corpora.",
)
PREVIEWS: Final = click.option(
    "--previews/--no-previews",
    default=True,
    help="Write a sampled piece into RUN/previews after an epoch, at most one a minute.",
)


def training_options(command: _Command) -> _Command:
    """Add the options of a command that trains: `--from`, `--device`, `--threads`, `--set`, `--previews`, `--quiet`."""
    for option in (QUIET, PREVIEWS, OVERRIDES, THREADS, DEVICE, FROM):
        command = option(command)
    return command


def check_start(start: Path | None, config: str | None) -> None:
    """Check that a configuration and a model to start from are not given together.

    Raises:
        click.UsageError: they are.
    """
    if start is not None and config is not None:
        raise click.UsageError(
            f"--from takes tokenizer and network from {start} and chooses the schedule: leave out the configuration "
            f"{config}, and change the schedule with --set training.KEY=VALUE"
        )


def parse_overrides(overrides: Iterable[str]) -> dict[str, str]:
    """Values of `--set` by `table.key`, as `training.config.load_config` takes them.

    Raises:
        click.BadParameter: one has no equals sign.
    """
    changes = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise click.BadParameter(f"{override!r} is not TABLE.KEY=VALUE", param_hint="--set")
        changes[key] = value
    return changes
