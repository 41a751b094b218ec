"""Collects what a request's message cannot hold, so that the caller is told all of it at once."""

import operator
from typing import SupportsFloat, SupportsIndex

from fantasia_client.errors import FieldViolation, InvalidRequestError

INT32 = (-(2**31), 2**31 - 1)
"""What an int32 field holds."""
UINT64 = (0, 2**64 - 1)
"""What a uint64 field holds."""

_SHOWN_CHARACTERS = 64


class Fields:
    """Turns values into what the message takes; whatever cannot be turned is noted, and becomes None."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def integer(self, field: str, value: object, bounds: tuple[int, int]) -> int | None:
        """An integer, NumPy's too, that is within what the field holds; None stays None."""
        if value is None:
            return None
        try:
            if isinstance(value, bool) or not isinstance(value, SupportsIndex):
                raise TypeError
            number = operator.index(value)
        except TypeError:  # raised by an array of several, too
            self.refuse(field, f"must be an integer, not {shown(value)}")
            return None
        low, high = bounds
        if low <= number <= high:
            return number
        limit = f"at most {high}" if number > high else f"nothing below {low}"
        self.refuse(field, f"{shown(number)} does not fit the field, which holds {limit}")
        return None

    def number(self, field: str, value: object) -> float | None:
        """A real number of any type; None stays None."""
        if value is None:
            return None
        try:
            if isinstance(value, bool) or not isinstance(value, SupportsFloat | SupportsIndex):
                raise TypeError
            return float(value)
        except OverflowError:
            self.refuse(field, f"{shown(value)} does not fit the field, a double")
        except (TypeError, ValueError):
            self.refuse(field, f"must be a number, not {shown(value)}")
        return None

    def text(self, field: str, value: object) -> str | None:
        """A text that Unicode can encode; None stays None."""
        if value is None:
            return None
        if not isinstance(value, str):
            self.refuse(field, f"must be a text, not {shown(value)}")
            return None
        try:
            value.encode()
        except UnicodeEncodeError:
            self.refuse(field, f"must be a text that can be encoded as UTF-8, not {shown(value)}")
            return None
        return value

    def refuse(self, field: str, description: str) -> None:
        """Note that the field is wrong."""
        self._violations.append(FieldViolation(field, description))

    def finish(self) -> None:
        """Everything is collected.

        Raises:
            InvalidRequestError: something was wrong.
        """
        if self._violations:
            text = "; ".join(f"{violation.field}: {violation.description}" for violation in self._violations)
            raise InvalidRequestError(text, violations=tuple(self._violations))


def shown(value: object) -> str:
    """The value as a sentence can hold it: short, printable, on one line."""
    try:
        text = ascii(value)
    except Exception:  # an integer of more digits than Python prints, or a class that cannot show itself
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
