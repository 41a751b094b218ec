"""Log lines for machines that people can read: logfmt, one line a record, on stderr."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final

_PLAIN: Final = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without space, quote, equals sign and backslash


class LogfmtFormatter(logging.Formatter):
    """Writes `time=... level=... logger=... msg=... key=value ...`.

    Keys and values come from the record's `fields`, given as `extra={"fields": {...}}`; an exception becomes
    `error` and `trace`. Values with spaces, quotes or line breaks are written as JSON strings, so that a
    record stays one line whatever a caller sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            fields["error"] = f"{type(error).__name__}: {error}"
            fields["trace"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in fields.items())


def log_to_stderr(level: str) -> None:
    """Send every record of `level` (such as `info`) and above to stderr, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogfmtFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return json.dumps(value).replace("\x7f", r"\u007f")  # the one control character that JSON leaves as it is
