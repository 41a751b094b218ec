"""Collects what is wrong with a request, so that the caller is told all of it at once."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Final

from server.errors import InvalidRequestError, Violation

_DIGITS: Final = 6


class Checks:
    """Violations found so far."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def between(self, field: str, value: float, low: float, high: float) -> bool:
        """Note a violation unless low <= value <= high (NaN is not), and tell whether it was fine."""
        return low <= value <= high or self.fail(field, f"{lowest(low)} to {highest(high)}", value)

    def at_least(self, field: str, value: float, low: float) -> bool:
        """Note a violation unless value >= low, and tell whether it was fine."""
        return value >= low or self.fail(field, f"at least {lowest(low)}", value)

    def above_zero(self, field: str, value: float, high: float = math.inf) -> bool:
        """Note a violation unless 0 < value <= high, finite, and tell whether it was fine."""
        allowed = "finite and above 0" if high == math.inf else f"above 0 and at most {highest(high)}"
        return (0 < value <= high and value != math.inf) or self.fail(field, allowed, value)

    def fail(self, field: str, allowed: str, value: object) -> bool:
        """Note a violation; always False."""
        self._violations.append(Violation(field, allowed, value))
        return False

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What was found so far."""
        return tuple(self._violations)

    def finish(self) -> None:
        """Everything is checked.

        Raises:
            InvalidRequestError: something was wrong.
        """
        if self._violations:
            raise InvalidRequestError(self._violations)


def lowest(bound: float) -> str:
    """A lower bound as a caller is told it: short, and allowed when it is sent back as it stands."""
    return _shown(bound, ROUND_CEILING)


def highest(bound: float) -> str:
    """An upper bound as a caller is told it: short, and allowed when it is sent back as it stands."""
    return _shown(bound, ROUND_FLOOR)


def _shown(bound: float, rounding: str) -> str:
    if isinstance(bound, int):
        return str(bound)
    return f"{float(Context(prec=_DIGITS, rounding=rounding).create_decimal_from_float(bound)):g}"
