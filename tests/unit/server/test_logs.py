import fcntl
import json
import logging
import math
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import server.logs
from server.logs import BackgroundHandler, JsonFormatter, LogfmtFormatter


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "server.app", "levelname": "INFO", "levelno": 20, "msg": message, **extra})


def test_a_record_is_keys_and_values() -> None:
    line = LogfmtFormatter().format(record("serving", created=0.25, fields={"address": "[::1]:50051", "n": 3}))

    assert line == "time=1970-01-01T00:00:00.250Z level=info logger=server.app msg=serving address=[::1]:50051 n=3"


@pytest.mark.parametrize(
    "value", ["", "two words", 'say "hi"', "a=b", "one\ntwo", "\x1b[31mred", "\x7f\x9b31m", "\u2028", "back\\slash"]
)
def test_a_record_is_one_plain_line_whatever_a_value_holds(value: str) -> None:
    line = LogfmtFormatter().format(record("call", fields={"value": value, "last": 1}))

    assert line.isascii()
    assert line.isprintable()
    assert len(shlex.split(line)) == 6


def test_an_exception_and_its_trace_are_on_the_same_line() -> None:
    try:
        raise ValueError("no such\nthing")
    except ValueError:
        line = LogfmtFormatter().format(record("fault", exc_info=sys.exc_info()))

    assert "\n" not in line
    assert 'error="ValueError: no such\\nthing"' in line
    assert "Traceback" in line


def test_a_record_is_one_json_object_with_numbers_as_numbers() -> None:
    fields = {"address": "[::1]:50051", "n": 3, "seconds": 0.25, "captured": False, "limit": None, "ratio": math.nan}
    line = JsonFormatter().format(record("serving", created=0.25, fields=fields))

    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "server.app",
        "msg": "serving",
        **fields,
        "limit": "None",
        "ratio": "nan",
    }


JSON_VALUES = st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.none(), st.lists(st.text()))
SURROGATES = st.text(st.characters(categories=["Cs", "Cc", "Zl", "Lu"]))  # as in file names that are not UTF-8


@given(st.text(), st.dictionaries(st.text(), JSON_VALUES | SURROGATES))
def test_any_record_is_one_plain_line_of_strict_json(message: str, fields: dict[str, object]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    line = JsonFormatter().format(record("%s", args=(message,), fields=fields))
    found = json.loads(line, parse_constant=refuse)

    assert line.isascii()
    assert line.isprintable()
    assert list(found) == list(dict.fromkeys(["time", "level", "logger", "msg", *fields]))
    for key, value in fields.items():
        assert found[key] == value or found[key] == str(value)


def test_both_forms_have_the_same_keys_for_an_exception() -> None:
    try:
        raise ValueError("no such\nthing")
    except ValueError:
        failed = record("fault", exc_info=sys.exc_info(), fields={"method": "Generate"})

    found = json.loads(JsonFormatter().format(failed))
    assert list(found) == [word.partition("=")[0] for word in shlex.split(LogfmtFormatter().format(failed))]
    assert found["error"] == "ValueError: no such\nthing"
    assert found["trace"].startswith("Traceback")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that holds a page of 4 KiB."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_records_are_written_in_order_when_it_is_flushed(pipe: tuple[int, int]) -> None:
    handler = BackgroundHandler(pipe[1])
    for number in range(20):
        handler.handle(record("call", fields={"n": number}))
    handler.flush()

    lines = os.read(pipe[0], 1 << 16).decode().splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [f"n={number}" for number in range(20)]


def test_a_blocked_reader_blocks_no_caller_and_dropped_lines_are_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.logs, "_MAX_LINES", 100)
    monkeypatch.setattr(server.logs, "_FLUSH_SECONDS", 0.1)
    handler = BackgroundHandler(pipe[1])
    started = time.monotonic()
    for number in range(1000):
        handler.handle(record("call", fields={"n": number, "text": "x" * 100}))
    handler.flush()
    assert time.monotonic() - started < 10

    text, written, dropped = "", 0, 0
    while written + dropped < 1000:
        text += os.read(pipe[0], 1 << 16).decode()
        written = text.count("msg=call")
        dropped = sum(map(int, re.findall(r'msg="log lines dropped" lines=(\d+)\n', text)))
    assert written + dropped == 1000
    assert 100 <= written < 400


SCRIPT = """
import logging, sys
from server.logs import log_to_stderr
log_to_stderr("info")
for number in range(3000):
    logging.getLogger("x").info("call", extra={"fields": {"n": number}})
logging.getLogger("x").debug("not logged")
"""


def test_the_log_is_complete_when_the_process_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)  # noqa: S603
    assert [line.rpartition(" ")[2] for line in ended.stderr.splitlines()] == [f"n={n}" for n in range(3000)]
