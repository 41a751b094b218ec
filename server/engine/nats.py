"""How unlikely the model finds the tokens of a sequence, summed so that interrupting a sequence changes no bit."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class NatsSums:
    """Sums over the first tokens of a sequence, from its first sampled token on."""

    nats: float = 0.0
    """Minus the sum of the log-probabilities, of sampled and of forced tokens."""
    given_nats: float = 0.0
    """The part of the forced tokens."""
    started: bool = False
    """Whether a token was sampled. Tokens before the first sampled one do not count."""

    def after(self, log_probabilities: NDArray[np.float32], forced: NDArray[np.bool_]) -> Self:
        """Return the sums after more tokens.

        The terms are added one after the other in float64. So sums over a sequence do not depend on its division.

        Args:
            log_probabilities: (n,), of the tokens. Those before the first sampled token may be NaN.
            forced: (n,), which of the tokens are forced.
        """
        if not self.started:
            if forced.all():
                return self
            first = int(np.argmin(forced))
            log_probabilities, forced = log_probabilities[first:], forced[first:]
        nats = np.negative(log_probabilities, dtype=np.float64)
        return type(self)(_add(self.nats, nats), _add(self.given_nats, nats[forced]), started=True)


def _add(start: float, terms: NDArray[np.float64]) -> float:
    """Add terms (n,) in their order; `np.sum` adds in an order that depends on their number."""
    if not len(terms):
        return start
    sums = terms.copy()
    sums[0] += start
    return float(np.add.accumulate(sums, out=sums)[-1])
