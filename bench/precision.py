"""int8 against float32, and what drawing a token costs in either."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bench.bare import bare_loop
from bench.cut import session_without_sampling
from bench.options import Options
from bench.rounds import interleaved
from bench.rows import PrecisionRow, SamplingRow
from bench.synthetic import write_bundle
from music.bundle import Bundle
from server.engine.precision import Precision, decode_graphs
from server.engine.request import EngineRequest

WIDTHS: Final = (1, 8, 64)
NETWORKS: Final = ((2, 512), (2, 1024))
"""Layers and hidden units of networks beside the bundle's own: the larger they are, the more of a step is products."""
NETWORK_WIDTHS: Final = (1, 64)
SAMPLING_WIDTH: Final = 64


def measure_precisions(
    bundle: Bundle, options: Options, requests: Sequence[EngineRequest], *, seconds: float
) -> list[PrecisionRow]:
    """Bare loops of both precisions, side by side."""
    return _measure(bundle, options, requests, WIDTHS, network="", seconds=seconds)


def measure_network_precisions(
    bundle: Bundle, options: Options, requests: Sequence[EngineRequest], folder: Path, *, seconds: float
) -> list[PrecisionRow]:
    """The same for larger networks of the bundle's kind.

    Args:
        bundle: whose tokenizer they have.
        options: how they run.
        requests: what they write.
        folder: where they are written.
        seconds: about how long it takes.
    """
    rows = []
    for layers, hidden in NETWORKS:
        other = write_bundle(folder / f"{layers}x{hidden}", bundle, layers, hidden)
        share, name = seconds / len(NETWORKS), f"{layers} x {hidden}"
        rows += _measure(other, options, requests, NETWORK_WIDTHS, network=name, seconds=share)
    return rows


def _measure(
    bundle: Bundle,
    options: Options,
    requests: Sequence[EngineRequest],
    widths: Sequence[int],
    *,
    network: str,
    seconds: float,
) -> list[PrecisionRow]:
    plain, short = (bare_loop(bundle, options, precision) for precision in ("float32", "int8"))
    rows = []
    for width in widths:
        some = requests[:width]
        tokens = sum(request.max_tokens for request in some)
        differ = (plain.run(some)[0] != short.run(some)[0]).any(axis=1)
        found = interleaved(
            lambda some=some, tokens=tokens: tokens / plain.run(some)[1],  # type: ignore[misc]
            lambda some=some, tokens=tokens: tokens / short.run(some)[1],  # type: ignore[misc]
            seconds=seconds / len(widths),
        )
        rows.append(PrecisionRow(network=network, width=width, comparison=found, different=float(np.mean(differ))))
    return rows


def measure_sampling(
    bundle: Bundle,
    options: Options,
    requests: Sequence[EngineRequest],
    precisions: Sequence[Precision],
    *,
    seconds: float,
) -> list[SamplingRow]:
    """The decode graph against the same one without its sampler, told the tokens that the first one drew."""
    some = requests[:SAMPLING_WIDTH]
    tokens = sum(request.max_tokens for request in some)
    rows = []
    for precision in precisions:
        whole = bare_loop(bundle, options, precision)
        drawn = whole.run(some)[0]
        graph = decode_graphs(bundle, precision)[whole.chunk_steps]
        session = session_without_sampling(bundle, graph, provider=options.provider, threads=options.threads)
        cut = bare_loop(bundle, options, precision, session)
        told = [_told(request, row) for request, row in zip(some, drawn.tolist(), strict=True)]
        cut.run(told)
        found = interleaved(
            lambda cut=cut, told=told: tokens / cut.run(told)[1],  # type: ignore[misc]
            lambda whole=whole: tokens / whole.run(some)[1],  # type: ignore[misc]
            seconds=seconds / len(precisions),
        )
        rows.append(SamplingRow(precision=precision, width=len(some), comparison=found))
    return rows


def _told(request: EngineRequest, tokens: Sequence[int]) -> EngineRequest:
    return EngineRequest(seed=request.seed, max_tokens=len(tokens), clock_row=request.clock_row, forced=tuple(tokens))
