"""What the nodes of a step take, operator by operator."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from bench.bare import bare_loop
from bench.options import Options
from bench.rows import OPERATORS_WIDTH, OperatorRow
from music.bundle import Bundle
from server.engine.onnx_runner import open_session
from server.engine.precision import Precision, decode_graphs
from server.engine.request import EngineRequest

_KERNEL: Final = "_kernel_time"
_ROUNDS: Final = 5
_MOST_TOKENS: Final = 512
"""Of a piece. An event for every node that runs makes a file of a hundred megabytes, and ONNX Runtime leaves out what
comes after the millionth."""


def measure_operators(
    bundle: Bundle, options: Options, precision: Precision, requests: Sequence[EngineRequest]
) -> list[OperatorRow]:
    """ONNX Runtime's own profile of the bare loop, in turn with the same loop without it.

    The profiler takes 3 us of its own at every node, more where more goes in and out. What it adds to a step is known
    from the loop without it, and is taken off all nodes in equal parts; so they add up to a step. Where few rows run,
    most nodes take less than that, and nothing could be told of them.
    """
    requests = [
        replace(request, max_tokens=min(request.max_tokens, _MOST_TOKENS)) for request in requests[:OPERATORS_WIDTH]
    ]
    plain = bare_loop(bundle, options, precision)
    plain.run(requests)
    steps = plain.chunk_steps
    took: list[float] = []
    with TemporaryDirectory() as folder:
        session = open_session(
            bundle,
            decode_graphs(bundle, precision)[steps],
            provider=options.provider,
            threads=options.threads,
            profile=Path(folder) / "profile",
        )
        profiled = bare_loop(bundle, options, precision, session)
        for _ in range(_ROUNDS):
            took.append(plain.run(requests)[1])
            profiled.run(requests)
        kernels = _kernels(Path(session.end_profiling()))
    steps_a_round = -(-requests[0].max_tokens // steps) * steps
    return rows_of(kernels, steps_a_round * len(took), median(took) / steps_a_round)


def rows_of(kernels: Sequence[tuple[str, float]], steps: int, step_seconds: float) -> list[OperatorRow]:
    """Sum up kernels by operator.

    Args:
        kernels: operator and seconds of each that ran, what the profiler takes included.
        steps: how many of them the kernels are of.
        step_seconds: what a step takes without the profiler.
    """
    counts: defaultdict[str, int] = defaultdict(int)
    totals: defaultdict[str, float] = defaultdict(float)
    for operator, seconds in kernels:
        counts[operator] += 1
        totals[operator] += seconds
    excess = (sum(totals.values()) - step_seconds * steps) / len(kernels)
    return [
        OperatorRow(
            operator=operator,
            nodes=count / steps,
            seconds=max(totals[operator] - count * excess, 0.0) / steps,
        )
        for operator, count in counts.items()
    ]


def _kernels(profile: Path) -> list[tuple[str, float]]:
    events = json.loads(profile.read_text())
    return [
        (event["args"]["op_name"], event["dur"] * 1e-6)
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL)
    ]
