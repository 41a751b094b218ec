"""`python -m bench.churn`: does the same request give the same tokens, whatever runs beside it?"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Final, get_args

from bench.churn.episode import Circumstances, live, partings
from bench.churn.pool import Pool, answers_alone, lone_runner, make_pool
from bench.churn.record import RECORDS, ChurnReport, Difference, Episode, Mismatch, as_text
from bench.machine import describe_machine
from bench.options import Provider, WantedPrecision, count, name
from bench.runners import precision_of
from music.bundle import Bundle, load_bundle
from music.errors import FantasiaError
from server.engine.completion import FinishReason
from server.engine.errors import PrecisionUnavailableError
from server.engine.precision import Precision

_SLOTS: Final = (64, 64, 128, 64, 17, 64, 128, 5, 64, 33, 128, 1)
"""From one engine to the next; the wide ones, which are fast, get most of the requests."""
_WIDTHS: Final = (64, 48, 64, 16, 17, 64, 128, 2)
"""Rows of a run, likewise; where there are fewer than slots, those in hand take turns."""
_THREADS: Final = (1, 1, 2)
_MISMATCHES_TOLD: Final = 10


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, parsed."""

    bundle: Path
    requests: int
    distinct: int
    engines: int
    precision: WantedPrecision
    provider: Provider
    seed: int
    record: str | None


def parse_options(arguments: Sequence[str]) -> Options:
    """Parse the command line (without the program's name).

    Raises:
        SystemExit: it cannot be read (code 2), or asks for help (code 0).
    """
    parser = argparse.ArgumentParser(prog="python -m bench.churn", description="Answers in a crowd, and alone.")
    parser.add_argument("--bundle", type=Path, default=Path("models/chorales"), help="bundle to run (%(default)s)")
    parser.add_argument("--requests", type=count, default=100_000, help="answers to compare (%(default)s)")
    parser.add_argument("--distinct", type=count, default=3000, help="different requests among them (%(default)s)")
    parser.add_argument("--engines", type=count, default=24, help="engines, one after the other (%(default)s)")
    parser.add_argument("--precision", choices=get_args(WantedPrecision), default="auto", help="(%(default)s)")
    parser.add_argument("--provider", choices=get_args(Provider), default="cpu", help="(%(default)s)")
    parser.add_argument("--seed", type=count, default=1, help="of all that is drawn (%(default)s)")
    parser.add_argument("--record", type=name, metavar="NAME", help="write bench/results/churn/NAME.json")
    return Options(**vars(parser.parse_args(arguments)))


def run(options: Options) -> ChurnReport:
    """Write every request of the pool alone, then let the crowds come; progress goes to stderr.

    Raises:
        FantasiaError: the bundle is refused, or the provider does not run here.
    """
    bundle = load_bundle(options.bundle)
    began, date = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    _tell(f"writing {options.distinct} requests alone")
    runner = lone_runner(bundle, options.provider, options.precision)
    provider, precision, chunk_sizes = runner.provider, precision_of(runner), runner.chunk_sizes
    pool = make_pool(bundle, runner, count=options.distinct, seed=options.seed)
    episodes, mismatches = _crowds(options, pool, precision, chunk_sizes)
    return ChurnReport(
        date=date,
        machine=describe_machine(),
        bundle=bundle.name,
        digest=bundle.digest,
        provider=provider,
        precision=precision,
        distinct=options.distinct,
        forced=sum(bool(request.forced) for request in pool.requests),
        ended=sum(answer.reason == FinishReason.END.value for answer in pool.answers),
        answers=pool.sha256,
        seed=options.seed,
        episodes=tuple(episodes),
        first_mismatches=tuple(mismatches[:_MISMATCHES_TOLD]),
        differences=_differences(options, bundle, pool, precision),
        seconds=time.monotonic() - began,
    )


def _crowds(
    options: Options, pool: Pool, precision: Precision, chunk_sizes: tuple[int, ...]
) -> tuple[list[Episode], list[Mismatch]]:
    """The episodes, each in a fresh process."""
    dice = random.Random(options.seed)  # noqa: S311 -- what is tried is no secret
    some = [chunk_sizes, chunk_sizes, chunk_sizes[:1], chunk_sizes[:2], (chunk_sizes[0], chunk_sizes[-1])]
    shares = [options.requests * (number + 1) // options.engines for number in range(options.engines)]
    episodes: list[Episode] = []
    mismatches: list[Mismatch] = []
    for number, (before, after) in enumerate(pairwise([0, *shares])):
        circumstances = Circumstances(
            slots=_SLOTS[number % len(_SLOTS)],
            width=min(_SLOTS[number % len(_SLOTS)], _WIDTHS[number % len(_WIDTHS)]),
            threads=_THREADS[number % len(_THREADS)],
            chunk_sizes=some[number % len(some)],
            precision=precision,
            provider=options.provider,
            seed=dice.getrandbits(64),
        )
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            lived = process.submit(
                live, options.bundle, pool, circumstances, requests=after - before, number=number
            ).result()
        episodes.append(lived[0])
        mismatches.extend(lived[1])
        found = sum(episode.mismatches for episode in episodes)
        _tell(f"engine {number + 1} of {options.engines}: {after} answers compared, {found} mismatches")
    return episodes, mismatches


def _differences(options: Options, bundle: Bundle, pool: Pool, served: Precision) -> tuple[Difference, ...]:
    """What the other precisions write, of those that run here."""
    differences = []
    for precision in get_args(Precision):
        if precision == served:
            continue
        try:
            runner = lone_runner(bundle, options.provider, precision)
        except PrecisionUnavailableError:
            continue
        _tell(f"writing them in {precision}")
        others = answers_alone(bundle, runner, pool.requests)
        places = partings(pool.answers, others)
        differences.append(
            Difference(
                precision=precision,
                different=len(places),
                requests=len(others),
                mean_place=sum(places) / max(len(places), 1),
            )
        )
    return tuple(differences)


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")


def main(arguments: Sequence[str]) -> int:
    """Run and print; the exit code: 0 all the same, 1 could not, or some were not, 2 bad arguments."""
    options = parse_options(arguments)
    try:
        report = run(options)
    except FantasiaError as error:
        sys.stderr.write(f"python -m bench.churn: error: {error}\n")
        return 1
    print(as_text(report), end="")
    if options.record:
        report.save(RECORDS / f"{options.record}.json")
    return 1 if report.mismatches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
