"""Options of the research commands, and the page and the record that a command writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from training.commands.options import OutputPath
from training.errors import CorpusError

_Command = TypeVar("_Command", bound=Callable[..., Any])


def folder_options(name: str) -> Callable[[_Command], _Command]:
    """Add `--work` and `--docs` to the command of this name."""
    folder = OutputPath(file_okay=False, path_type=Path)

    def add(command: _Command) -> _Command:
        docs_help = f"Folder of {name}.md and of its record, {name}/results.json."
        command = click.option("--docs", type=folder, default=Path("docs"), help=docs_help)(command)
        return click.option("--work", type=folder, default=Path("runs") / name, help="Folder for the trainings.")(
            command
        )

    return add


def page_and_record(docs: Path, name: str) -> tuple[Path, Path]:
    """The page and the record of a command. Call this before the long training.

    Raises:
        CorpusError: the page does not exist.
    """
    page = docs / f"{name}.md"
    if not page.is_file():
        raise CorpusError(f"there is no page {page} to write the results into")
    return page, docs / name / "results.json"
