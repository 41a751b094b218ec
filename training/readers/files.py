"""Score files' bytes, within bounds."""

from pathlib import Path

from music.errors import InvalidScoreError
from training.readers.archive import MAX_FILE_BYTES


def read_bytes(path: Path) -> bytes:
    """The bytes of a score file.

    Raises:
        InvalidScoreError: the file is empty or larger than `MAX_FILE_BYTES`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if not data:
        raise InvalidScoreError("the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise InvalidScoreError(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB, the largest that is read")
    return data
