"""Where the `fantasia` command writes: a file, or standard output for `-`."""

import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

_ROOM_BYTES = 64 * 1024
"""What a disk must have room for before the server is asked: pieces and piano rolls are seldom larger."""


@dataclass(frozen=True, slots=True)
class Output:
    """One place to write bytes to.

    Args:
        path: the file.
        is_stdout: it is standard output, and the path says nothing.
    """

    path: Path
    is_stdout: bool = False

    @property
    def shares_stdout(self) -> bool:
        """Whether what is written here ends where standard output does: `-`, or a path such as `/dev/stdout`."""
        if self.is_stdout:
            return True
        try:
            return os.path.samestat(self.path.stat(), os.fstat(sys.stdout.fileno()))
        except (OSError, ValueError, AttributeError):  # no such file yet; no descriptor behind standard output
            return False

    def same_file(self, other: "Output") -> bool:
        """Whether both are one file, by whatever name."""
        if self.shares_stdout and other.shares_stdout:
            return True
        if self.is_stdout or other.is_stdout:
            return False
        with suppress(OSError):  # one of them is not there yet
            return self.path.samefile(other.path)
        return os.path.realpath(self.path) == os.path.realpath(other.path)

    def check(self) -> None:
        """Find out whether this can be written, and leave no trace.

        Raises:
            click.UsageError: it is standard output, and that is a terminal.
            click.ClickException: it cannot be written; one sentence says why.
        """
        if self.is_stdout:
            if sys.stdout is None:
                raise self._failure("it is closed")
            if sys.stdout.isatty():
                raise click.UsageError(
                    "- writes bytes to standard output, which is a terminal: redirect it, or name a file."
                )
            return
        try:
            existed = self.path.exists()
            if existed and not self.path.is_file() and not self.path.is_dir():
                return  # a pipe or a device: to open it could block, or have an effect
            self.path.open("ab").close()
            if not existed:
                Path(os.path.realpath(self.path)).unlink()  # of a link that led nowhere, what it leads to
            # Beside the file: a folder that may not be written says nothing of the file's own room.
            with (
                suppress(PermissionError),
                tempfile.TemporaryFile(dir=Path(os.path.realpath(self.path)).parent) as file,
            ):
                file.write(bytes(_ROOM_BYTES))
        except OSError as error:
            raise self._failure(error.strerror or str(error)) from error

    def write(self, data: bytes) -> None:
        """Write the bytes, in place of what the file holds. A new file that fails half-way is removed.

        Raises:
            BrokenPipeError: the reader of standard output has gone.
            click.ClickException: it cannot be written; one sentence says why.
        """
        existed = not self.is_stdout and os.path.lexists(self.path)
        try:
            if self.is_stdout:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                self.path.write_bytes(data)
        except OSError as error:
            if self.is_stdout and isinstance(error, BrokenPipeError):
                raise
            if not self.is_stdout and not existed:
                with suppress(OSError):
                    self.path.unlink()
            raise self._failure(error.strerror or str(error)) from error

    def _failure(self, reason: str) -> click.ClickException:
        return click.ClickException(f"cannot write {self}: {reason}")

    def __str__(self) -> str:
        return "standard output" if self.is_stdout else str(self.path)


def output_option(_context: click.Context, _option: click.Parameter, value: str | None) -> Output | None:
    """An option's value as an `Output`: `-` is standard output, and `./-` a file of that name."""
    return None if value is None else Output(Path(value), is_stdout=value == "-")
