"""The service under load that does not wait for its answers, and a short piece behind long ones."""

from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import count
from statistics import median
from typing import Final

from bench.callers import Call, Target
from bench.comparison import Percentiles, Tail
from bench.errors import BenchError
from bench.goals import BUSY, OVERLOAD
from bench.load import play_round
from bench.openload import Crowd, play_behind, play_crowd, play_singly
from bench.rounds import interleaved
from bench.rows import Fairness, Latency, LoadRow

LOADS: Final = (0.2, 0.5, BUSY, 0.95, OVERLOAD)
_SEEDS: Final = 1 << 24
_PAUSE_SECONDS: Final = 0.02
_CAPACITY_ROUNDS: Final = 3
_GOODPUT_SHARE: Final = 0.3
_LEAST_CALLS: Final = 20
_LEAST_SECONDS: Final = 1.0
_MOST_SECONDS: Final = 20.0


def measure_latency(
    callers: Executor,
    target: Target,
    *,
    clients: int,
    slots: int,
    queue_limit: int,
    steps: int,
    tokens: int,
    seconds: float,
) -> Latency:
    """Send calls at several rates, and one at a time; and see what is left of the capacity when too many come.

    Args:
        callers: the clients' process.
        target: the server.
        clients: that the capacity is taken with.
        slots: of the server.
        queue_limit: of the server: calls that may wait.
        steps: length of a piece.
        tokens: the same in tokens.
        seconds: about how long it takes.

    Raises:
        BenchError: a call failed otherwise than by being rejected.
    """
    seeds = count(0, _SEEDS)

    def capacity() -> float:
        return callers.submit(play_round, target, clients, steps, next(seeds)).result().rate

    def crowd(load: float, a_second: float, long: float) -> Crowd:
        return callers.submit(play_crowd, target, load * a_second, long, steps, next(seeds)).result()

    capacity()  # to warm up
    a_second = median(capacity() for _ in range(_CAPACITY_ROUNDS)) / tokens
    each = seconds * (1 - _GOODPUT_SHARE) / (len(LOADS) + 1)
    rows = [_idle_row(callers, target, each, steps, next(seeds))]
    # Long enough that some are turned away: it takes the queue some time to fill.
    overload = min(_LEAST_SECONDS + 2.0 * (slots + queue_limit) / ((OVERLOAD - 1.0) * a_second), _MOST_SECONDS)
    rows += [_row(load, crowd(load, a_second, max(each, overload) if load > 1.0 else each)) for load in LOADS]
    goodput = interleaved(
        capacity,
        lambda: crowd(OVERLOAD, a_second, overload).goodput,
        seconds=seconds * _GOODPUT_SHARE,
    )
    return Latency(
        piece_tokens=tokens,
        capacity=a_second,
        clients=clients,
        slots=slots,
        queue_limit=queue_limit,
        rows=tuple(rows),
        goodput=goodput,
    )


def measure_fairness(
    callers: Executor,
    target: Target,
    *,
    others: int,
    other_steps: int,
    steps: int,
    tokens_per_step: int,
    calls: int,
    seconds: float,
) -> Fairness:
    """Time short pieces one at a time, alone and beside long ones, in turn.

    Args:
        callers: the clients' process.
        target: the server, with a slot more than there are others.
        others: long pieces that run meanwhile.
        other_steps: length of each of those.
        steps: length of the short ones.
        tokens_per_step: of the model.
        calls: short pieces of a round.
        seconds: about how long it takes.

    Raises:
        BenchError: a call failed, or the long pieces were too short.
    """
    seeds = count(0, _SEEDS)

    def idle() -> float:
        made = callers.submit(play_singly, target, calls, _PAUSE_SECONDS, steps, next(seeds)).result()
        return median(call.first_note_seconds for call in made)

    def behind() -> float:
        made = callers.submit(
            play_behind,
            target,
            others=others,
            other_steps=other_steps,
            calls=calls,
            steps=steps,
            pause_seconds=_PAUSE_SECONDS,
            seed=next(seeds),
        ).result()
        if not made:
            raise BenchError("the long pieces ended before the short ones: there is nothing to compare")
        return median(call.first_note_seconds for call in made)

    idle(), behind()  # to warm up
    # One over the time is a rate, as much as tokens a second are.
    found = interleaved(lambda: 1.0 / idle(), lambda: 1.0 / behind(), seconds=seconds)
    return Fairness(
        others=others,
        other_tokens=other_steps * tokens_per_step,
        piece_tokens=steps * tokens_per_step,
        idle_seconds=tuple(1.0 / rate for rate in found.bare_rates),
        behind_seconds=tuple(1.0 / rate for rate in found.rates),
    )


def _idle_row(callers: Executor, target: Target, seconds: float, steps: int, seed: int) -> LoadRow:
    def singly(calls: int, first_seed: int) -> list[Call]:
        return callers.submit(play_singly, target, calls, _PAUSE_SECONDS, steps, first_seed).result()

    tried = singly(_LEAST_CALLS, seed)
    a_call = (tried[-1].ended - tried[0].began) / len(tried)
    calls = singly(max(int(seconds / a_call), _LEAST_CALLS), seed + _LEAST_CALLS)
    return _load_row(0.0, seconds, len(calls), calls, [], [0.0])


def _row(load: float, crowd: Crowd) -> LoadRow:
    settled = crowd.settled
    rejections = [arrival.answered - arrival.sent for arrival in crowd.rejected]
    late = [arrival.sent - arrival.intended for arrival in settled]
    return _load_row(load, crowd.seconds, len(settled), crowd.written, rejections, late)


def _load_row(
    load: float,
    seconds: float,
    arrived: int,
    calls: Sequence[Call],
    rejections: list[float],
    late: list[float],
) -> LoadRow:
    if not calls:
        raise BenchError(f"nobody was answered at {load:.0%} load: measure for longer")
    return LoadRow(
        load=load,
        seconds=seconds,
        arrived=arrived,
        rejected=len(rejections),
        first_note=Tail.of([call.first_note_seconds for call in calls]),
        whole=Tail.of([call.seconds for call in calls]),
        rejection=Tail.of(rejections) if rejections else None,
        late=Percentiles.of(late),
    )
