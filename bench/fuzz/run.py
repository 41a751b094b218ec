"""Runs a workload against a server: probes, slices in several client processes, the server's state at the end."""

import asyncio
import base64
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import grpc

from bench.fuzz.caller import Caller, Outcome, Slice, Tally, run_slice
from bench.fuzz.cases import Case
from bench.fuzz.facts import ModelFacts
from bench.fuzz.record import Fault, FuzzRecord, ModelRecord, ServerState, Sitting
from bench.fuzz.requests import random_request
from bench.fuzz.spans import Span, merged, remaining
from bench.fuzz.target import FuzzTarget, fuzz_target
from bench.fuzz.workloads import Workload
from bench.machine import describe_machine
from bench.options import BenchError
from fantasia.v1 import generation_pb2 as pb
from training.loop.stop_request import StopRequest

_SLICE: Final = 1000
"""Cases of one slice, at most: what a killed run loses in each process."""
_PROBES: Final = 20
_SETTLE_SECONDS: Final = 30.0
_MAX_LOG_LINES: Final = 50
_MAX_FAULTS: Final = 10_000
"""Faults after which a run gives up."""


@dataclass(frozen=True)
class FuzzOptions:
    """What one run sends."""

    workload: Workload
    calls: int
    models: Path = Path("models")
    seed: int = 1
    processes: int = 2
    tasks: int = 24
    """Calls of a process at a time."""
    server: tuple[str, ...] = ()
    """Further flags of the server."""


