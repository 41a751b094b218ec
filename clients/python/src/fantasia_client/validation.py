"""Checks values of a request before the message is built, and collects every violation."""

import operator
from collections.abc import Collection, Iterator, Mapping
from typing import SupportsFloat, SupportsIndex, TypeVar

from fantasia_client.errors import FieldViolation, InvalidRequestError

INT32 = (-(2**31), 2**31 - 1)
"""Range of an int32 field."""
UINT64 = (0, 2**64 - 1)
INT64 = (-(2**63), 2**63 - 1)
"""Range of a uint64 field."""

ValueT = TypeVar("ValueT")

_MAX_REPR_CHARACTERS = 64


class RequestValidator:
    """Converts values to the types of message fields.

    A value that cannot be converted becomes a violation, and the method returns None.
    """

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def integer(self, field: str, value: object, bounds: tuple[int, int]) -> int | None:
        """An integer within the bounds of the field, also from a NumPy integer; None stays None."""
        if value is None:
            return None
        try:
            if isinstance(value, bool) or not isinstance(value, SupportsIndex):
                raise TypeError
            number = operator.index(value)
        except TypeError:  # an array of several integers raises it too
            self.add_violation(field, f"must be an integer, not {short_repr(value)}")
            return None
        low, high = bounds
        if low <= number <= high:
            return number
        limit = f"maximum of {high}" if number > high else f"minimum of {low}"
        self.add_violation(field, f"{short_repr(number)} does not fit the field, which has a {limit}")
        return None

    def number(self, field: str, value: object) -> float | None:
        """A float from a real number of any type; None stays None."""
        if value is None:
            return None
        try:
            if isinstance(value, bool) or not isinstance(value, SupportsFloat | SupportsIndex):
                raise TypeError
            return float(value)
        except OverflowError:
            self.add_violation(field, f"{short_repr(value)} does not fit the field, a double")
        except (TypeError, ValueError):
            self.add_violation(field, f"must be a number, not {short_repr(value)}")
        return None

    def text(self, field: str, value: object) -> str | None:
        """A string that can be encoded as UTF-8; None stays None."""
        if value is None:
            return None
        if not isinstance(value, str):
            self.add_violation(field, f"must be a string, not {short_repr(value)}")
            return None
        try:
            value.encode()
        except UnicodeEncodeError:
            self.add_violation(field, f"must be a string that can be encoded as UTF-8, not {short_repr(value)}")
            return None
        return value

    def boolean(self, field: str, value: object) -> bool:
        """True or False; None is False."""
        if value is None or isinstance(value, bool):
            return bool(value)
        self.add_violation(field, f"must be True or False, not {short_repr(value)}")
        return False

    def instance(self, field: str, value: object, kind: type[ValueT]) -> ValueT | None:
        """The value if it is of this class; None stays None."""
        if value is None or isinstance(value, kind):
            return value
        self.add_violation(field, f"must be a {kind.__name__}, not {short_repr(value)}")
        return None

    def items(self, field: str, value: object, of: str) -> Iterator[tuple[str, object]]:
        """Each item of a collection with its path; `of` says what the items are. None has no items."""
        if value is None:
            return
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
            self.add_violation(field, f"must be a sequence of {of}, not {short_repr(value)}")
            return
        for index, item in enumerate(value):
            yield f"{field}[{index}]", item

    def integers(self, field: str, value: object) -> list[int]:
        """A list of integers of int32 fields; None has none."""
        numbers = [self.required_integer(path, item) for path, item in self.items(field, value, "integers")]
        return [number for number in numbers if number is not None]

    def pair(self, field: str, value: object) -> tuple[int, int] | None:
        """Two integers of int32 fields."""
        if not isinstance(value, tuple | list) or len(value) != 2:
            self.add_violation(field, f"must be two integers, such as (1, 2), not {short_repr(value)}")
            return None
        first, second = (self.required_integer(field, number) for number in value)
        return None if first is None or second is None else (first, second)

    def by_voice(self, field: str, value: object, of: str) -> Iterator[tuple[str, int, object]]:
        """Path, voice and value of each entry of a mapping with voices as keys; `of` says what its values are."""
        if value is not None and not isinstance(value, Mapping):
            self.add_violation(field, f"must be a mapping of voices to {of}, not {short_repr(value)}")
            return
        for voice, item in (value or {}).items():
            path = f"{field}[{short_repr(voice)}]"
            if (number := self.required_integer(path, voice)) is not None:
                yield path, number, item

    def required_integer(self, field: str, value: object) -> int | None:
        """An integer of an int32 field. None is a violation too."""
        if value is None:
            self.add_violation(field, "must be an integer, not None")
        return self.integer(field, value, INT32)

    def add_violation(self, field: str, description: str) -> None:
        """Record that the field is invalid."""
        self._violations.append(FieldViolation(field, description))

    def raise_if_invalid(self) -> None:
        """Report all violations at once.

        Raises:
            InvalidRequestError: there is at least one violation.
        """
        if self._violations:
            text = "; ".join(f"{violation.field}: {violation.description}" for violation in self._violations)
            raise InvalidRequestError(text, violations=tuple(self._violations))


def short_repr(value: object) -> str:
    """The value for an error message: printable ASCII, one line, at most 64 characters."""
    try:
        text = ascii(value)
    except Exception:  # an integer with more digits than Python prints, or a class whose repr fails
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _MAX_REPR_CHARACTERS else text[: _MAX_REPR_CHARACTERS - 3] + "..."
