"""Errors of the service around the engine.

FantasiaError
├── StartupError           the server cannot start with these settings
│   └── SettingError       a setting has a wrong value, or an environment variable is unknown
├── MemoryShortageError    the free memory is not enough for one more model
├── MalformedRequestError  the bytes of a request are not the message that the method takes
├── RequestTimeoutError    the request of a call did not arrive in time
├── InvalidRequestError    fields of a request are out of range; names all of them
├── ResumeTokenError       a resume token cannot be used for the request
├── ModelNotFoundError     no model with this name is loaded
│   └── VersionNotFoundError   the model is loaded, but not this version
├── DeadlineTooShortError  a piece cannot be complete within the caller's deadline
├── CandidateFailedError   the candidate that was asked for found no token that satisfies the constraints
├── WorkLimitError         too many requests of a kind wait; has a retry delay
├── UnauthenticatedError   a call has no token that the server knows
├── PermissionDeniedError  a caller may not use a service
├── RateLimitError         a caller has used too much in the last minute; has a retry delay
├── InFlightLimitError     a caller has too much in flight; has a retry delay
├── WrongLengthError       a piece does not have the requested length: a fault of its bundle
├── TooManyStreamsError    a connection or the server has too many streaming calls; has a retry delay
└── NotServingError        the server is starting; has a retry delay
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from music.errors import FantasiaError

_ECHO_CHARACTERS = 64
_VIOLATION_CHARACTERS = 400
_VIOLATIONS_BYTES = 2000
"""Maximum size of the violations of one error. They are sent twice, once as base64."""
_ESCAPED_BYTES = 9
"""Size of a character that is not ASCII, in a percent-encoded message."""


class StartupError(FantasiaError):
    """The server cannot start with these settings; the message is one sentence for the operator."""


class SettingError(StartupError):
    """A setting has a wrong value, or an environment variable is unknown."""


class MemoryShortageError(FantasiaError):
    """The free memory is not enough for one more model.

    Args:
        path: of the bundle.
        needed: estimated number of bytes that it takes.
        free: number of bytes that are free.
    """

    def __init__(self, path: str, needed: int, free: int) -> None:
        super().__init__(
            f"{path}: it needs about {needed / 1e6:,.0f} MB of memory, and {free / 1e6:,.0f} MB are free: raise the "
            "memory limit, or remove other versions"
        )


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is not valid."""

    field: str
    """Path of the field, such as `sampling.temperature` or `rewrite[2].bars.last`."""
    description: str
    """What is wrong and what would be right, as a phrase without the field."""

    @classmethod
    def of_value(cls, field: str, allowed: str, value: object) -> Self:
        """The violation of a value that is out of range.

        Args:
            field: path of the field.
            allowed: the allowed values, such as `0.01 to 10`.
            value: the value in the request.
        """
        return cls(field, f"must be {allowed}, not {shortened(str(value))}")

    def __str__(self) -> str:
        return f"{self.field} {self.description}"


class InvalidRequestError(FantasiaError):
    """Fields of a request are not valid.

    Error details are sent in HTTP/2 headers, which clients limit to about 8 KiB. So only the first violations are named
    if there are many, and the message says that there are others.

    Args:
        violations: all violations, at least one.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        named = _first_that_fit(violations)
        others = ["and others"] if len(named) < len(violations) else []
        super().__init__("; ".join([*map(str, named), *others]))
        self.violations = tuple(named)


class ResumeTokenError(FantasiaError):
    """A resume token cannot be used for the request. The message is a phrase without a subject."""


class MalformedRequestError(FantasiaError):
    """The bytes of a request are not the message that the method takes.

    Args:
        expected: full name of that message.
    """

    def __init__(self, expected: str) -> None:
        super().__init__(f"the request is not a valid {expected} message")


class RequestTimeoutError(FantasiaError):
    """The request of a call did not arrive in time.

    Args:
        seconds: the time limit.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request did not arrive within {seconds:g} s")


class ModelNotFoundError(FantasiaError):
    """No model with this name is loaded.

    Args:
        name: the requested name, of any length.
        loaded: names of the loaded models.
        field: path of the request's field that holds the name.
        others: further violations of the request that do not depend on the model.
    """

    def __init__(self, name: str, loaded: Sequence[str], field: str, others: Sequence[Violation] = ()) -> None:
        self.name = shortened(name)
        self.field = field
        self.loaded = tuple(loaded)
        self.others = tuple(others)
        super().__init__("; ".join([self.found, *map(str, self.others)]))

    @property
    def found(self) -> str:
        """What is not there, and what is."""
        wanted = (
            f"model {self.name!r} is not loaded" if self.name else "no model is named, and there is no default model"
        )
        return f"{wanted}; loaded models: {', '.join(self.loaded) or 'none'}"

    @property
    def allowed(self) -> str:
        """The values that the field may have, and the one that it has."""
        names = ", ".join(self.loaded)
        if not self.name:
            return f"must be one of {names}" if names else "names no loaded model: there is none"
        return f"must be empty or one of {names}, not {self.name!r}" if names else "must be the name of a loaded model"

    def with_others(self, others: Sequence[Violation]) -> "ModelNotFoundError":
        """The same error with further violations of the request."""
        return ModelNotFoundError(self.name, self.loaded, self.field, others)


