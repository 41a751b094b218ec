"""Files that are read again when they change."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from server.access.observer import AccessObserver
from server.errors import SettingError

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
MAX_FILE_BYTES: Final = 1 << 20

Contents = Mapping[str, bytes]
"""The bytes of each file, by the setting that names it."""


class WatchedFiles:
    """A group of files that belong together, such as a certificate and its key.

    The contents are compared, not the times: Kubernetes replaces a mounted Secret by moving a symbolic link. A change
    counts when the contents were the same twice, a second apart, because files are written one after the other.

    Args:
        name: what they are, for the log and the observer.
        paths: the path of each file, by the setting that names it.
        load: uses the contents, or raises SettingError and leaves everything as it was.
        observer: is told of reloads.

    Raises:
        SettingError: a file cannot be read, or `load` refuses the contents.
    """

    def __init__(
        self, name: str, paths: Mapping[str, Path], load: Callable[[Contents], None], observer: AccessObserver
    ) -> None:
        self._name = name
        self._paths = paths
        self._load = load
        self._observer = observer
        self._loaded = _read(paths)
        self._seen = self._loaded
        load(_checked(self._loaded))

    def poll(self) -> bool:
        """Read the files, and use them if they have changed. Return whether they are used anew."""
        found = _read(self._paths)
        before, self._seen = self._seen, found
        if found == self._loaded or found != before:
            return False
        self._loaded = found  # also if it is refused, so that it is reported once
        try:
            self._load(_checked(found))
        except SettingError as error:
            _log.warning(
                "files not reloaded: the earlier ones stay in use",
                extra={"fields": {"files": self._name, "reason": str(error)}},
            )
            self._observer.reloaded(self._name, ok=False)
            return False
        _log.info("files reloaded", extra={"fields": {"files": self._name}})
        self._observer.reloaded(self._name, ok=True)
        return True


async def poll_for_ever(
    groups: Sequence[WatchedFiles], also: Callable[[], None], seconds: float = POLL_SECONDS
) -> None:
    """Poll all groups every second, on a thread since a disk may be slow. Call `also` after each round."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        try:
            for group in groups:
                await asyncio.to_thread(group.poll)
            also()
        except Exception:  # a bug of ours must not end the reloading
            _log.exception("files could not be polled")


def _read(paths: Mapping[str, Path]) -> dict[str, bytes | str]:
    """The bytes of each file, or a sentence that says why it cannot be read."""
    return {setting: _bytes(setting, path) for setting, path in paths.items()}


def _bytes(setting: str, path: Path) -> bytes | str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        return f"{setting}: {path} cannot be read: {getattr(error, 'strerror', None) or error}"
    if len(data) > MAX_FILE_BYTES:
        return f"{setting}: {path} is larger than {MAX_FILE_BYTES:,} bytes"
    return data


def _checked(found: Mapping[str, bytes | str]) -> Contents:
    wrong = [each for each in found.values() if isinstance(each, str)]
    if wrong:
        raise SettingError("; ".join(wrong))
    return {setting: data for setting, data in found.items() if isinstance(data, bytes)}
