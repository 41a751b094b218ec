"""One scenario: a server, callers that behave well, and something bad that happens meanwhile."""

import asyncio
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from bench.options import BenchError
from bench.scale.callers import Callers
from bench.served import Resources, Served, served
from bench.torture.attacks import ATTACKS, Attack
from bench.torture.record import Finding

MEMORY_LIMIT: Final = 2560 << 20
"""Bytes: the memory limit of the pods."""
_CLIENTS: Final = 2
_RATE: Final = 4.0
"""Calls a second of the callers that behave well."""
_MORE_DESCRIPTORS: Final = 16
_MORE_THREADS: Final = 8
_FAKETIME: Final = ("/usr/lib/*-linux-gnu*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")
_CLOCKS: Final = ("+1d", "-400d", "+10y", "+0")
"""Offsets of the wall clock, one after the other."""


@dataclass
class Scenario:
    """Something bad that happens to a server for some time.

    Args:
        name: for the record.
        happen: does it until the event is set, and says what it did.
    """

    name: str
    happen: Callable[[Served, threading.Event], str]
    flags: tuple[str, ...] = ()
    """Of the server."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the server."""
    output: IO[bytes] | None = None
    """Where the server's log goes; None for a file."""
    models: Path | None = None
    """Bundles of its own."""
    check: Callable[[Served], tuple[list[str], list[str]]] | None = None
    """Looks at the server at the end, and returns facts and faults."""


@contextmanager
def scenarios(models: Path, folder: Path, wanted: tuple[str, ...]) -> Iterator[tuple[list[Scenario], list[str]]]:
    """The scenarios with these names, and a sentence for each one that cannot be had here.

    Args:
        models: folder of bundles.
        folder: for their files.
        wanted: names; all if empty.
    """
    found, skipped = [_hostile(attack) for attack in ATTACKS], []
    with Path("/dev/full").open("wb") as full:
        found.append(
            Scenario("full disk", _wait("standard error was a full disk"), ("--log-level", "info"), output=full)
        )
        found.append(_corrupted(models, folder))
        library = next((str(path) for pattern in _FAKETIME for path in Path("/").glob(pattern[1:])), None)
        if library is None:
            skipped.append("The clock did not jump: libfaketime is not installed.")
        else:
            found.append(_jumping_clock(library, folder))
        yield [each for each in found if not wanted or each.name in wanted], skipped


SCENARIOS: Final = (*(attack.name for attack in ATTACKS), "full disk", "corrupted bundle", "clock jumps")
"""Names of all scenarios."""


def run_scenario(scenario: Scenario, models: Path, seconds: float, settle_seconds: float = 10.0) -> Finding:
    """Let it happen for some time.

    Args:
        scenario: what happens.
        models: folder of bundles.
        seconds: how long it happens.
        settle_seconds: from its end to the last look at the server.

    Raises:
        BenchError: the server does not start, or is gone.
        FantasiaClientError: a call failed before anything bad happened.
    """
    with (
        TemporaryDirectory() as folder,
        served(
            scenario.models or models,
            Path(folder),
            *scenario.flags,
            environment=scenario.environment,
            output=scenario.output,
        ) as server,
    ):
        return asyncio.run(_scene(scenario, server, seconds, settle_seconds))


async def _scene(scenario: Scenario, server: Served, seconds: float, settle_seconds: float) -> Finding:
    over, stopped = threading.Event(), asyncio.Event()
    async with Callers(server.address, _CLIENTS) as callers:
        await callers.learn(server.address)
        before = server.resources()
        with server.watched():
            calls = asyncio.create_task(callers.call_until(stopped, _RATE))
            happening = asyncio.create_task(asyncio.to_thread(scenario.happen, server, over))
            await asyncio.sleep(seconds)
            over.set()
            done = await happening
            stopped.set()
            tally = await calls
    await asyncio.sleep(settle_seconds)
    after = await asyncio.to_thread(server.resources)
    facts, faults = scenario.check(server) if scenario.check else ([], [])
    faults += _faults(server, before, after)
    if tally.failed:
        faults.append(f"{tally.failed} of {tally.calls} calls failed: {tally.errors[0]}")
    if tally.different:
        faults.append(f"{tally.different} pieces differ")
    return Finding(
        scenario=scenario.name,
        done=done,
        seconds=seconds,
        calls=tally.calls,
        failed=tally.failed,
        different=tally.different,
        max_seconds=tally.max_seconds,
        before=before,
        peak_bytes=server.peak_bytes,
        after=after,
        facts=tuple(facts),
        faults=tuple(faults),
    )


def _faults(server: Served, before: Resources, after: Resources) -> list[str]:
    faults = []
    if server.peak_bytes > MEMORY_LIMIT:
        faults.append(f"the server took {server.peak_bytes >> 20} MiB, more than a pod may")
    if after.threads > before.threads + _MORE_THREADS:
        faults.append(f"threads rose from {before.threads} to {after.threads}")
    if after.descriptors > before.descriptors + _MORE_DESCRIPTORS:
        faults.append(f"descriptors rose from {before.descriptors} to {after.descriptors}")
    for name in ("fantasia_requests_in_flight", "fantasia_slots_used", "fantasia_queue_length"):
        if left := server.metric(name):
            faults.append(f"{name} is {left:g} at the end")
    if not server.is_ready():
        faults.append("the server is not ready at the end")
    return faults


def _hostile(attack: Attack) -> Scenario:
    return Scenario(attack.name, attack.run, attack.flags)


def _wait(done: str) -> Callable[[Served, threading.Event], str]:
    def happen(server: Served, over: threading.Event) -> str:
        over.wait()
        return done

    return happen


def _corrupted(models: Path, folder: Path) -> Scenario:
    """The files of the served bundles are overwritten, and the server is told to read them again."""
    copy = folder / "corrupted"
    shutil.copytree(models, copy, symlinks=False)

    def happen(server: Served, over: threading.Event) -> str:
        files = [path for path in copy.rglob("*") if path.is_file() and path.name != "manifest.json"]
        for path in files:
            content = bytearray(path.read_bytes())
            middle = len(content) // 2
            content[middle : middle + 64] = bytes(64)
            path.write_bytes(content)
        server.process.send_signal(signal.SIGHUP)
        over.wait()
        return f"64 bytes of each of {len(files)} files of the served bundles were overwritten, then SIGHUP"

    return Scenario("corrupted bundle", happen, models=copy)


def _jumping_clock(library: str, folder: Path) -> Scenario:
    """The wall clock of the server jumps by days and years; the monotonic one does not, as on a real machine."""
    clock = folder / "clock"
    clock.write_text("+0")

    def happen(server: Served, over: threading.Event) -> str:
        for offset in _CLOCKS:
            clock.write_text(offset)
            if over.wait(2.0):
                break
        over.wait()
        clock.write_text("+0")
        return f"the wall clock jumped by {', '.join(_CLOCKS)}"

    environment = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    return Scenario("clock jumps", happen, environment=environment)


def check_names(names: tuple[str, ...]) -> None:
    """Check names of scenarios.

    Raises:
        BenchError: one does not exist.
    """
    for name in names:
        if name not in (*SCENARIOS, "signal under load"):
            raise BenchError(f"there is no scenario {name!r}")
