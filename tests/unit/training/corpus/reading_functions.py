"""What reading processes are given to do: functions of a module, as they must find them by name."""

import os
import signal
import time
from pathlib import Path

from music.errors import InvalidScoreError
from training.corpus.sources import Source

MEBIBYTE = 1 << 20


def read_text(source: Source) -> str:
    """Do what the file says: `kill`, `exit`, `fill`, `hog`, `sleep`, `fail`; otherwise give its text."""
    text = source.path.read_text()
    match text:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(0)
        case "fill":
            held = []
            while True:
                held.append(bytearray(16 * MEBIBYTE))
        case "hog":
            try:
                _ = bytearray(10**15)
            except MemoryError as error:
                raise InvalidScoreError("MemoryError: ") from error
        case "sleep":
            time.sleep(3600)
        case "fail":
            raise InvalidScoreError("no note in it")
        case "defect":
            raise KeyError("pitch")
    return text


def kill_once(source: Source) -> str:
    """Die at the first attempt at the file called `unlucky`, and leave a mark beside it."""
    mark = source.path.with_suffix(".mark")
    if source.name == "unlucky" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return source.name


def process_id(source: Source) -> int:
    """The process that read it."""
    return os.getpid()


def sources_of(folder: Path, contents: dict[str, str]) -> list[Source]:
    """A file for each name."""
    for name, text in contents.items():
        (folder / name).write_text(text)
    return [Source(name, folder / name) for name in contents]