class VersionNotFoundError(ModelNotFoundError):
    """The model is loaded, but not this version.

    Args:
        model: name of the model.
        version: the requested number.
        versions: numbers of its loaded versions, the default version first.
        field: path of the request's field that holds the number.
        others: further violations of the request that do not depend on the model.
    """

    def __init__(
        self, model: str, version: int, versions: Sequence[int], field: str, others: Sequence[Violation] = ()
    ) -> None:
        self.model, self.version, self.versions = model, version, tuple(versions)
        super().__init__(f"{model}:{version}", [str(each) for each in versions], field, others)

    @property
    def found(self) -> str:
        """See `ModelNotFoundError.found`."""
        return f"version {self.version} of {self.model} is not loaded; loaded versions: {', '.join(self.loaded)}"

    @property
    def allowed(self) -> str:
        """See `ModelNotFoundError.allowed`."""
        return f"must be 0 or one of {', '.join(self.loaded)}, not {self.version}"

    def with_others(self, others: Sequence[Violation]) -> ModelNotFoundError:
        """See `ModelNotFoundError.with_others`."""
        return VersionNotFoundError(self.model, self.version, self.versions, self.field, others)


class DeadlineTooShortError(FantasiaError):
    """A piece cannot be complete within the caller's deadline.

    Args:
        violation: the field of the length, and what would fit.
    """

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


class CandidateFailedError(FantasiaError):
    """The candidate that was asked for found no token that satisfies all constraints; others did.

    Args:
        candidate: its index.
    """

    def __init__(self, candidate: int) -> None:
        super().__init__(f"candidate {candidate} found no token that satisfies all constraints; other candidates did")


class WorkLimitError(FantasiaError):
    """Too many requests of a kind wait.

    Args:
        what: what they wait for, such as `planning`.
        limit: the maximum number of requests that wait.
        retry_after_seconds: when to try again.
    """

    def __init__(self, what: str, limit: int, retry_after_seconds: float) -> None:
        super().__init__(f"{limit} requests wait for {what}, the maximum: try again in {retry_after_seconds:.1f} s")
        self.retry_after_seconds = retry_after_seconds


class UnauthenticatedError(FantasiaError):
    """A call has no token, and no client certificate, that the server knows. The message is a whole sentence."""


class PermissionDeniedError(FantasiaError):
    """A caller may not use a service.

    Args:
        caller: its name.
        service: what it wanted to use, such as `generation`.
        allowed: what it may use.
    """

    def __init__(self, caller: str, service: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"the caller {caller} may not use {service}: its entry in the server's callers file allows "
            f"{', '.join(allowed)}"
        )


class RateLimitError(FantasiaError):
    """A caller has used too much in the last minute.

    Args:
        caller: subject of the sentence, such as `this connection`.
        unit: what the limit counts, `calls` or `tokens`.
        limit: the maximum in a minute.
        retry_after_seconds: time until the call would be accepted.
    """

    def __init__(self, caller: str, unit: str, limit: int, retry_after_seconds: float) -> None:
        super().__init__(
            f"{caller} has reached the server's limit of {limit:,} {unit} a minute: "
            f"try again in {retry_after_seconds:.1f} s"
        )
        self.retry_after_seconds = retry_after_seconds


class InFlightLimitError(FantasiaError):
    """A caller has too much in flight.

    Args:
        caller: subject of the sentence, such as `this connection`.
        unit: what the limit counts, `pieces` or `tokens`.
        in_flight: the number that the caller has in flight.
        more: the number that the refused call would add.
        limit: the maximum for one caller.
        retry_after_seconds: estimated time until the call would be accepted.
    """

    def __init__(
        self, caller: str, unit: str, in_flight: int, more: int, limit: int, retry_after_seconds: float
    ) -> None:
        super().__init__(
            f"{caller} has {in_flight} {unit} in flight, and {more} more would exceed the server's limit of "
            f"{limit} {unit} per caller: try again in {retry_after_seconds:.1f} s"
        )
        self.retry_after_seconds = retry_after_seconds


class WrongLengthError(FantasiaError):
    """A piece does not have the requested length.

    The graphs of the bundle allow tokens that the grammar of its tokenizer forbids. With the grammar every length is
    exact.

    Args:
        name: the model's name.
        length_ticks: length of the piece.
        requested_ticks: requested length.
    """

    def __init__(self, name: str, length_ticks: int, requested_ticks: int) -> None:
        super().__init__(f"{name} generated a piece of {length_ticks} ticks; {requested_ticks} were requested")


class TooManyStreamsError(FantasiaError):
    """A connection, or the whole server, has too many streaming calls.

    Args:
        owner: what has them: `this connection` or `the server`.
        calls: which calls, such as `streaming calls`.
        limit: the maximum number of them.
    """

    retry_after_seconds = 30.0
    """When to try again; only the end of another streaming call makes room."""

    def __init__(self, owner: str, calls: str, limit: int) -> None:
        super().__init__(f"{owner} has {limit} {calls} (such as reflection), the maximum")


class NotServingError(FantasiaError):
    """The server is not serving yet.

    Args:
        state: what the server does instead, such as `starting`.
        retry_after_seconds: when to try again.
    """

    def __init__(self, state: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(f"the server is {state}")
        self.retry_after_seconds = retry_after_seconds


def shortened(text: str) -> str:
    """The text, cut to 64 characters.

    Error details are sent in HTTP/2 headers, which clients limit to about 8 KiB.
    """
    return text if len(text) <= _ECHO_CHARACTERS else text[: _ECHO_CHARACTERS - 1] + "…"


def _first_that_fit(violations: Sequence[Violation]) -> list[Violation]:
    """The first violations, at least one, that have a limited size together; long descriptions are cut."""
    named: list[Violation] = []
    size = 0
    for violation in violations:
        text = violation.description
        cut = text if len(text) <= _VIOLATION_CHARACTERS else text[: _VIOLATION_CHARACTERS - 1] + "…"
        size += len(violation.field) + sum(1 if " " <= character <= "~" else _ESCAPED_BYTES for character in cut)
        if named and size > _VIOLATIONS_BYTES:
            break
        named.append(Violation(violation.field, cut))
    return named
