"""The whole benchmark, from options to a report."""

import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bench.bare import BareLoop
from bench.cores import Cores, keep_to, share_cores, usable_cores
from bench.engine import RunClock, measure_engine
from bench.errors import BenchError
from bench.machine import describe_machine
from bench.options import Options
from bench.report import EngineRow, Report, ServiceRow
from bench.server import running_server
from bench.service import client_process, measure_service
from bench.workload import plan_requests
from music.bundle import Bundle, load_bundle
from server.engine.engine import Engine
from server.engine.onnx_runner import OnnxRunner
from server.engine.request import EngineRequest


def run_suite(options: Options) -> Report:
    """Measure what the options ask for; progress goes to stderr.

    Raises:
        BenchError: it cannot be measured.
        FantasiaError: the bundle is refused, or the provider does not run here.
    """
    if not (options.bundle / "manifest.json").exists():
        raise BenchError(f"there is no bundle at {options.bundle}: train one with `make train`, or give --bundle")
    bundle = load_bundle(options.bundle)
    date, load_before = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()
    cores = share_cores(usable_cores(), options.threads)
    keep_to(cores.work)  # before any session makes its threads
    requests = plan_requests(bundle, options.steps, range(max(options.widths + options.clients)))
    seconds = options.seconds / len(options.widths + options.clients)
    bare = BareLoop(bundle, provider=options.provider, threads=options.threads)
    engine = _measure_engine(options, bundle, bare, requests, seconds)
    service = _measure_service(options, bundle, bare, requests, seconds, cores)
    return Report(
        date=date,
        machine=describe_machine(cores),
        bundle=bundle.name,
        digest=bundle.digest,
        provider=bare.provider,
        threads=options.threads,
        chunk_steps=bare.chunk_steps,
        piece_tokens=requests[0].max_tokens,
        load_before=load_before,
        load_after=os.getloadavg(),
        engine=engine,
        service=service,
    )


def _measure_engine(
    options: Options, bundle: Bundle, bare: BareLoop, requests: Sequence[EngineRequest], seconds: float
) -> tuple[EngineRow, ...]:
    if not options.widths:
        return ()
    runner = OnnxRunner(bundle, slots=options.widths[-1], provider=options.provider, threads=options.threads)
    twin = BareLoop(bundle, provider=options.provider, threads=options.threads)
    run_clock = RunClock()
    engine = Engine(runner, queue_limit=0, observer=run_clock, name=bundle.name)
    try:
        engine.warm_up()
        engine.start()
        return tuple(
            measure_engine(bare, twin, engine, run_clock, requests[:width], seconds=seconds)
            for width in _told("engine, width", options.widths)
        )
    finally:
        engine.stop()


def _measure_service(
    options: Options,
    bundle: Bundle,
    bare: BareLoop,
    requests: Sequence[EngineRequest],
    seconds: float,
    cores: Cores,
) -> tuple[ServiceRow, ...]:
    if not options.clients:
        return ()
    slots = options.clients[-1]
    with (
        running_server(bundle.path, slots=slots, provider=options.provider, threads=options.threads) as address,
        client_process(cores.clients) as callers,
    ):
        return tuple(
            measure_service(
                bare,
                callers,
                address,
                requests[:clients],
                steps=options.steps,
                digest=bundle.digest,
                seconds=seconds,
            )
            for clients in _told("service, clients", options.clients)
        )


def _told(what: str, widths: Sequence[int]) -> Iterator[int]:
    for width in widths:
        sys.stderr.write(f"measuring: {what} {width}\n")
        yield width
