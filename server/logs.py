"""The server's log: one line per record, in logfmt or JSON, written to stderr by a thread."""

import json
import logging
import math
import os
import queue
import re
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal

LogFormat = Literal["logfmt", "json"]

_PLAIN: Final = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without space, quote, equals sign and backslash
_MAX_LINES: Final = 10_000
"""Maximum number of lines that wait to be written."""
_BATCH_SECONDS: Final = 0.02
_FLUSH_SECONDS: Final = 1.0


class LogfmtFormatter(logging.Formatter):
    """Formats a record as `time=... level=... logger=... msg=... key=value ...`.

    Keys and values come from the record's `fields`, given as `extra={"fields": {...}}`; an exception becomes `error`
    and `trace`. Values with spaces, quotes or line breaks are written as JSON strings, so that a record is always one
    line, whatever a caller sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of ASCII."""
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in _fields(record, self).items())


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object, with the keys of `LogfmtFormatter`.

    Finite numbers and booleans stay what they are; every other value is a string.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of ASCII."""
        return _json({key: _json_value(value) for key, value in _fields(record, self).items()})


class BackgroundHandler(logging.Handler):
    """Writes records to a file descriptor from a thread, so that a blocked reader does not block the server.

    If `_MAX_LINES` lines wait, further ones are dropped; a line says how many as soon as it can be written. The thread
    writes all waiting lines at once, at most 50 times a second, which costs no more CPU time than writing without a
    thread. The standard library's QueueListener writes line by line, which costs a quarter more, and waits without
    limit when it stops.

    Args:
        descriptor: a file descriptor that is open for writing.
        formatter: makes one line of a record.
    """

    def __init__(self, descriptor: int, formatter: logging.Formatter | None = None) -> None:
        super().__init__()
        self.setFormatter(formatter or LogfmtFormatter())
        self._descriptor = descriptor
        self._dropped = 0
        self._dropped_lock = threading.Lock()
        self._items: queue.SimpleQueue[str | threading.Event] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line, or drop it if too many wait."""
        if self._items.qsize() >= _MAX_LINES:
            with self._dropped_lock:  # not the handler's own, with which `logging` calls `flush`
                self._dropped += 1
        else:
            self._items.put(self.format(record))

    def flush(self) -> None:
        """Wait until all lines are written, for at most a second. `logging` calls this at exit."""
        written = threading.Event()
        self._items.put(written)
        written.wait(_FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            items = [self._items.get()]
            if isinstance(items[0], str):  # no flush waits: collect what follows soon
                time.sleep(_BATCH_SECONDS)
            with suppress(queue.Empty):
                while len(items) < _MAX_LINES:
                    items.append(self._items.get_nowait())
            lines = [item for item in items if isinstance(item, str)]
            if dropped := self._take_dropped():
                fields = {"name": __name__, "levelname": "WARNING", "msg": "log lines dropped"}
                record = logging.makeLogRecord({**fields, "fields": {"lines": dropped}})
                lines.append(self.format(record))
            self._write("".join(f"{line}\n" for line in lines).encode("ascii", "backslashreplace"))
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()

    def _take_dropped(self) -> int:
        with self._dropped_lock:
            dropped, self._dropped = self._dropped, 0
        return dropped

    def _write(self, data: bytes) -> None:
        # Not with sys.stderr: a thread that is blocked in it at exit would abort the process.
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another process has made the descriptor non-blocking
                time.sleep(_BATCH_SECONDS)
            except OSError:  # the reader is gone
                return


def log_to_stderr(level: str, log_format: LogFormat = "logfmt") -> None:
    """Send every record of `level` (such as `info`) and above to stderr, and nowhere else."""
    handler = BackgroundHandler(sys.stderr.fileno(), JsonFormatter() if log_format == "json" else LogfmtFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def flush_log() -> None:
    """Wait until the log is written, for at most a second."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def _fields(record: logging.LogRecord, formatter: logging.Formatter) -> dict[str, object]:
    """Keys and values of a record, in their order."""
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields: dict[str, object] = {
        "time": moment.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "msg": record.getMessage(),
        **getattr(record, "fields", {}),
    }
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        fields["error"] = f"{type(error).__name__}: {error}"
        fields["trace"] = formatter.formatException(record.exc_info)
    return fields


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value).replace("\x7f", r"\u007f")  # the one control character that JSON leaves as it is


def _json_value(value: object) -> object:
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
