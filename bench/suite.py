"""The whole benchmark, from options to a report."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar, get_args

from bench.bare import BareLoop, bare_loop
from bench.callers import Target
from bench.cores import Cores, keep_to, share_cores, usable_cores
from bench.engine import RunClock, measure_engine
from bench.errors import BenchError
from bench.latency import measure_fairness, measure_latency
from bench.machine import describe_machine
from bench.operators import measure_operators
from bench.options import Options, Part
from bench.prefill import OTHERS, TOKENS, RunTimes, measure_prefill
from bench.report import Report
from bench.rows import Growth
from bench.runners import make_runner, precision_of
from bench.server import QUEUE_LIMIT, SLOTS, Running, running_server
from bench.service import client_process, measure_service
from bench.workload import plan_requests
from music.bundle import Bundle, load_bundle
from server.engine.engine import Engine
from server.engine.observer import EngineObserver
from server.engine.onnx_runner import CPU
from server.engine.precision import Precision, decode_graphs

SHARES: Final[dict[Part, int]] = {
    "engine": 5,
    "service": 3,
    "peers": 6,
    "latency": 6,
    "fairness": 1,
    "growth": 4,
    "precision": 4,
    "operators": 1,
    "prefill": 1,
}
"""How the time is divided among the parts."""
_SHORT_STEPS: Final = 16
"""Of the short piece behind long ones."""
_LENGTHS: Final = (1, 2, 16)
"""Of pieces, in quarters of the usual one: what a call costs weighs the less, the longer the piece that it asks for."""
_FAIRNESS_CALLS: Final = 15
_PREFILL_SLOTS: Final = 64
T = TypeVar("T")


def run_suite(options: Options) -> Report:
    """Measure what the options ask for; progress goes to stderr.

    Raises:
        BenchError: it cannot be measured.
        FantasiaError: the bundle is refused, or the provider does not run here.
    """
    if not (options.bundle / "manifest.json").exists():
        raise BenchError(f"there is no bundle at {options.bundle}: train one with `make train`, or give --bundle")
    bundle = load_bundle(options.bundle)
    cores = share_cores(usable_cores(), options.threads)
    keep_to(cores.work)  # before any session makes its threads
    return Suite(options, bundle, cores).run()


class Suite:
    """The parts of one run, in this process's cores.

    Args:
        options: what is asked for.
        bundle: what runs.
        cores: who is held to which core.
    """

    def __init__(self, options: Options, bundle: Bundle, cores: Cores) -> None:
        self._options, self._bundle, self._cores = options, bundle, cores
        self._precision = self._served_precision()
        widest = max(*options.widths, *options.clients, 64, OTHERS + 1)
        self._requests = plan_requests(bundle, options.steps, range(widest))
        self._bare = self._loop()
        self._skipped: list[str] = []
        self._parts: dict[str, Any] = {}

    def run(self) -> Report:
        """Measure all that is asked for, and tell how it went."""
        options, date, load_before = self._options, datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()
        measures: dict[Part, Callable[[float], None]] = {
            "engine": self._engine,
            "service": self._service,
            "peers": self._peers,
            "latency": self._latency,
            "fairness": self._fairness,
            "growth": self._growth,
            "precision": self._precisions,
            "operators": self._operators,
            "prefill": self._prefill,
        }
        assert measures.keys() == set(get_args(Part))
        whole = sum(SHARES[part] for part in options.parts)
        for part in options.parts:
            measures[part](options.seconds * SHARES[part] / whole)
        return Report(
            date=date,
            machine=describe_machine(self._cores),
            bundle=self._bundle.name,
            digest=self._bundle.digest,
            provider=self._bare.provider,
            precision=self._precision,
            threads=options.threads,
            chunk_steps=self._bare.chunk_steps,
            piece_tokens=self._requests[0].max_tokens,
            load_before=load_before,
            load_after=os.getloadavg(),
            skipped=tuple(self._skipped),
            **self._parts,
        )

    def _engine(self, seconds: float) -> None:
        widths, clock, twin = self._options.widths, RunClock(), self._loop()
        rows = []
        for width in _told("engine, width {}", widths):
            with self._engine_of(width, clock) as engine:  # full: else it keeps its chunks short for who may come
                requests = self._requests[:width]
                rows.append(measure_engine(self._bare, twin, engine, clock, requests, seconds=seconds / len(widths)))
        self._parts["engine"] = tuple(rows)

    def _service(self, seconds: float) -> None:
        options = self._options
        lengths = [max(options.steps * quarters // 4, 1) for quarters in _LENGTHS]
        cases = [(clients, options.steps) for clients in options.clients]
        cases += [(options.clients[-1], steps) for steps in lengths if steps <= self._bundle.max_steps]
        cases = list(dict.fromkeys(cases))  # of very short pieces a quarter may be as long as a half
        rows = []
        with self._server() as (server, callers):
            for clients, steps in cases:
                _tell(f"service, clients {clients}, steps {steps}")
                rows.append(
                    measure_service(
                        self._bare,
                        callers,
                        Target("grpc", server.address),
                        plan_requests(self._bundle, steps, range(clients)),
                        steps=steps,
                        digest=self._bundle.digest,
                        seconds=seconds / len(cases),
                    )
                )
        self._parts["service"] = tuple(rows)

    def _peers(self, seconds: float) -> None:
        from bench.peers.measure import PEERS, measure_peers  # only now: they need PyTorch and more

        clients = self._options.clients[-1]
        with self._server() as (server, callers):
            rows = measure_peers(
                callers,
                Target("grpc", server.address),
                self._bundle,
                clients=clients,
                steps=self._options.steps,
                seconds=seconds,
            )
            self._parts["peers"] = tuple(next(rows) for _ in _told("peer {}", [peer.name for peer in PEERS]))

    def _latency(self, seconds: float) -> None:
        _tell("open load")
        with self._server() as (server, callers):
            self._parts["latency"] = measure_latency(
                callers,
                Target("grpc", server.address),
                clients=self._options.clients[-1],
                slots=SLOTS,
                queue_limit=QUEUE_LIMIT,
                steps=self._options.steps,
                tokens=self._requests[0].max_tokens,
                seconds=seconds,
            )

    def _fairness(self, seconds: float) -> None:
        _tell("fairness")
        steps = min(_SHORT_STEPS, self._options.steps)
        with self._server() as (server, callers):
            self._parts["fairness"] = measure_fairness(
                callers,
                Target("grpc", server.address),
                others=self._options.clients[-1] - 1,
                other_steps=self._bundle.max_steps,
                steps=steps,
                tokens_per_step=self._requests[0].max_tokens // self._options.steps,
                calls=_FAIRNESS_CALLS,
                seconds=seconds,
            )

    def _growth(self, seconds: float) -> None:
        from bench.growth import measure_memory, measure_networks, measure_pieces, measure_slots  # they need PyTorch

        options, each = self._options, seconds / 3
        _tell("growth: slots")
        rows = measure_slots(self._bundle, options, self._precision, seconds=each)
        _tell("growth: pieces")
        rows += measure_pieces(self._bundle, options, self._precision, seconds=each)
        _tell("growth: networks")
        with TemporaryDirectory() as folder:
            rows += measure_networks(self._bundle, options, self._precision, Path(folder), seconds=each)
        _tell("growth: memory")
        clients = options.clients[-1]
        with self._server() as (server, callers):
            memory = measure_memory(callers, server, clients=clients, steps=options.steps, tokens=options.soak_tokens)
        self._parts["growth"] = Growth(rows=tuple(rows), memory=memory)

    def _precisions(self, seconds: float) -> None:
        # Only now: it needs the onnx package and PyTorch.
        from bench.precision import measure_network_precisions, measure_precisions, measure_sampling

        precisions = [name for name in get_args(Precision) if decode_graphs(self._bundle, name)]
        share = seconds / (len(precisions) + 2)
        if "int8" in precisions:
            _tell("int8 and float32")
            rows = measure_precisions(self._bundle, self._options, self._requests, seconds=share)
            _tell("int8 and float32: networks")
            with TemporaryDirectory() as folder:
                rows += measure_network_precisions(
                    self._bundle, self._options, self._requests, Path(folder), seconds=share
                )
            self._parts["precisions"] = tuple(rows)
        else:
            self._skipped.append("int8 was not measured: the bundle has no int8 graphs.")
        _tell("sampling")
        self._parts["sampling"] = tuple(
            measure_sampling(self._bundle, self._options, self._requests, precisions, seconds=share)
        )

    def _operators(self, seconds: float) -> None:
        if self._bare.provider != CPU:
            self._skipped.append("Operators were not measured: a GPU's work goes on after its nodes have returned.")
            return
        _tell("operators")
        self._parts["operators"] = tuple(
            measure_operators(self._bundle, self._options, self._precision, self._requests)
        )

    def _prefill(self, seconds: float) -> None:
        tokens_a_step = self._requests[0].max_tokens // self._options.steps
        if self._bundle.max_steps * tokens_a_step < 2 * TOKENS:
            self._skipped.append(f"Prefill was not measured: {self._bundle.name} writes no pieces that long.")
            return
        _tell("prefill")
        requests = plan_requests(self._bundle, self._bundle.max_steps, range(OTHERS + 1))
        times = RunTimes()
        with self._engine_of(_PREFILL_SLOTS, times) as engine:
            self._parts["prefill"] = measure_prefill(self._bare, engine, times, requests, seconds=seconds)

    def _served_precision(self) -> Precision:
        """What engine and server choose for this bundle."""
        options = self._options
        runner = make_runner(
            self._bundle, slots=1, provider=options.provider, threads=options.threads, precision=options.precision
        )
        runner.close()
        return precision_of(runner)

    def _loop(self) -> BareLoop:
        return bare_loop(self._bundle, self._options, self._precision)

    @contextmanager
    def _engine_of(self, slots: int, observer: EngineObserver) -> Iterator[Engine]:
        options = self._options
        runner = make_runner(
            self._bundle,
            slots=slots,
            provider=options.provider,
            threads=options.threads,
            precision=self._precision,
        )
        engine = Engine(runner, queue_limit=0, observer=observer, name=self._bundle.name)
        try:
            engine.warm_up()
            engine.start()
            yield engine
        finally:
            engine.stop()

    @contextmanager
    def _server(self) -> Iterator[tuple[Running, Executor]]:
        options = self._options
        with (
            running_server(
                self._bundle.path,
                provider=options.provider,
                threads=options.threads,
                precision=self._precision,
            ) as server,
            client_process(self._cores.clients) as callers,
        ):
            yield server, callers


def _tell(what: str) -> None:
    sys.stderr.write(f"measuring: {what}\n")


def _told(what: str, each: Sequence[T]) -> Iterator[T]:
    for one in each:
        _tell(what.format(one))
        yield one
