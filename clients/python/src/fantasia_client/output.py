"""Output of the `fantasia` command: a file, or standard output for `-`."""

import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from fantasia_client.formats import replace_file

_MIN_FREE_BYTES = 64 * 1024
"""Free disk space that is checked before the server is called. Pieces and piano rolls are seldom larger."""


@dataclass(frozen=True, slots=True)
class Output:
    """A destination for bytes.

    Args:
        path: path of the file.
        is_stdout: write to standard output and ignore the path.
    """

    path: Path
    is_stdout: bool = False

    @property
    def shares_stdout(self) -> bool:
        """Whether this writes to standard output: `-`, or a path such as `/dev/stdout`."""
        if self.is_stdout:
            return True
        try:
            return os.path.samestat(self.path.stat(), os.fstat(sys.stdout.fileno()))
        except (OSError, ValueError, AttributeError):  # the file does not exist, or standard output has no descriptor
            return False

    def same_file(self, other: "Output") -> bool:
        """Whether both are the same file, even with different names."""
        if self.shares_stdout and other.shares_stdout:
            return True
        if self.is_stdout or other.is_stdout:
            return False
        with suppress(OSError):  # one of them does not exist
            return self.path.samefile(other.path)
        return os.path.realpath(self.path) == os.path.realpath(other.path)

    def numbered(self, number: int) -> "Output":
        """The same destination with a number in the name of the file: `a-1.mid`."""
        return Output(self.path.with_stem(f"{self.path.stem}-{number}"), self.is_stdout)

    def check_writable(self) -> None:
        """Check that this can be written, without a change on disk.

        Raises:
            click.UsageError: it is standard output, and standard output is a terminal.
            click.ClickException: it cannot be written; the message gives the reason.
        """
        if self.is_stdout:
            if sys.stdout is None:
                raise self._failure("it is closed")
            if sys.stdout.isatty():
                raise click.UsageError(
                    "- writes bytes to standard output, but standard output is a terminal: redirect it, or name a file."
                )
            return
        try:
            existed = self.path.exists()
            if existed and not self.path.is_file() and not self.path.is_dir():
                return  # a pipe or a device: opening it could block or have an effect
            self.path.open("ab").close()
            if not existed:
                Path(os.path.realpath(self.path)).unlink()  # the target, if the path is a dangling link
            # The free space is checked in the file's folder. If the folder cannot be written, the file still may.
            with (
                suppress(PermissionError),
                tempfile.TemporaryFile(dir=Path(os.path.realpath(self.path)).parent) as file,
            ):
                file.write(bytes(_MIN_FREE_BYTES))
        except OSError as error:
            raise self._failure(error.strerror or str(error)) from error

    def write(self, data: bytes) -> None:
        """Write the bytes. An existing file is replaced. If this fails, it is unchanged, and no new file appears.

        Raises:
            BrokenPipeError: the reader of standard output has closed it.
            click.ClickException: it cannot be written; the message gives the reason.
        """
        try:
            if self.is_stdout:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                replace_file(self.path, data)
        except OSError as error:
            if self.is_stdout and isinstance(error, BrokenPipeError):
                raise
            raise self._failure(error.strerror or str(error)) from error

    def _failure(self, reason: str) -> click.ClickException:
        return click.ClickException(f"cannot write {self}: {reason}")

    def __str__(self) -> str:
        return "standard output" if self.is_stdout else str(self.path)


def output_option(_context: click.Context, _option: click.Parameter, value: str | None) -> Output | None:
    """Callback of an option: `-` is standard output, and `./-` is a file of that name."""
    return None if value is None else Output(Path(value), is_stdout=value == "-")
