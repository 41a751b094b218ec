"""Makes tokens for callers: `python -m server.tokens`."""

import secrets
import sys

import click

from server.access.callers import parse_name, token_entry
from server.errors import SettingError

_PREFIX = "fantasia_"
"""Lets people and secret scanners see what a token is for."""
_BYTES = 32


def new_token() -> str:
    """A token with 32 random bytes."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Make tokens for callers, and their entries in the callers file (--callers-file)."""


@main.command()
@click.argument("name")
def new(name: str) -> None:
    """Print a new token for the caller NAME on standard output, and its entry for the callers file on standard error.

    The token is shown only now: the file has its hash.
    """
    try:
        parse_name(name)
    except SettingError as error:
        raise click.BadParameter(f"{error}.", param_hint="NAME") from error
    token = new_token()
    click.echo(token)
    key = name if "." not in name else f'"{name}"'
    click.echo(f'[callers.{key}]\ntokens = ["{token_entry(token)}"]', err=True)


@main.command(name="hash")
def hash_() -> None:
    """Print the hash of the token on standard input, as the callers file has it. Use long random tokens only."""
    token = sys.stdin.readline().strip()
    if not token:
        raise click.ClickException("standard input has no token")
    click.echo(token_entry(token))


if __name__ == "__main__":
    main(prog_name="python -m server.tokens")
