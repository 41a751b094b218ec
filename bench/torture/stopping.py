"""SIGTERM while many pieces are written: each is finished, or goes on elsewhere from its resume token."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.served import Served, served
from bench.torture.record import Finding
from fantasia_client import AsyncClient, CallCancelledError, FantasiaClientError, Retry, ServerUnavailableError

NAME: Final = "signal under load"
_DRAIN_SECONDS: Final = 3.0
_EXIT_SECONDS: Final = 5.0
"""After the drain."""
_STREAMS: Final = 48
_WHOLE: Final = 16
_BARS: Final = 64
_SHORT_BARS: Final = 4
_LOST: Final = "neither finished nor resumable"
_DIFFERENT: Final = "different"


def stop_under_load(models: Path) -> Finding:
    """Send SIGTERM to a server that writes 64 pieces, and let another one go on with what it leaves.

    Raises:
        BenchError: a server does not start, or does not end.
        FantasiaClientError: a call of the other server failed.
    """
    with TemporaryDirectory() as folder:
        flags = ("--drain-seconds", str(_DRAIN_SECONDS))
        with served(models, Path(folder), *flags) as server, served(models, Path(folder), *flags) as other:
            return asyncio.run(_stop(server, other))


async def _stop(server: Served, other: Served) -> Finding:
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    before, began = server.resources(), time.monotonic()
    async with AsyncClient(server.address, retry=Retry(attempts=1)) as client, AsyncClient(other.address) as heir:
        with server.watched():
            streams = [asyncio.create_task(_stream(client, heir, seed, outcomes)) for seed in range(_STREAMS)]
            whole = [asyncio.create_task(_whole(client, heir, seed, outcomes)) for seed in range(_WHOLE)]
            await asyncio.sleep(1.0)
            signalled = time.monotonic()
            server.process.terminate()
            code = await asyncio.to_thread(server.wait)
            seconds = time.monotonic() - signalled
            await asyncio.gather(*streams, *whole)
    if code:
        faults.append(f"the server ended with code {code}")
    if seconds > _DRAIN_SECONDS + _EXIT_SECONDS:
        faults.append(f"the server ended {seconds:.1f} s after the signal")
    lost = {name: count for name, count in outcomes.items() if name.startswith(_LOST)}
    faults += [f"{count} calls are {name}" for name, count in lost.items()]
    if outcomes[_DIFFERENT]:
        faults.append(f"{outcomes[_DIFFERENT]} pieces differ")
    told = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    return Finding(
        scenario=NAME,
        done=f"SIGTERM beside {_STREAMS} streams and {_WHOLE} whole pieces, with {_DRAIN_SECONDS:g} s to finish",
        seconds=time.monotonic() - began,
        calls=_STREAMS + _WHOLE,
        failed=sum(lost.values()),
        different=outcomes[_DIFFERENT],
        max_seconds=time.monotonic() - began,
        before=before,
        peak_bytes=server.peak_bytes,
        after=other.resources(),
        facts=(f"Calls: {told}.", f"The server ended {seconds:.1f} s after the signal with code {code}."),
        faults=tuple(faults),
    )


def _bars(seed: int) -> int:
    return _SHORT_BARS if seed % 4 == 0 else _BARS


async def _stream(client: AsyncClient, heir: AsyncClient, seed: int, outcomes: Counter[str]) -> None:
    stream = client.stream(bars=_bars(seed), seed=seed, return_resume_token=True)
    try:
        async for _ in stream:
            pass
    except (ServerUnavailableError, CallCancelledError) as error:  # cancelled: it came after the signal
        point = stream.resume_point
        if point is not None:
            outcomes["resumed elsewhere"] += 1
            midi = (await heir.generate(resume=point)).midi
        elif not stream.watermark_ticks:  # no note was sent: the call begins anew
            outcomes["begun anew elsewhere"] += 1
            return
        else:
            outcomes[f"{_LOST}: {error}"] += 1
            return
    except FantasiaClientError as error:
        outcomes[f"{_LOST}: {type(error).__name__}: {error}"] += 1
        return
    else:
        outcomes["finished"] += 1
        assert stream.piece is not None
        midi = stream.piece.midi
    if midi != (await heir.generate(bars=_bars(seed), seed=seed)).midi:
        outcomes[_DIFFERENT] += 1


async def _whole(client: AsyncClient, heir: AsyncClient, seed: int, outcomes: Counter[str]) -> None:
    """A whole piece has no message that could hold a token: the same request elsewhere gives the same bytes."""
    try:
        midi = (await client.generate(bars=_bars(seed), seed=seed)).midi
    except (ServerUnavailableError, CallCancelledError):
        outcomes["begun anew elsewhere"] += 1
    except FantasiaClientError as error:
        outcomes[f"{_LOST}: {type(error).__name__}: {error}"] += 1
    else:
        outcomes["finished"] += 1
        if midi != (await heir.generate(bars=_bars(seed), seed=seed)).midi:
            outcomes[_DIFFERENT] += 1
