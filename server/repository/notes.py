"""Log lines about entries of the repository, each written once."""

import logging
from pathlib import Path

_log = logging.getLogger(__name__)


class Notes:
    """Writes what is wrong with entries of the repository into the log: once, until it changes."""

    def __init__(self) -> None:
        self._texts: dict[Path, str] = {}

    def write(self, path: Path, text: str) -> None:
        """Log a text about an entry, if the last one about it was another. An empty text says that all is well."""
        if text and self._texts.get(path) != text:
            _log.warning("repository", extra={"fields": {"path": path, "reason": text}})
        if text:
            self._texts[path] = text
        else:
            self._texts.pop(path, None)
