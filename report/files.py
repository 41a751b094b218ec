"""Write files atomically."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

_TRIAL_BYTES: Final = 1 << 16


def check_writable(folder: Path) -> None:
    """Create a folder and check that files can be written to it. Call it before long work whose result goes there.

    Raises:
        OSError: the folder or a file in it cannot be written, for example because the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as trial:
        trial.write(bytes(_TRIAL_BYTES))
        trial.flush()
        os.fsync(trial.fileno())  # some file systems report a full disk only here


def replace_file(path: Path, data: bytes) -> None:
    """Write beside `path`, wait for the disk, then rename. A reader finds the old bytes or the new ones.

    Raises:
        OSError: the file cannot be written, for example because the disk is full. The old file is unchanged.
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
