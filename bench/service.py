"""The service, called over gRPC from another process, against the bare loop."""

import itertools
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context

from bench.bare import BareLoop
from bench.callers import Call, Target
from bench.comparison import Percentiles
from bench.cores import keep_to
from bench.errors import BenchError
from bench.load import play_round
from bench.rounds import interleaved
from bench.rows import ServiceRow
from server.engine.request import EngineRequest

_SEEDS_A_ROUND = 1 << 20


def client_process(cores: frozenset[int]) -> ProcessPoolExecutor:
    """A fresh process for the clients, held to their cores."""
    return ProcessPoolExecutor(1, get_context("spawn"), keep_to, (cores,))


def measure_service(
    bare: BareLoop,
    callers: Executor,
    target: Target,
    requests: Sequence[EngineRequest],
    *,
    steps: int,
    digest: str,
    seconds: float,
) -> ServiceRow:
    """Compare them, with as many clients as there are requests for the bare loop.

    Args:
        bare: the reference.
        callers: the clients' process.
        target: the server.
        requests: for the bare loop, pieces of `steps` steps.
        steps: length of the clients' pieces.
        digest: of the bundle that must write them.
        seconds: about how long it takes.

    Raises:
        BenchError: a call failed, or somebody else answered it.
    """
    width = len(requests)
    count = sum(request.max_tokens for request in requests)
    first_seeds = itertools.count(0, _SEEDS_A_ROUND)
    finished: list[Call] = []

    def rate() -> float:
        played = callers.submit(play_round, target, width, steps, next(first_seeds)).result()
        if played.digests != {digest}:
            raise BenchError(f"the server at {target.address} runs another bundle: {', '.join(sorted(played.digests))}")
        finished.extend(played.finished)
        return played.rate

    bare.run(requests)
    rate()
    finished.clear()  # that was to warm up
    comparison = interleaved(lambda: count / bare.run(requests)[1], rate, seconds=seconds)
    return ServiceRow(
        clients=width,
        piece_tokens=requests[0].max_tokens,
        comparison=comparison,
        calls=len(finished),
        latency=Percentiles.of([call.seconds for call in finished]),
        first_token=Percentiles.of([call.first_token_seconds for call in finished]),
        outside_engine=Percentiles.of([call.seconds - call.engine_seconds for call in finished]),
    )
