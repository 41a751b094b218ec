"""The rows of a report, a class for each thing that is measured."""

from statistics import median, quantiles
from typing import Final, Literal

from bench.comparison import Comparison, Percentiles, Table, Tail

OPERATORS_WIDTH: Final = 64
"""Rows of the runs whose operators are told apart."""


class EngineRow(Table):
    """The engine at one width."""

    width: int
    comparison: Comparison
    control: Comparison
    """A second bare loop in the engine's place: two equal things, compared in the same way."""
    run_share: float
    """Part of the engine's time that the runner took, 0 to 1; the rest is the engine's own."""
    same_tokens: bool
    """Whether engine and bare loop wrote the same."""


class ServiceRow(Table):
    """The service under a number of clients, each of which asks for the next piece when it has one."""

    clients: int
    piece_tokens: int
    comparison: Comparison
    calls: int
    """Calls that the durations are of."""
    latency: Percentiles
    """From asking to the whole piece, as the client sees it."""
    first_token: Percentiles
    """From admission to the first token, as the response's timing says."""
    outside_engine: Percentiles
    """Latency less the engine's total: the wire, validation, decoding, MIDI."""


class PeerRow(Table):
    """The service against one other way to serve the same weights."""

    name: str
    """What it is, such as `PyTorch loop behind gRPC`."""
    versions: str
    """What it was made with."""
    clients: int
    piece_tokens: int
    """Tokens of one piece."""
    comparison: Comparison
    """The peer as the reference: the ratio says how many times as fast the service is."""
    worst_logit: float | None
    """Largest difference between a logit of its network and the same one of the bundle's own graphs; None where it
    runs a graph of the bundle itself."""
    latency: Percentiles
    """From asking the peer to the whole piece."""


class LoadRow(Table):
    """The service under one rate of arrivals that do not wait for answers."""

    load: float
    """Arrivals by capacity; 0 for one call at a time with pauses, which is called idle."""
    seconds: float
    """How long calls arrived."""
    arrived: int
    """Calls."""
    rejected: int
    """Calls that were told to come back later."""
    first_note: Tail
    """From the intended arrival to the first token, of those that were not rejected."""
    whole: Tail
    """From the intended arrival to the whole piece."""
    rejection: Tail | None
    """From sending a call that was rejected to its answer; None where none was."""
    late: Percentiles
    """From the intended arrival to sending: what the clients themselves added, which is in all of the above."""


class Latency(Table):
    """The service under open load."""

    piece_tokens: int
    capacity: float
    """Pieces a second that it writes for clients that always have one in hand: what the loads are multiples of."""
    clients: int
    """How many those are."""
    slots: int
    queue_limit: int
    rows: tuple[LoadRow, ...]
    goodput: Comparison
    """Tokens a second at the heaviest load, by those that the capacity is taken with, in turn."""


class Fairness(Table):
    """A short piece's first note, alone and behind pieces of the greatest length, round by round."""

    others: int
    """Long pieces beside it."""
    other_tokens: int
    """Tokens of each of them."""
    piece_tokens: int
    """Tokens of the short piece."""
    idle_seconds: tuple[float, ...]
    """Median over the calls of a round."""
    behind_seconds: tuple[float, ...]
    """The same, behind the others."""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Behind by idle, round by round."""
        return tuple(behind / idle for idle, behind in zip(self.idle_seconds, self.behind_seconds, strict=True))

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return median(self.ratios)

    @property
    def middle_half(self) -> tuple[float, float]:
        """First and third quartile of the ratios."""
        first, _, third = quantiles(self.ratios, n=4, method="inclusive")
        return first, third


class GrowthRow(Table):
    """What a token costs when one thing grows; the reference is the smallest of its kind."""

    what: Literal["slots", "piece", "bundle"]
    size: int
    """Slots of the engine, tokens of the piece, or parameters of the network."""
    base: int
    """The reference's size."""
    width: int
    """Pieces that were written at once."""
    comparison: Comparison

    @property
    def microseconds(self) -> float:
        """What a token costs."""
        return 1e6 / self.comparison.rate


class Memory(Table):
    """Resident memory of the server while clients keep it busy."""

    tokens: tuple[int, ...]
    """Tokens written until each sample."""
    resident_bytes: tuple[int, ...]
    """What the server held then."""

    @property
    def growth(self) -> float:
        """What the second half of the samples holds at its end by what it held at its beginning, less 1."""
        settled = self.resident_bytes[len(self.resident_bytes) // 2 :]
        return settled[-1] / settled[0] - 1.0


class Growth(Table):
    """Cost against size, and memory over time."""

    rows: tuple[GrowthRow, ...]
    memory: Memory


class PrecisionRow(Table):
    """int8 against float32, two bare loops of the same bundle."""

    network: str = ""
    """Layers x units of a network whose weights were drawn at random; empty where it is the bundle's own."""
    width: int
    comparison: Comparison
    """float32 as the reference."""
    different: float
    """Part of the pieces that are not the same in both, 0 to 1."""


class OperatorRow(Table):
    """All nodes of one operator in a step of the bare loop, `OPERATORS_WIDTH` wide."""

    operator: str
    """As ONNX or ONNX Runtime calls it."""
    nodes: float
    """How many a step has; what the graph has once a run counts in part."""
    seconds: float
    """What they take of a step, without what the profiler takes."""


class SamplingRow(Table):
    """What drawing a token costs: a step of the decode graph against the same step with every token told."""

    precision: str
    width: int
    comparison: Comparison
    """The graph without its sampler as the reference."""

    @property
    def share(self) -> float:
        """Part of a step that the sampler takes."""
        return 1.0 - self.comparison.ratio


class Prefill(Table):
    """A primer taken in at once against stepping through it."""

    tokens: int
    """Tokens of the primer."""
    comparison: Comparison
    """Stepping as the reference, tokens of the primer a second."""
    others: int
    """Pieces that ran beside it when their stall was measured."""
    gap_seconds: tuple[float, ...]
    """Longest time between two runs' ends while the primer came in, round by round."""
    run_seconds: tuple[float, ...]
    """Median time between two runs' ends before it came."""

    @property
    def stall(self) -> float:
        """The gap by the run, at the median of the rounds: 1 if nobody noticed."""
        return median(gap / run for gap, run in zip(self.gap_seconds, self.run_seconds, strict=True))
