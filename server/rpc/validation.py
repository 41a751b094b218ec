"""Collects the violations of a request, so that the caller gets all of them at once."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Final

from server.errors import InvalidRequestError, Violation

_DIGITS: Final = 6
_MAX_VIOLATIONS: Final = 100
"""Maximum number of violations that are kept. An error names fewer, as its size is limited."""


class RequestValidator:
    """Checks values and collects violations. Each check returns whether the value is valid."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def in_range(self, field: str, value: float, low: float, high: float) -> bool:
        """Require low <= value <= high. NaN is invalid."""
        return low <= value <= high or self.add_violation(
            field, f"{format_lower_bound(low)} to {format_upper_bound(high)}", value
        )

    def in_range_if_set(self, field: str, value: float, low: float, high: float) -> bool:
        """Require low <= value <= high of a field of which 0 means that it is unset."""
        return value == 0 or self.in_range(field, value, low, high)

    def at_least(self, field: str, value: float, low: float) -> bool:
        """Require value >= low. NaN is invalid."""
        return value >= low or self.add_violation(field, f"at least {format_lower_bound(low)}", value)

    def positive(self, field: str, value: float, high: float = math.inf) -> bool:
        """Require 0 < value <= high, and a finite value."""
        allowed = "finite and above 0" if high == math.inf else f"above 0 and at most {format_upper_bound(high)}"
        return (0 < value <= high and value != math.inf) or self.add_violation(field, allowed, value)

    def add_violation(self, field: str, allowed: str, value: object) -> bool:
        """Add the violation of a value that is not one of the allowed ones; returns False."""
        return self.refuse(field, Violation.of_value(field, allowed, value).description)

    def refuse(self, field: str, description: str) -> bool:
        """Add a violation with a description of its own, if there are not too many; returns False."""
        if len(self._violations) < _MAX_VIOLATIONS:
            self._violations.append(Violation(field, description))
        return False

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The violations found so far."""
        return tuple(self._violations)

    def raise_if_invalid(self) -> None:
        """Finish the validation.

        Raises:
            InvalidRequestError: there are violations.
        """
        if self._violations:
            raise InvalidRequestError(self._violations)


def format_lower_bound(bound: float) -> str:
    """A lower bound for an error message: rounded up to 6 digits, so that the number itself is valid."""
    return _formatted(bound, ROUND_CEILING)


def format_upper_bound(bound: float) -> str:
    """An upper bound for an error message: rounded down to 6 digits, so that the number itself is valid."""
    return _formatted(bound, ROUND_FLOOR)


def _formatted(bound: float, rounding: str) -> str:
    if isinstance(bound, int):
        return str(bound)
    if float(f"{bound:g}") == bound:
        return f"{bound:g}"
    return f"{float(Context(prec=_DIGITS, rounding=rounding).create_decimal_from_float(bound)):g}"
