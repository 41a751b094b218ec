"""`python tools/install.py WHAT PIP-ARGUMENTS...`: install with pip and show how far it is, in a line a package.

Alone, pip says either nothing for minutes or hundreds of lines. On a terminal this keeps to one line; elsewhere, as in
a log, each package is a line of its own, and a long silence is broken every half minute.
"""

import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import IO, Final

_PACKAGE: Final = re.compile(r"(?:Collecting|Requirement already satisfied:|Obtaining|Processing) (\S+)")
_DOWNLOAD: Final = re.compile(r"\s+Downloading (\S+?)-(\S+?)-\S+ \((.+)\)")
_INSTALL: Final = re.compile(r"Installing collected packages: (.+)")
_CLEAR: Final = "\r\033[K"
_SILENCE_SECONDS: Final = 30
_LAST_LINES: Final = 20


class Progress:
    """One line on a terminal that is written over; lines elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._text = ""
        self._began = self._told = time.monotonic()

    @property
    def seconds(self) -> int:
        """Whole seconds since this was made."""
        return round(time.monotonic() - self._began)

    def show(self, text: str) -> None:
        """What is being done now."""
        self._text = text
        if self._terminal:
            self.tick()
        else:
            sys.stdout.write(f"  {text}\n")
            sys.stdout.flush()
        self._told = time.monotonic()

    def tick(self) -> None:
        """Time passes while nothing new happens."""
        if self._terminal:
            line = f"  {self._text} ({self.seconds} s)"
            sys.stdout.write(_CLEAR + line[: shutil.get_terminal_size().columns - 1])
        elif time.monotonic() - self._told >= _SILENCE_SECONDS:
            sys.stdout.write(f"  still at it after {self.seconds} s: {self._text}\n")
            self._told = time.monotonic()
        sys.stdout.flush()

    def end(self, text: str) -> None:
        """All is done, or has failed."""
        sys.stdout.write(f"{_CLEAR if self._terminal else ''}  {text}\n")
        sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Install; the exit code is pip's."""
    what, *options = arguments
    total = _requirements(options)
    sys.stdout.write(f"installing {what}" + (f": {total} packages" if total else "") + "\n")
    sys.stdout.flush()
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    progress = Progress()
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as pip:  # noqa: S603 -- pip
        assert pip.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(pip.stdout, lines), daemon=True).start()
        number = 0
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                progress.tick()
                continue
            if line is None:
                break
            last.append(line)
            number += bool(_PACKAGE.match(line))
            if text := _told(line, f"{number}/{total}" if total else str(number)):
                progress.show(text)
    if pip.returncode == 0:
        progress.end(f"done in {progress.seconds} s")
    else:
        progress.end(f"pip failed after {progress.seconds} s:")
        sys.stdout.writelines(f"  {line}" for line in last)
    return pip.returncode


def _read(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _requirements(options: list[str]) -> int:
    """How many packages the requirement files among pip's arguments name."""
    files = [Path(name) for option, name in pairwise(options) if option == "-r"]
    return sum(bool(re.match(r"[A-Za-z0-9]", line)) for file in files for line in file.read_text().splitlines())


def _told(line: str, count: str) -> str:
    """What a line of pip's is worth telling; nothing for most."""
    if found := _DOWNLOAD.match(line):
        return f"[{count}] downloading {found[1]} {found[2]}, {found[3]}"
    if found := _PACKAGE.match(line):
        name = Path(found[1]).name  # of a wheel in a folder, what it is called: one-1.0-py3-none-any.whl
        return f"[{count}] {'=='.join(name.split('-')[:2]) if name.endswith('.whl') else name}"
    if found := _INSTALL.match(line):
        return f"unpacking {len(found[1].split(', '))} packages"
    return ""


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # pip got it too
        sys.exit(130)