def run_fuzz(
    options: FuzzOptions, earlier: FuzzRecord | None = None, checkpoint: Callable[[FuzzRecord], None] | None = None
) -> FuzzRecord:
    """Start a server, send all cases, and check the answers and the server's state; progress goes to stderr.

    The first SIGINT or SIGTERM lets it end after the slices that are under way, as if there were no other cases.

    Args:
        options: what to send.
        earlier: a record to continue: its cases are not sent again, and what is found is added to it.
        checkpoint: gets what is found so far, after each slice.

    Returns:
        What was found, in all sittings. It is `earlier` if no cases are left.

    Raises:
        BenchError: the record is one of other cases, the server does not start, or it does not answer at the end.
    """
    if earlier is not None:
        _check_continues(options, earlier)
    done = earlier.cases if earlier else ()
    left = list(remaining(done, options.calls, min(_SLICE, -(-options.calls // options.processes))))
    if earlier is not None and not left:
        return earlier
    with (
        tempfile.TemporaryDirectory() as folder,
        fuzz_target(options.models, Path(folder), options.server) as target,
        StopRequest(verbose=False) as stop,
    ):
        run = _Run(options, target, earlier)
        for span, part in _run_slices(options, target, left, stop):
            run.add(span, part)
            tally = run.tally
            _progress(f"{tally.calls:,} of {options.calls:,} calls, {tally.fault_count} faults, {_summary(tally)}")
            if checkpoint is not None:
                checkpoint(run.record())
        if not target.is_running:
            raise BenchError(f"the server died: {' '.join(target.log[-5:])}")
        return run.finish()


def _check_continues(options: FuzzOptions, earlier: FuzzRecord) -> None:
    if (earlier.workload, earlier.seed) != (options.workload, options.seed):
        raise BenchError(
            f"the record is of {earlier.workload} with seed {earlier.seed}, not of {options.workload} with seed "
            f"{options.seed}; choose another name, or begin anew with --fresh"
        )
    if earlier.total and not earlier.cases:
        raise BenchError(
            "the record does not say which cases were sent; choose another name, or begin anew with --fresh"
        )


class _Run:
    """One sitting. It sends the probes when it is made.

    Args:
        options: what is sent.
        target: the server.
        earlier: the record that it continues.
    """

    def __init__(self, options: FuzzOptions, target: FuzzTarget, earlier: FuzzRecord | None) -> None:
        self.tally = Tally() if earlier is None else Tally.of(earlier)
        """Of all sittings."""
        self._options, self._target = options, target
        self._earlier = () if earlier is None else earlier.sittings
        self._done = () if earlier is None else earlier.cases
        self._calls_before, self._faults_before = self.tally.calls, self.tally.fault_count
        self._began, self._date = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        self._machine = describe_machine()
        self._models, self._probes = asyncio.run(_probe(target.address, options.seed, ()))
        self._resident_start = target.resident_bytes

    def add(self, span: Span, part: Tally) -> None:
        """Count the cases of a slice."""
        self._done = merged((*self._done, span))
        self.tally.add(part)

    def finish(self) -> FuzzRecord:
        """Wait until the server has finished, and repeat the probes."""
        _settle(self._target, self._resident_start)
        _, again = asyncio.run(_probe(self._target.address, self._options.seed, self._probes))
        _settle(self._target, self._resident_start)
        return self.record(sum(one != other for one, other in zip(self._probes, again, strict=True)))

    def record(self, changed: int | None = None) -> FuzzRecord:
        """What is found so far.

        Args:
            changed: probes that got other bytes at the end; None before the end.
        """
        tally = self.tally
        sitting = Sitting(
            date=self._date,
            machine=self._machine,
            models=tuple(
                ModelRecord(name=each.name, digest=each.message.digest, precision=each.message.precision)
                for each in self._models
            ),
            server_flags=self._options.server,
            calls=tally.calls - self._calls_before,
            seconds=time.monotonic() - self._began,
            server=_state(self._target, self._resident_start),
            probes=len(self._probes),
            probes_changed=changed or 0,
            fault_count=tally.fault_count - self._faults_before,
            log=tuple(self._target.log[:_MAX_LOG_LINES]),
            is_checked=changed is not None,
        )
        return FuzzRecord(
            workload=self._options.workload,
            seed=self._options.seed,
            cases=self._done,
            calls=tally.call_counts,
            checked=tally.checked,
            compared=tally.compared,
            max_call_seconds=tally.max_seconds,
            fault_count=tally.fault_count,
            faults=tuple(tally.faults),
            sittings=(*self._earlier, sitting),
        )


def replay(faults: Sequence[Fault], models: Path, server: Sequence[str] = ()) -> Iterator[tuple[Fault, Outcome]]:
    """Send recorded requests again, one at a time, to a new server.

    Raises:
        BenchError: the server does not start.
    """
    with tempfile.TemporaryDirectory() as folder, fuzz_target(models, Path(folder), server) as target:
        for fault in faults:
            case = Case(fault.method, base64.b64decode(fault.payload))
            yield fault, asyncio.run(_call_once(target.address, case))


async def _call_once(address: str, case: Case) -> Outcome:
    async with grpc.aio.insecure_channel(address) as channel:
        return await (await Caller.connect(channel)).call(case)


async def _probe(
    address: str, seed: int, earlier: Sequence[tuple[bytes, bytes]]
) -> tuple[Sequence[ModelFacts], list[tuple[bytes, bytes]]]:
    """Send some fixed requests one after the other.

    Args:
        address: of the server.
        seed: of the requests.
        earlier: requests and answers of an earlier call of this function; empty to draw requests.

    Returns:
        The models, and requests with answers. Answers have no times and no resume tokens.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        caller = await Caller.connect(channel)
        found: list[tuple[bytes, bytes]] = []
        requests = (payload for payload, _ in earlier) if earlier else _probe_requests(seed, caller.models)
        for payload in requests:
            outcome = await caller.call(Case("Generate", payload))
            if earlier or outcome.answer is not None:
                found.append((payload, _canonical(outcome)))
            if len(found) == _PROBES:
                break
        return caller.models, found


def _probe_requests(seed: int, models: Sequence[ModelFacts]) -> Iterator[bytes]:
    """Valid requests with seeds, mostly; without an end."""
    for index in count():
        rng = random.Random(f"probe {seed} {index}")
        request = random_request(rng, models)
        request.seed = index
        yield request.SerializeToString()


def _canonical(outcome: Outcome) -> bytes:
    if outcome.answer is None:
        return outcome.code.encode()
    answer = pb.GenerateResponse()
    answer.CopyFrom(outcome.answer)
    answer.ClearField("timing")
    for piece in answer.pieces:
        piece.ClearField("resume_token")
    return answer.SerializeToString(deterministic=True)


def _run_slices(
    options: FuzzOptions, target: FuzzTarget, spans: Sequence[Span], stop: StopRequest
) -> Iterator[tuple[Span, Tally]]:
    """Slices and what they found, as soon as they are done.

    It begins no further slices after many faults, after a stop signal, or if the server ends.
    """
    faults, left = 0, iter(spans)
    running: dict[Future[Tally], Span] = {}
    with ProcessPoolExecutor(options.processes, get_context("spawn"), _ignore_interrupts) as executor:
        while True:
            ends = stop.signal is not None or faults > _MAX_FAULTS or not target.is_running
            while not ends and len(running) < options.processes and (span := next(left, None)) is not None:
                running[executor.submit(run_slice, _slice(options, target.address, span))] = span
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                tally = future.result()
                faults += tally.fault_count
                yield running.pop(future), tally


def _slice(options: FuzzOptions, address: str, span: Span) -> Slice:
    return Slice(address, options.workload, options.seed, span.first, span.count, options.tasks, options.models)


def _ignore_interrupts() -> None:
    """Ctrl-C signals the client processes too, which shall finish their slices."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _state(target: FuzzTarget, resident_start: int) -> ServerState:
    metrics = target.metrics()
    return ServerState(
        resident_bytes_start=resident_start,
        resident_bytes_end=target.resident_bytes,
        resident_bytes_max=target.max_resident_bytes,
        received=int(metrics["fantasia_requests_received_total"]),
        finished=int(metrics["fantasia_requests_finished_total"]),
        in_flight=int(metrics["fantasia_requests_in_flight"]),
        slots_used=int(metrics["fantasia_slots_used"]),
        queued=int(metrics["fantasia_queue_length"]),
    )


def _settle(target: FuzzTarget, resident_start: int) -> None:
    """Wait until nothing is in flight, or for half a minute."""
    until = time.monotonic() + _SETTLE_SECONDS
    while not _state(target, resident_start).is_clean and time.monotonic() < until:
        time.sleep(0.2)


def _summary(tally: Tally) -> str:
    codes: dict[str, int] = {}
    for (_, code), calls in tally.counts.items():
        codes[code] = codes.get(code, 0) + calls
    return ", ".join(f"{code} {calls / tally.calls:.1%}" for code, calls in sorted(codes.items()))


def _progress(what: str) -> None:
    sys.stderr.write(f"{what}\n")
