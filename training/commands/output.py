"""Options that name what a command writes."""

import os
from typing import Any

import click


class OutputPath(click.Path):
    """A path to write to. `-` is refused: it stands for standard output elsewhere, and would be a file of that name.

    Takes what `click.Path` takes.
    """

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, if it is not `-`."""
        if os.fspath(value) == "-":
            self.fail("- means standard output, which is not supported here; write ./- for a file called -", param, ctx)
        return super().convert(value, param, ctx)
