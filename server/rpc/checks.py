"""Collects what is wrong with a request, so that the caller is told all of it at once."""

import math

from server.errors import InvalidRequestError, Violation


class Checks:
    """Violations found so far."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def between(self, field: str, value: float, low: float, high: float) -> bool:
        """Note a violation unless low <= value <= high (NaN is not), and tell whether it was fine."""
        return low <= value <= high or self.fail(field, f"{low:g} to {high:g}", value)

    def above_zero(self, field: str, value: float, high: float = math.inf) -> bool:
        """Note a violation unless 0 < value <= high, finite, and tell whether it was fine."""
        allowed = "finite and above 0" if high == math.inf else f"above 0 and at most {high:g}"
        return (0 < value <= high and value != math.inf) or self.fail(field, allowed, value)

    def fail(self, field: str, allowed: str, value: object) -> bool:
        """Note a violation; always False."""
        self._violations.append(Violation(field, allowed, value))
        return False

    def finish(self) -> None:
        """Everything is checked.

        Raises:
            InvalidRequestError: something was wrong.
        """
        if self._violations:
            raise InvalidRequestError(self._violations)
