"""What a token costs when slots, pieces and networks grow, and what the server holds when it has written many."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from bench.bare import BareLoop, bare_loop
from bench.callers import Target
from bench.engine import decode_rate
from bench.load import play_round
from bench.options import Options
from bench.rounds import interleaved
from bench.rows import GrowthRow, Memory
from bench.runners import make_runner
from bench.server import Running
from bench.synthetic import write_bundle
from bench.workload import plan_requests
from music.bundle import Bundle
from server.engine.engine import Engine
from server.engine.precision import Precision

SLOTS: Final = (16, 64, 256)
"""More than there are pieces, all of them: while a slot is free, chunks are short."""
PIECE_STEPS: Final = (64, 256, 1024, 4096)
NETWORKS: Final = ((2, 128), (2, 256), (2, 512), (3, 768))
"""Layers and hidden units."""
_WIDTH: Final = 8
_SEEDS: Final = 1 << 20
_SAMPLES: Final = 16


@contextmanager
def started(bundle: Bundle, options: Options, precision: Precision, slots: int) -> Iterator[Engine]:
    """An engine of so many slots, warm."""
    runner = make_runner(bundle, slots=slots, provider=options.provider, threads=options.threads, precision=precision)
    engine = Engine(runner, queue_limit=0, name=bundle.name)
    try:
        engine.warm_up()
        engine.start()
        yield engine
    finally:
        engine.stop()


def measure_slots(bundle: Bundle, options: Options, precision: Precision, *, seconds: float) -> list[GrowthRow]:
    """The same eight pieces in engines of more and more slots."""
    requests = plan_requests(bundle, options.steps, range(_WIDTH))
    rows = []
    with started(bundle, options, precision, SLOTS[0]) as base:
        decode_rate(base, requests)
        for slots in SLOTS[1:]:
            with started(bundle, options, precision, slots) as engine:
                decode_rate(engine, requests)
                found = interleaved(
                    lambda: decode_rate(base, requests),
                    lambda engine=engine: decode_rate(engine, requests),  # type: ignore[misc]
                    seconds=seconds / (len(SLOTS) - 1),
                )
            rows.append(GrowthRow(what="slots", size=slots, base=SLOTS[0], width=_WIDTH, comparison=found))
    return rows


def measure_pieces(bundle: Bundle, options: Options, precision: Precision, *, seconds: float) -> list[GrowthRow]:
    """Longer and longer pieces, eight at once."""
    lengths = [steps for steps in PIECE_STEPS if steps <= bundle.max_steps]
    base, *longer = (plan_requests(bundle, steps, range(_WIDTH)) for steps in lengths)
    rows = []
    with started(bundle, options, precision, _WIDTH) as engine:
        decode_rate(engine, base)
        for requests in longer:
            found = interleaved(
                lambda: decode_rate(engine, base),
                lambda requests=requests: decode_rate(engine, requests),  # type: ignore[misc]
                seconds=seconds / len(longer),
            )
            sizes = {"size": requests[0].max_tokens, "base": base[0].max_tokens}
            rows.append(GrowthRow(what="piece", width=_WIDTH, comparison=found, **sizes))
    return rows


def measure_networks(
    bundle: Bundle, options: Options, precision: Precision, folder: Path, *, seconds: float
) -> list[GrowthRow]:
    """Bare loops of the bundle's network with other numbers of layers and units, its weights drawn at random.

    Args:
        bundle: whose tokenizer they have.
        options: how they run.
        precision: in which arithmetic.
        folder: where they are written.
        seconds: about how long it takes.
    """
    sized = [write_bundle(folder / f"{layers}x{hidden}", bundle, layers, hidden) for layers, hidden in NETWORKS]
    requests = plan_requests(bundle, options.steps, range(_WIDTH))

    def rate_of(loop: BareLoop) -> Callable[[], float]:
        tokens = sum(request.max_tokens for request in requests)
        return lambda: tokens / loop.run(requests)[1]

    base, *others = (rate_of(bare_loop(other, options, precision)) for other in sized)
    base()
    rows = []
    for other, rate in zip(sized[1:], others, strict=True):
        rate()
        found = interleaved(base, rate, seconds=seconds / len(others))
        sizes = {"size": other.network.parameters, "base": sized[0].network.parameters}
        rows.append(GrowthRow(what="bundle", width=_WIDTH, comparison=found, **sizes))
    return rows


def measure_memory(callers: Executor, server: Running, *, clients: int, steps: int, tokens: int) -> Memory:
    """Keep the server busy until it has written so many tokens, and look at what it holds.

    Args:
        callers: the clients' process.
        server: to watch.
        clients: at once.
        steps: length of a piece.
        tokens: about how many.
    """
    seeds = count(0, _SEEDS)
    target = Target("grpc", server.address)
    written = [0]
    resident = [server.resident_bytes]
    while written[-1] < tokens:
        played = callers.submit(play_round, target, clients, steps, next(seeds)).result()
        written.append(written[-1] + sum(call.tokens for call in played.calls))
        resident.append(server.resident_bytes)
    return Memory(tokens=tuple(written), resident_bytes=tuple(resident))
