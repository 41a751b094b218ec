"""How much a caller may use in a minute."""

import math
from dataclasses import dataclass
from typing import Final

_SECONDS: Final = 60.0
_MAX_KEPT: Final = 4096
"""Number of callers from which on those whose minute is over are forgotten, at most once a second."""


@dataclass(slots=True)
class _Use:
    amount: float
    """What counts now; it falls steadily, by the limit in a minute."""
    at: float
    limit: float


class RateLimit:
    """Limits what each caller uses in a minute: a token bucket (also called GCRA) for each of them.

    A caller that was silent for a minute may use a whole minute's amount at once, and then as much as time gives back.
    Used on the event loop only.
    """

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}
        self._forgot_at = -math.inf

    def seconds_to_wait(self, key: str, limit: int, amount: float, now: float) -> float:
        """Time until the caller may use this amount; 0 if it may now.

        Args:
            key: the caller.
            limit: its limit in a minute, at least 1.
            amount: what it wants to use. More than the limit is allowed to a caller that has used nothing of late.
            now: seconds of a monotonic clock.
        """
        used = self._used(key, limit, now)
        excess = used + min(amount, limit) - limit
        return max(excess, 0.0) * _SECONDS / limit

    def use(self, key: str, limit: int, amount: float, now: float) -> None:
        """Count an amount that the caller uses; a negative one gives back what was counted too much."""
        if len(self._uses) >= _MAX_KEPT and now - self._forgot_at >= 1.0:
            self._forgot_at = now
            self._forget(now)
        self._uses[key] = _Use(max(self._used(key, limit, now) + amount, 0.0), now, limit)

    def _used(self, key: str, limit: float, now: float) -> float:
        use = self._uses.get(key)
        return 0.0 if use is None else max(use.amount - (now - use.at) * limit / _SECONDS, 0.0)

    def _forget(self, now: float) -> None:
        self._uses = {key: use for key, use in self._uses.items() if self._used(key, use.limit, now) > 0}
