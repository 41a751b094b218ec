"""How the commands that train end when a signal stops them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def interruptible(folder: Path, then: str = "") -> Iterator[None]:
    """Say where a training that was stopped has got to and how it goes on, and exit as a signal makes a program exit.

    Args:
        folder: where it is saved.
        then: more lines for one that has saved what it has reached.
    """
    from training.errors import StoppedError

    try:
        yield
    except StoppedError as stopped:
        click.echo(f"{stopped}; what it has reached is saved in {folder}\ngo on:  the same command{then}", err=True)
        raise SystemExit(128 + stopped.signal) from None
    except KeyboardInterrupt:
        click.echo(
            f"stopped at once: what came after the last checkpoint in {folder} is lost, and the same command goes on "
            "from there",
            err=True,
        )
        raise SystemExit(128 + signal.SIGINT) from None
