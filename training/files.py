"""Files that are whole or not there."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

_TRIAL_BYTES: Final = 1 << 16


def check_writable(folder: Path) -> None:
    """Make a folder, and sure that files can be written to it, before work whose result goes there.

    Raises:
        OSError: it cannot be made, or no file in it, as on a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as trial:
        trial.write(bytes(_TRIAL_BYTES))
        trial.flush()
        os.fsync(trial.fileno())  # some file systems notice only here that they are full


def replace_file(path: Path, data: bytes) -> None:
    """Write beside `path`, wait for the disk, then rename: whoever reads finds the old bytes or the new ones.

    Raises:
        OSError: it cannot be written, as on a full disk; the file is as it was.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a rename that reaches the disk before the bytes would leave an empty file
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
