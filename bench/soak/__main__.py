"""`python -m bench.soak`: compare answers under load with answers alone."""

import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import click

from bench.machine import describe_machine
from bench.options import Options, Provider, WantedPrecision, model_options, parse_name
from bench.record import SOAK_RESULTS
from bench.soak.engines import EngineSettings, run_engine
from bench.soak.pool import RequestPool, make_pool, reference_runner
from bench.soak.record import EngineRun, Mismatch, SoakRecord, soak_lines
from bench.systems import precision_of
from music.bundle import load_bundle
from music.errors import FantasiaError
from report import check_writable
from runtime.precision import Precision
from server.engine.completion import FinishReason

_SLOTS: Final = (64, 64, 128, 64, 17, 64, 128, 5, 64, 33, 128, 1)
"""Of one engine after the other; engines with many slots are fast and get most of the requests."""
_WIDTHS: Final = (64, 48, 64, 16, 17, 64, 128, 2)
"""Maximum batch sizes, likewise."""
_THREADS: Final = (1, 1, 2)
_MAX_MISMATCHES: Final = 10


@dataclass(frozen=True)
class SoakOptions:
    """What `python -m bench.soak` does."""

    bundle: Path = Options.bundle
    requests: int = 100_000
    """Answers to compare."""
    distinct: int = 3000
    """Different requests among them."""
    engines: int = 24
    """Engines, one after the other."""
    precision: WantedPrecision = "auto"
    provider: Provider = "cpu"
    seed: int = 1


def run_soak(options: SoakOptions) -> SoakRecord:
    """Write all requests alone, then under load; progress goes to stderr.

    Raises:
        FantasiaError: the bundle is refused, or the provider does not run here.
    """
    bundle = load_bundle(options.bundle)
    began, date = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    _progress(f"writing {options.distinct} requests alone")
    runner = reference_runner(bundle, options.provider, options.precision)
    provider, precision, chunk_sizes = runner.provider, precision_of(runner), runner.chunk_sizes
    pool = make_pool(bundle, runner, count=options.distinct, seed=options.seed)
    engines, mismatches = _run_engines(options, pool, precision, chunk_sizes)
    return SoakRecord(
        date=date,
        machine=describe_machine(),
        bundle=bundle.name,
        digest=bundle.digest,
        provider=provider,
        precision=precision,
        distinct=options.distinct,
        forced=pool.kinds.get("forced", 0),
        ended=sum(
            candidate.reason == FinishReason.END.value for answer in pool.answers for candidate in answer.candidates
        ),
        kinds=pool.kinds,
        answers_sha256=pool.sha256,
        seed=options.seed,
        engines=tuple(engines),
        first_mismatches=tuple(mismatches[:_MAX_MISMATCHES]),
        seconds=time.monotonic() - began,
    )


def _run_engines(
    options: SoakOptions, pool: RequestPool, precision: Precision, chunk_sizes: tuple[int, ...]
) -> tuple[list[EngineRun], list[Mismatch]]:
    """The engines, each in a new process."""
    generator = random.Random(options.seed)  # noqa: S311 - no secret
    sizes = [chunk_sizes, chunk_sizes, chunk_sizes[:1], chunk_sizes[:2], (chunk_sizes[0], chunk_sizes[-1])]
    totals = [options.requests * number // options.engines for number in range(options.engines + 1)]
    runs: list[EngineRun] = []
    mismatches: list[Mismatch] = []
    for number, (before, after) in enumerate(pairwise(totals)):
        slots = _SLOTS[number % len(_SLOTS)]
        settings = EngineSettings(
            slots=slots,
            width=min(slots, _WIDTHS[number % len(_WIDTHS)]),
            threads=_THREADS[number % len(_THREADS)],
            chunk_sizes=sizes[number % len(sizes)],
            precision=precision,
            provider=options.provider,
            seed=generator.getrandbits(64),
        )
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            arguments = {"requests": after - before, "number": number}
            run, found = process.submit(run_engine, options.bundle, pool, settings, **arguments).result()
        runs.append(run)
        mismatches += found
        total = sum(run.mismatches for run in runs)
        _progress(f"engine {number + 1} of {options.engines}: {after} answers compared, {total} mismatches")
    return runs, mismatches


def _progress(what: str) -> None:
    sys.stderr.write(f"{what}\n")


_COUNT = click.IntRange(min=1)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@model_options(provider=SoakOptions.provider)
@click.option("--requests", type=_COUNT, default=SoakOptions.requests, help="Number of requests under load.")
@click.option("--distinct", type=_COUNT, default=SoakOptions.distinct, help="Number of different requests among them.")
@click.option(
    "--engines", type=_COUNT, default=SoakOptions.engines, help="Number of engines, which run one after the other."
)
@click.option("--seed", type=_COUNT, default=SoakOptions.seed, help="Seed of requests and arrivals.")
@click.option("--record", callback=parse_name, metavar="NAME", help="Write bench/results/soak/NAME.json.")
@click.pass_context
def main(context: click.Context, /, record: str | None, **chosen: Any) -> None:
    """Check that a request gets the same answer under load as alone. The exit code is 1 if an answer differs."""
    try:
        if record:
            check_writable(SOAK_RESULTS)
        found = run_soak(SoakOptions(**chosen))
        click.echo("\n".join(soak_lines(found)))
        if record:
            found.save(SOAK_RESULTS / f"{record}.json")
    except (FantasiaError, OSError) as error:
        raise click.ClickException(str(error)) from error
    context.exit(1 if found.total("mismatches") else 0)


if __name__ == "__main__":
    main(prog_name="python -m bench.soak")
