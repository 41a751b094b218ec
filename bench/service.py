"""The service over gRPC: against the bare loop, under open load, and beside long pieces."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from bench.bare_loop import BareLoop
from bench.clients import Call
from bench.comparison import Percentiles, TailPercentiles, compare
from bench.load import LoadGenerator, OpenLoop
from bench.options import BenchError
from bench.processes import busy_processes
from bench.record import BUSY_LOAD, OVERLOAD, Fairness, LoadRow, Neighbours, OpenLoad, ServiceRow
from server.engine.request import EngineRequest

LOADS: Final = (0.2, 0.5, BUSY_LOAD, 0.95, OVERLOAD)
_CAPACITY_ROUNDS: Final = 3
_GOODPUT_SHARE: Final = 0.3
_MIN_CALLS: Final = 20
_MIN_SECONDS: Final = 1.0
_MAX_SECONDS: Final = 20.0
_FAIRNESS_CALLS: Final = 15


def measure_service(
    bare: BareLoop, load: LoadGenerator, requests: Sequence[EngineRequest], *, steps: int, digest: str, seconds: float
) -> ServiceRow:
    """Compare the service, under as many closed-loop clients as there are requests, with the bare loop.

    Args:
        bare: the reference.
        load: on the server.
        requests: for the bare loop, pieces of `steps` steps.
        steps: length of the clients' pieces.
        digest: of the bundle that must answer.
        seconds: approximate duration.

    Raises:
        BenchError: a call failed, or another bundle answered.
    """
    finished: list[Call] = []

    def service_rate() -> float:
        window = load.closed_loop(len(requests), steps)
        if window.digests != {digest}:
            found = ", ".join(sorted(window.digests))
            raise BenchError(f"the server at {load.target.address} runs another bundle: {found}")
        finished.extend(window.finished)
        return window.rate

    bare.run(requests), service_rate()  # warm up
    finished.clear()
    comparison = compare(lambda: bare.rate(requests), service_rate, seconds=seconds)
    return ServiceRow(
        clients=len(requests),
        piece_tokens=requests[0].max_tokens,
        comparison=comparison,
        calls=len(finished),
        latency=Percentiles.of([call.seconds for call in finished]),
        first_token=Percentiles.of([call.first_token_seconds for call in finished]),
        outside_engine=Percentiles.of([call.seconds - call.engine_seconds for call in finished]),
    )


def measure_open_load(
    load: LoadGenerator, *, clients: int, slots: int, queue_limit: int, steps: int, tokens: int, seconds: float
) -> OpenLoad:
    """Send calls one at a time and at several rates, and measure goodput when too many arrive.

    Args:
        load: on the server.
        clients: of the closed loop that measures the capacity.
        slots: of the server.
        queue_limit: of the server.
        steps: length of a piece.
        tokens: the same in tokens.
        seconds: approximate duration.

    Raises:
        BenchError: a call failed for another reason than a rejection.
    """

    def capacity() -> float:
        return load.closed_loop(clients, steps).rate

    capacity()  # warm up
    pieces_per_second = median(capacity() for _ in range(_CAPACITY_ROUNDS)) / tokens
    each = seconds * (1 - _GOODPUT_SHARE) / (len(LOADS) + 1)
    rows = [_idle_row(load, each, steps)]
    # Long enough to fill the queue, so that calls are rejected.
    overload_seconds = _MIN_SECONDS + 2.0 * (slots + queue_limit) / ((OVERLOAD - 1.0) * pieces_per_second)
    overload_seconds = min(overload_seconds, _MAX_SECONDS)
    for share in LOADS:
        rate = share * pieces_per_second
        duration = max(each, overload_seconds if share > 1.0 else _MIN_CALLS / rate)
        rows.append(_load_row(share, load.open_loop(rate, duration, steps)))
    goodput = compare(
        capacity,
        lambda: load.open_loop(OVERLOAD * pieces_per_second, overload_seconds, steps).goodput,
        seconds=seconds * _GOODPUT_SHARE,
    )
    return OpenLoad(
        piece_tokens=tokens,
        capacity=pieces_per_second,
        clients=clients,
        slots=slots,
        queue_limit=queue_limit,
        rows=tuple(rows),
        goodput=goodput,
    )


def measure_fairness(
    load: LoadGenerator,
    *,
    others: int,
    other_steps: int,
    steps: int,
    tokens_per_step: int,
    seconds: float,
    calls: int = _FAIRNESS_CALLS,
) -> Fairness:
    """Time the first token of short pieces, one at a time, alone and beside long pieces, in turn.

    Args:
        load: on the server, which has more slots than there are others.
        others: number of long pieces.
        other_steps: length of each of them.
        steps: length of the short pieces.
        tokens_per_step: of the model.
        seconds: approximate duration.
        calls: short pieces of one round.

    Raises:
        BenchError: a call failed, or a long piece ended before the short ones.
    """

    def idle() -> float:
        return median(call.client_first_token_seconds for call in load.single_calls(calls, steps))

    def loaded() -> float:
        made = load.calls_under_load(calls, steps, others=others, other_steps=other_steps)
        if not made:
            raise BenchError("the long pieces ended before the short ones: there is nothing to compare")
        return median(call.client_first_token_seconds for call in made)

    idle(), loaded()  # warm up
    found = compare(lambda: 1.0 / idle(), lambda: 1.0 / loaded(), seconds=seconds)
    return Fairness(
        long_pieces=others,
        long_tokens=other_steps * tokens_per_step,
        short_tokens=steps * tokens_per_step,
        idle_seconds=tuple(1.0 / rate for rate in found.reference_rates),
        loaded_seconds=tuple(1.0 / rate for rate in found.rates),
    )


def measure_neighbours(
    load: LoadGenerator, *, clients: int, steps: int, processes: int, cores: int, seconds: float
) -> Neighbours:
    """Compare the service's capacity beside computing processes with its capacity alone, in turn.

    Args:
        load: on the server.
        clients: of the closed loop.
        steps: length of a piece.
        processes: that compute on the server's cores.
        cores: number of these cores.
        seconds: approximate duration.

    Raises:
        BenchError: a call failed.
    """

    def alone() -> float:
        return load.closed_loop(clients, steps).rate

    def beside() -> float:
        with busy_processes(processes):
            return alone()

    alone()  # warm up
    comparison = compare(alone, beside, seconds=seconds)
    return Neighbours(processes=processes, cores=cores, clients=clients, comparison=comparison)


def _idle_row(load: LoadGenerator, seconds: float, steps: int) -> LoadRow:
    trial = load.single_calls(_MIN_CALLS, steps)
    seconds_per_call = (trial[-1].ended - trial[0].began) / len(trial)
    calls = load.single_calls(max(int(seconds / seconds_per_call), _MIN_CALLS), steps)
    return _row(0.0, seconds, len(calls), calls, [], [0.0])


def _load_row(share: float, found: OpenLoop) -> LoadRow:
    rejections = [arrival.answered - arrival.sent for arrival in found.rejected]
    delays = [arrival.sent - arrival.intended for arrival in found.measured]
    return _row(share, found.seconds, len(found.measured), found.answered, rejections, delays)


def _row(
    share: float, seconds: float, arrived: int, answered: Sequence[Call], rejections: list[float], delays: list[float]
) -> LoadRow:
    if not answered:
        raise BenchError(f"no call was answered at {share:.0%} load: give it more --seconds")
    return LoadRow(
        load_factor=share,
        seconds=seconds,
        calls=arrived,
        rejected=len(rejections),
        first_token=TailPercentiles.of([call.client_first_token_seconds for call in answered]),
        latency=TailPercentiles.of([call.seconds for call in answered]),
        rejection=TailPercentiles.of(rejections) if rejections else None,
        send_delay=Percentiles.of(delays),
    )
