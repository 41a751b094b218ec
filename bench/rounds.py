"""Two things measured in turn, round after round, so that what the machine does meanwhile happens to both."""

import time
from collections.abc import Callable
from typing import Final

from bench.comparison import Comparison

LEAST_ROUNDS: Final = 3
MOST_ROUNDS: Final = 25


def interleaved(
    bare: Callable[[], float],
    other: Callable[[], float],
    *,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Measure both in every round, each first in every second one.

    Args:
        bare: measures the reference once, in tokens a second.
        other: measures what is compared with it.
        seconds: after about so long it ends, but not before `LEAST_ROUNDS`, nor after `MOST_ROUNDS`.
        clock: seconds that have passed.
    """
    bare_rates: list[float] = []
    rates: list[float] = []
    began = clock()
    for done in range(MOST_ROUNDS):
        spent = clock() - began
        if done >= LEAST_ROUNDS and spent + spent / done > seconds:
            break
        # Whoever runs second finds the caches and the clock frequency that the first has left.
        for measure, into in ((bare, bare_rates), (other, rates))[:: 1 if done % 2 == 0 else -1]:
            into.append(measure())
    return Comparison(bare_rates=tuple(bare_rates), rates=tuple(rates))
