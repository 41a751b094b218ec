"""The whole benchmark: from options to a record."""

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from bench.engine import PRECISION_WIDTHS, RunnerClock, measure_engine, measure_precision
from bench.machine import describe_machine, pin_to, share_cores, usable_cores
from bench.options import BenchError, Options, Part
from bench.prefill import CONCURRENT, SLOTS, TOKENS, RunTimes, measure_prefill
from bench.processes import QUEUE_LIMIT
from bench.processes import SLOTS as SERVER_SLOTS
from bench.record import BenchmarkRecord
from bench.service import measure_fairness, measure_neighbours, measure_open_load, measure_service
from bench.systems import Systems
from music.bundle import load_bundle
from runtime.precision import decode_graphs

_SHORT_STEPS: Final = 16
"""Length of the short piece beside long ones."""
_NEIGHBOURS: Final = 2
"""Processes that compute on the server's cores, for each core."""
_FIELDS: Final[dict[Part, str]] = {"load": "open_load", "precision": "precisions"}
"""Fields of the record that are not called like their part."""
_LENGTHS: Final = (0.25, 0.5, 4)
"""Lengths of the service's pieces beside the usual one, as parts of it: a call costs less of a longer piece."""


def run_suite(options: Options) -> BenchmarkRecord:
    """Measure the parts that the options name; progress goes to stderr.

    Raises:
        BenchError: a part cannot be measured.
        FantasiaError: the bundle is refused, or the provider or the precision does not run here.
    """
    if not (options.bundle / "manifest.json").exists():
        raise BenchError(f"there is no bundle at {options.bundle}: train one with `make train`, or give --bundle")
    bundle = load_bundle(options.bundle)
    cores = share_cores(usable_cores(), options.threads)
    pin_to(cores.work)  # before any session starts its threads
    systems = Systems.of(bundle, options, cores)
    bare = systems.bare_loop()
    date, load_before = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()
    measured: dict[str, Any] = {}
    skipped: list[str] = []
    whole = sum(_MEASURES[part][0] for part in options.parts)
    for part in options.parts:
        share, measure = _MEASURES[part]
        if part == "precision" and not decode_graphs(bundle, "int8"):
            skipped.append("int8 was not measured: the bundle has no int8 graphs.")
        elif part == "prefill" and bundle.max_steps * systems.tokens_per_step < 2 * TOKENS:
            skipped.append(f"Prefill was not measured: {bundle.name} writes no pieces of {2 * TOKENS} tokens.")
        else:
            measured[_FIELDS.get(part, part)] = measure(systems, options.seconds * share / whole)
    return BenchmarkRecord(
        date=date,
        machine=describe_machine(cores),
        bundle=bundle.name,
        digest=bundle.digest,
        provider=bare.provider,
        precision=systems.precision,
        threads=options.threads,
        chunk_steps=bare.chunk_steps,
        piece_tokens=systems.requests(1)[0].max_tokens,
        load_before=load_before,
        load_after=os.getloadavg(),
        skipped=tuple(skipped),
        **measured,
    )


def _engine(systems: Systems, seconds: float) -> Any:
    widths = systems.options.widths
    bare, control_loop, clock, rows = systems.bare_loop(), systems.bare_loop(), RunnerClock(), []
    for width in widths:
        _progress(f"engine, width {width}")
        with systems.engine(width, clock) as engine:  # a free slot would keep its chunks short
            requests = systems.requests(width)
            rows.append(measure_engine(bare, control_loop, engine, clock, requests, seconds=seconds / len(widths)))
    return rows


def _service(systems: Systems, seconds: float) -> Any:
    options, bundle = systems.options, systems.bundle
    lengths = [max(int(options.steps * share), 1) for share in _LENGTHS]
    cases = [(clients, options.steps) for clients in options.clients]
    cases += [(options.clients[-1], steps) for steps in lengths if steps <= bundle.max_steps]
    cases = list(dict.fromkeys(cases))  # parts of a very short piece may be equally long
    bare, rows = systems.bare_loop(), []
    with systems.server() as load:
        for clients, steps in cases:
            _progress(f"service, clients {clients}, steps {steps}")
            requests, share = systems.requests(clients, steps), seconds / len(cases)
            rows.append(measure_service(bare, load, requests, steps=steps, digest=bundle.digest, seconds=share))
    return rows


def _peers(systems: Systems, seconds: float) -> Any:
    from bench.peers.measure import PEERS, check_logits, measure_peer  # PyTorch and more: only peers need them

    difference, rows = check_logits(systems.bundle), []
    with systems.server() as load:
        for peer in PEERS:
            _progress(f"peer {peer.name}")
            rows.append(measure_peer(peer, load, systems, difference, seconds=seconds / len(PEERS)))
    return rows


def _load(systems: Systems, seconds: float) -> Any:
    _progress("open load")
    options = systems.options
    with systems.server() as load:
        return measure_open_load(
            load,
            clients=options.clients[-1],
            slots=SERVER_SLOTS,
            queue_limit=QUEUE_LIMIT,
            steps=options.steps,
            tokens=options.steps * systems.tokens_per_step,
            seconds=seconds,
        )


def _fairness(systems: Systems, seconds: float) -> Any:
    _progress("fairness")
    options = systems.options
    with systems.server() as load:
        return measure_fairness(
            load,
            others=options.clients[-1] - 1,
            other_steps=systems.bundle.max_steps,
            steps=min(_SHORT_STEPS, options.steps),
            tokens_per_step=systems.tokens_per_step,
            seconds=seconds,
        )


def _neighbours(systems: Systems, seconds: float) -> Any:
    _progress("neighbours")
    options, cores = systems.options, len(systems.cores.work) or len(usable_cores())
    with systems.server() as load:
        return measure_neighbours(
            load,
            clients=options.clients[-1],
            steps=options.steps,
            processes=_NEIGHBOURS * cores,
            cores=cores,
            seconds=seconds,
        )


def _precision(systems: Systems, seconds: float) -> Any:
    _progress("int8 and float32")
    float32, int8 = systems.bare_loop("float32"), systems.bare_loop("int8")
    share = seconds / len(PRECISION_WIDTHS)
    return [measure_precision(float32, int8, systems.requests(width), seconds=share) for width in PRECISION_WIDTHS]


def _prefill(systems: Systems, seconds: float) -> Any:
    _progress("prefill")
    requests, times = systems.requests(CONCURRENT + 1, systems.bundle.max_steps), RunTimes()
    with systems.engine(SLOTS, times) as engine:
        return measure_prefill(systems.bare_loop(), engine, times, requests, seconds=seconds)


_MEASURES: Final[dict[Part, tuple[int, Callable[[Systems, float], Any]]]] = {
    "engine": (5, _engine),
    "service": (3, _service),
    "peers": (6, _peers),
    "load": (6, _load),
    "fairness": (1, _fairness),
    "neighbours": (1, _neighbours),
    "precision": (2, _precision),
    "prefill": (1, _prefill),
}
"""Share of the time and function of each part."""


def _progress(what: str) -> None:
    sys.stderr.write(f"measuring: {what}\n")
