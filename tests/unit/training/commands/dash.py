"""The check that a command does not take a dash for a file or a folder."""

from pathlib import Path

import click
from click.testing import CliRunner


def check_a_dash_is_refused(command: click.Command, arguments: list[str], folder: Path) -> None:
    """Run a command, whose last two arguments are an output option and a dash, in an empty folder."""
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[-2]}'" in result.output
    assert "- means standard output, which is not supported here" in " ".join(result.output.split())
    assert list(folder.iterdir()) == []
