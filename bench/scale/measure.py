"""The scale test: what is measured, in which order."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from bench.clients import Target
from bench.comparison import compare
from bench.load import LoadGenerator, client_process
from bench.machine import describe_machine
from bench.scale.balancers import Balancing, balancing
from bench.scale.callers import Callers, CallsTally
from bench.scale.fleet import Fleet
from bench.scale.record import Balancer, BalancerResult, Disturbance, Join, ScaleRecord, Throughput
from bench.served import Served
from fantasia_client import Client

_CLIENTS: Final = 8
"""Callers with connections of their own, beside a join, a rollout and a crash."""
_JITTER: Final = 1.1
"""gRPC ends a connection up to a tenth later than its maximum age."""


@dataclass(frozen=True)
class ScaleOptions:
    """What one run measures."""

    models: Path = Path("models/chorales")
    balancers: tuple[Balancer, ...] = ("client", "envoy")
    replicas: int = 2
    """Number that serve before one joins."""
    rate: float = 8.0
    """Calls a second beside join, rollout and crash."""
    connection_age_seconds: float = 40.0
    join_seconds: float = 30.0
    """How long calls are counted after the join."""
    throughput_seconds: float = 30.0
    calls_at_a_time: int = 64
    """That measure the throughput."""
    steps: int = 128
    """Length of their pieces."""
    before_seconds: float = 5.0
    """Load before and after something happens to replicas."""
    pre_stop_seconds: float = 5.0
    """From the removal of an address to SIGTERM, as in the pods."""


def run_scale(options: ScaleOptions) -> ScaleRecord:
    """Measure all balancers; progress goes to stderr.

    Raises:
        BenchError: a replica or Envoy does not start, or a call fails that nothing disturbs.
        FantasiaClientError: the same.
    """
    date = datetime.now(UTC).isoformat(timespec="seconds")
    flags = ["--max-connection-age-seconds", str(options.connection_age_seconds)]
    results = []
    for balancer in options.balancers:
        with Fleet(options.models, flags) as fleet:
            results.append(_measure(balancer, fleet, options))
    with Fleet(options.models, flags) as fleet:
        replica = fleet.start()
        replica.wait_until_ready()
        with Client(replica.address) as client:
            model = client.get_model()
    return ScaleRecord(
        date=date,
        machine=describe_machine(),
        bundle=model.name,
        digest=model.digest,
        precision=model.precision,
        replicas=options.replicas,
        connection_age_seconds=options.connection_age_seconds,
        calls_per_second=options.rate,
        results=tuple(results),
    )


def _measure(balancer: Balancer, fleet: Fleet, options: ScaleOptions) -> BalancerResult:
    replicas = [fleet.start() for _ in range(options.replicas)]
    for replica in replicas:
        replica.wait_until_ready()
    with balancing(balancer, fleet.port) as way:
        _progress(f"{balancer}: throughput")
        throughput = _throughput(way, replicas, options)
        return asyncio.run(_under_load(balancer, way, fleet, replicas, throughput, options))


def _throughput(way: Balancing, replicas: Sequence[Served], options: ScaleOptions) -> list[Throughput]:
    found = []
    with client_process(frozenset()) as executor:
        load = LoadGenerator(executor, Target("grpc", way.target))

        def rate(count: int) -> float:
            way.set([replica.host for replica in replicas[:count]])
            return load.closed_loop(options.calls_at_a_time, options.steps).rate

        rate(len(replicas))  # warm up
        for count in range(2, len(replicas) + 1):
            share = options.throughput_seconds / (len(replicas) - 1)
            comparison = compare(lambda: rate(1), lambda count=count: rate(count), seconds=share)  # type: ignore[misc]
            found.append(Throughput(replicas=count, comparison=comparison))
    return found


async def _under_load(
    balancer: Balancer,
    way: Balancing,
    fleet: Fleet,
    replicas: list[Served],
    throughput: list[Throughput],
    options: ScaleOptions,
) -> BalancerResult:
    way.set([replica.host for replica in replicas])
    async with Callers(way.target, _CLIENTS) as callers:
        await callers.learn(replicas[0].address)
        scene = _Scene(way, fleet, replicas, callers, options)
        _progress(f"{balancer}: join")
        join = await scene.join()
        _progress(f"{balancer}: rollout")
        rollout = await scene.disturbed("rollout", scene.roll_out)
        _progress(f"{balancer}: crash")
        crash = await scene.disturbed("crash", scene.crash)
    return BalancerResult(balancer=balancer, throughput=tuple(throughput), join=join, disturbances=(rollout, crash))


class _Scene:
    """Replicas and their callers."""

    def __init__(
        self,
        way: Balancing,
        fleet: Fleet,
        replicas: list[Served],
        callers: Callers,
        options: ScaleOptions,
    ) -> None:
        self._way, self._fleet, self._replicas = way, fleet, replicas
        self._callers, self._options = callers, options

    async def join(self) -> Join:
        """Add a replica under load, wait for one connection age, and count the calls of each replica after it."""
        stopped = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._callers.call_until(stopped, self._options.rate))
            await asyncio.sleep(self._options.before_seconds)
            await self._add()
            await asyncio.sleep(self._options.connection_age_seconds * _JITTER)
            before = await self._received()
            await asyncio.sleep(self._options.join_seconds)
            after = await self._received()
            stopped.set()
        calls = tuple(later - earlier for earlier, later in zip(before, after, strict=True))
        return Join(calls=calls, seconds=self._options.join_seconds)

    async def disturbed(self, kind: Literal["rollout", "crash"], act: Callable[[], Awaitable[None]]) -> Disturbance:
        """Send calls while something happens to the replicas."""
        stopped = asyncio.Event()
        count = len(self._replicas)
        async with asyncio.TaskGroup() as group:
            calls = group.create_task(self._callers.call_until(stopped, self._options.rate))
            await asyncio.sleep(self._options.before_seconds)
            await act()
            await asyncio.sleep(self._options.before_seconds)
            stopped.set()
        tally: CallsTally = calls.result()
        return Disturbance(
            kind=kind,
            replicas=count,
            calls=tally.calls,
            retried=tally.retried,
            resumed=tally.resumed,
            failed=tally.failed,
            different=tally.different,
            max_seconds=tally.max_seconds,
            errors=tuple(tally.errors[:10]),
        )

    async def roll_out(self) -> None:
        """Replace the replicas one after the other, each as Kubernetes replaces a pod."""
        for replica in list(self._replicas):
            await self._add()
            self._replicas.remove(replica)
            self._publish()
            await asyncio.sleep(self._options.pre_stop_seconds)
            replica.process.terminate()
            await asyncio.to_thread(replica.wait)

    async def crash(self) -> None:
        """Kill a replica, and start another one later, as Kubernetes does."""
        replica = self._replicas.pop(0)
        replica.process.kill()
        await asyncio.to_thread(replica.wait)
        self._publish()
        await self._add()

    async def _add(self) -> None:
        replica = self._fleet.start()
        await asyncio.to_thread(replica.wait_until_ready)
        self._replicas.append(replica)
        self._publish()

    def _publish(self) -> None:
        self._way.set([replica.host for replica in self._replicas])

    async def _received(self) -> list[int]:
        return [await asyncio.to_thread(_received, replica) for replica in self._replicas]


def _received(replica: Served) -> int:
    """Generate and StreamGenerate calls that a replica received since its start."""
    return round(replica.metric("fantasia_requests_received_total", '"Generate"', '"StreamGenerate"'))


def _progress(what: str) -> None:
    sys.stderr.write(f"measuring: {what}\n")
