import logging
import shlex
import sys

import pytest

from server.logs import LogfmtFormatter


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "server.app", "levelname": "INFO", "levelno": 20, "msg": message, **extra})


def test_a_record_is_keys_and_values() -> None:
    line = LogfmtFormatter().format(record("serving", created=0.25, fields={"address": "[::1]:50051", "n": 3}))

    assert line == "time=1970-01-01T00:00:00.250Z level=info logger=server.app msg=serving address=[::1]:50051 n=3"


@pytest.mark.parametrize(
    "value", ["", "two words", 'say "hi"', "a=b", "one\ntwo", "\x1b[31mred", "\x7f\x9b31m", "\u2028", "back\\slash"]
)
def test_whatever_a_value_holds_the_record_is_one_plain_line(value: str) -> None:
    line = LogfmtFormatter().format(record("call", fields={"value": value, "last": 1}))

    assert line.isascii()
    assert line.isprintable()
    assert len(shlex.split(line)) == 6


def test_an_exception_stays_on_the_line_with_its_trace() -> None:
    try:
        raise ValueError("no such\nthing")
    except ValueError:
        line = LogfmtFormatter().format(record("fault", exc_info=sys.exc_info()))

    assert "\n" not in line
    assert 'error="ValueError: no such\\nthing"' in line
    assert "Traceback" in line
