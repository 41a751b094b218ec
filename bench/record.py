"""What one run of the benchmark measured, as kept in `bench/results/NAME.json`."""

from pathlib import Path
from statistics import median
from typing import Final, Literal

from bench.comparison import Comparison, Percentiles, TailPercentiles
from bench.machine import Machine
from report import Record

RESULTS: Final = Path(__file__).parent / "results"
"""Folder of the recorded runs."""
SOAK_RESULTS: Final = RESULTS / "soak"
"""Folder of the recorded determinism soaks."""
BUSY_LOAD: Final = 0.8
"""Arrivals divided by capacity at which first tokens must still be fast."""
OVERLOAD: Final = 3.0
"""Arrivals divided by capacity at which goodput is measured."""


class EngineRow(Record):
    """The engine at one width."""

    width: int
    comparison: Comparison
    control: Comparison
    """A second bare loop instead of the engine: two equal things, compared in the same way."""
    runner_share: float
    """Part of the engine's time inside the runner, 0 to 1."""
    same_tokens: bool
    """Whether engine and bare loop wrote the same tokens."""


class ServiceRow(Record):
    """The service under a number of closed-loop clients."""

    clients: int
    piece_tokens: int
    comparison: Comparison
    calls: int
    """Calls that the durations are of."""
    latency: Percentiles
    """From the request to the whole piece, as the client sees it."""
    first_token: Percentiles
    """From admission to the first token, from the response's timing."""
    outside_engine: Percentiles
    """Latency minus the engine's total: wire, validation, notes and MIDI."""


class PeerRow(Record):
    """The service against one other way to serve the same weights."""

    name: str
    versions: str
    """Libraries that it is made with."""
    clients: int
    piece_tokens: int
    comparison: Comparison
    """The peer is the reference: the ratio says how many times as fast the service is."""
    logit_difference: float | None
    """Largest difference between a logit of its network and the bundle's; None where it runs a graph of the bundle."""
    latency: Percentiles
    """From the request to the peer's whole piece."""


class LoadRow(Record):
    """The service under one rate of open-loop arrivals. Durations count from the intended arrival."""

    load_factor: float
    """Arrivals divided by capacity; 0 for one call at a time with pauses (idle)."""
    seconds: float
    """How long calls arrived."""
    calls: int
    rejected: int
    """Calls that were rejected with a retry hint."""
    first_token: TailPercentiles
    latency: TailPercentiles
    """Until the whole piece."""
    rejection: TailPercentiles | None
    """From sending a rejected call to its answer; None without rejections."""
    send_delay: Percentiles
    """From the intended arrival to sending: what the clients add to all of the above."""


class OpenLoad(Record):
    """The service under open load."""

    piece_tokens: int
    capacity: float
    """Pieces a second for closed-loop clients: the unit of the loads."""
    clients: int
    """Number of those clients."""
    slots: int
    queue_limit: int
    rows: tuple[LoadRow, ...]
    goodput: Comparison
    """Tokens a second of answered calls at `OVERLOAD`; the reference is the capacity, in turn."""


class Fairness(Record):
    """First token of a short piece, alone and beside long pieces, round by round."""

    long_pieces: int
    long_tokens: int
    """Tokens of each long piece."""
    short_tokens: int
    idle_seconds: tuple[float, ...]
    """Median over the calls of a round, alone."""
    loaded_seconds: tuple[float, ...]
    """The same, beside the long pieces."""

    @property
    def comparison(self) -> Comparison:
        """The delays as rates; the ratio is loaded / idle."""
        return Comparison(
            reference_rates=tuple(1.0 / seconds for seconds in self.loaded_seconds),
            rates=tuple(1.0 / seconds for seconds in self.idle_seconds),
        )


class Neighbours(Record):
    """The service alone and beside processes of the same cores that compute all the time."""

    processes: int
    cores: int
    """Cores that the server and these processes share."""
    clients: int
    comparison: Comparison
    """Alone is the reference."""

    @property
    def fair_share(self) -> float:
        """Part of the cores' time that each computing thread would have, if the server had one."""
        return min(1.0, self.cores / (self.processes + 1))


class PrecisionRow(Record):
    """int8 against float32: two bare loops of the same bundle."""

    width: int
    comparison: Comparison
    """float32 is the reference."""
    different: float
    """Part of the pieces that differ between the two, 0 to 1."""


class Prefill(Record):
    """A primer read by the prefill graph, against stepping through it."""

    tokens: int
    """Tokens of the primer."""
    comparison: Comparison
    """Stepping is the reference, in tokens of the primer a second."""
    concurrent: int
    """Pieces that run while the primer is read."""
    gap_seconds: tuple[float, ...]
    """Longest time between the ends of two of their runs while the primer is read, round by round."""
    run_seconds: tuple[float, ...]
    """Median time between the ends of two of their runs before the primer arrives."""

    @property
    def stall(self) -> float:
        """Median of gap / run: 1 if the primer delays no run."""
        return median(gap / run for gap, run in zip(self.gap_seconds, self.run_seconds, strict=True))


class RunRecord(Record):
    """When, where and with which bundle something was measured."""

    format_version: Literal[2] = 2
    date: str
    """When it began, UTC, ISO 8601."""
    machine: Machine
    bundle: str
    """Name of the bundle."""
    digest: str
    """sha256 of the bundle's manifest, in hex."""
    provider: str
    """Execution provider of ONNX Runtime."""
    precision: str
    """Arithmetic of the decode graphs."""


class BenchmarkRecord(RunRecord):
    """One run of the benchmark."""

    threads: int
    """Threads of one run."""
    chunk_steps: int
    """Steps of one run of the bare loop."""
    piece_tokens: int
    """Tokens of one piece."""
    load_before: tuple[float, float, float]
    """Load averages of the machine over 1, 5 and 15 minutes at the beginning."""
    load_after: tuple[float, float, float]
    """The same at the end, the benchmark itself included."""
    engine: tuple[EngineRow, ...] = ()
    service: tuple[ServiceRow, ...] = ()
    peers: tuple[PeerRow, ...] = ()
    open_load: OpenLoad | None = None
    fairness: Fairness | None = None
    neighbours: Neighbours | None = None
    precisions: tuple[PrecisionRow, ...] = ()
    prefill: Prefill | None = None
    skipped: tuple[str, ...] = ()
    """What could not be measured, with the reason, a sentence each."""
