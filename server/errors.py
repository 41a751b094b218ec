"""Errors of the service around the engine.

FantasiaError
├── StartupError           the server cannot start as it was asked to
│   └── SettingError       a flag or environment variable has a value that it cannot have
├── MalformedRequestError  bytes that are not the request that the method takes
├── RequestTimeoutError    a call opened, and its request did not arrive in time
├── InvalidRequestError    fields of a request are out of range; tells all of them
├── ModelNotFoundError     no model of that name is loaded
├── ConnectionLimitError   a connection has as much in flight as it may; says when to come back
├── WrongLengthError       what a model wrote has not the length that was asked for: a fault of its bundle
├── TooManyStreamsError    a connection holds as many calls without an end as it may
└── NotServingError        the server is starting or draining; says when to come back
"""

from collections.abc import Sequence
from dataclasses import dataclass

from music.errors import FantasiaError

_ECHO_CHARACTERS = 64


class StartupError(FantasiaError):
    """The server cannot start as it was asked to; the message is one sentence for the person who asked."""


class SettingError(StartupError):
    """A flag or environment variable has a value that it cannot have."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is out of range."""

    field: str
    """Path of the field, such as `sampling.temperature`."""
    allowed: str
    """What would be right, such as `0.01 to 10`."""
    value: object
    """What it was."""

    @property
    def description(self) -> str:
        """The violation in words, without the field."""
        return f"must be {self.allowed}, not {shortened(str(self.value))}"

    def __str__(self) -> str:
        return f"{self.field} {self.description}"


class InvalidRequestError(FantasiaError):
    """Fields of a request are out of range.

    Args:
        violations: at least one; all that are wrong.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = tuple(violations)


class MalformedRequestError(FantasiaError):
    """The bytes that came are not the request that the method takes.

    Args:
        expected: full name of that request's message.
    """

    def __init__(self, expected: str) -> None:
        super().__init__(f"the request is not a valid {expected} message")


class RequestTimeoutError(FantasiaError):
    """A call opened, and its request did not arrive in time.

    Args:
        seconds: how long it was waited for.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request did not arrive within {seconds:g} s")


class ModelNotFoundError(FantasiaError):
    """No model of that name is loaded.

    Args:
        name: what was asked for; of any length, since callers choose it.
        loaded: names that exist.
        field: path of the request's field that holds the name.
        others: what else is wrong with the request, as far as that does not depend on the model.
    """

    def __init__(self, name: str, loaded: Sequence[str], field: str, others: Sequence[Violation] = ()) -> None:
        self.name = shortened(name)
        self.field = field
        self.loaded = tuple(loaded)
        self.others = tuple(others)
        found = f"no model is called {self.name!r}; loaded: {', '.join(loaded)}"
        super().__init__("; ".join([found, *map(str, self.others)]))


class ConnectionLimitError(FantasiaError):
    """A connection has as much in flight as it may.

    Args:
        unit: what is bounded, `pieces` or `tokens`.
        in_flight: how many of them the connection has.
        more: how many of them the refused call would add.
        limit: the most that it may have.
        retry_after_seconds: when there is likely room again.
    """

    def __init__(self, unit: str, in_flight: int, more: int, limit: int, retry_after_seconds: float) -> None:
        super().__init__(
            f"this connection has {in_flight} {unit} in flight, and {more} more would exceed the server's limit of "
            f"{limit} {unit} for each connection: try again in {retry_after_seconds:.1f} s"
        )
        self.retry_after_seconds = retry_after_seconds


class WrongLengthError(FantasiaError):
    """What a model wrote has not the length that was asked for.

    Its graphs and its tokenizer disagree on what may follow what: with the tokenizer's grammar every length is exact.

    Args:
        name: the model's name.
        length_ticks: length of what it wrote.
        asked_ticks: length asked for.
    """

    def __init__(self, name: str, length_ticks: int, asked_ticks: int) -> None:
        super().__init__(f"{name} wrote a piece of {length_ticks} ticks where {asked_ticks} were asked for")


class TooManyStreamsError(FantasiaError):
    """A connection holds as many calls that never end by themselves as it may.

    Args:
        limit: how many those are.
    """

    retry_after_seconds = 30.0
    """When to try again; only the caller can make room."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a connection may hold {limit} health watches and reflection calls at once")


class NotServingError(FantasiaError):
    """The server is starting or draining.

    Args:
        state: what it is doing, such as `starting`.
        retry_after_seconds: when to try again; while draining, that reaches another replica.
    """

    def __init__(self, state: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(f"the server is {state}")
        self.retry_after_seconds = retry_after_seconds


def shortened(text: str) -> str:
    """The text, cut where it is too long to be sent back.

    Error details travel in HTTP/2 headers, which clients limit to 8 KiB or so.
    """
    return text if len(text) <= _ECHO_CHARACTERS else text[: _ECHO_CHARACTERS - 1] + "…"
