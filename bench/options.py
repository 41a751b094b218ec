"""What whoever runs the benchmark decides."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

Provider = Literal["auto", "cpu", "cuda"]
WantedPrecision = Literal["auto", "float32", "int8"]
Part = Literal["engine", "service", "peers", "latency", "fairness", "growth", "precision", "operators", "prefill"]

_WIDEST: Final = 256
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, parsed."""

    bundle: Path
    """The bundle to run."""
    parts: tuple[Part, ...]
    """What is measured."""
    widths: tuple[int, ...]
    """Sequences that the engine runs at once, one measurement each."""
    clients: tuple[int, ...]
    """Callers of the service at once, one measurement each; the most of them everywhere else."""
    steps: int
    """Length of a piece in steps of the model's grid."""
    seconds: float
    """About how long the measurements take in all."""
    soak_tokens: int
    """Tokens that the server writes while its memory is watched."""
    threads: int
    """Threads of one run of the model."""
    provider: Provider
    """What runs the model."""
    precision: WantedPrecision
    """In which arithmetic engine and server run it; `auto` for what they choose by themselves."""
    record: str | None
    """Name of the result to record, if any."""
    render: Path | None
    """The page to write the recorded results into, instead of measuring."""


def parse_options(arguments: Sequence[str]) -> Options:
    """Parse the command line (without the program's name).

    Raises:
        SystemExit: it cannot be read (code 2), or asks for help (code 0).
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description="Engine and service against a bare loop.")
    parser.add_argument("--bundle", type=Path, default=Path("models/chorales"), help="bundle to run (%(default)s)")
    parser.add_argument("--parts", type=_parts, default=",".join(get_args(Part)), help="what to measure (%(default)s)")
    parser.add_argument("--widths", type=_widths, default="1,8,32,64,128", help="for the engine (%(default)s)")
    parser.add_argument("--clients", type=_widths, default="1,64", help="of the service (%(default)s)")
    parser.add_argument("--steps", type=count, default=128, help="grid steps of a piece (%(default)s)")
    parser.add_argument(
        "--seconds", type=_seconds, default=240.0, help="about what all measurements take (%(default)s); 3 rounds each"
    )
    parser.add_argument("--soak-tokens", type=count, default=200_000, help="while the memory is watched (%(default)s)")
    parser.add_argument("--threads", type=count, default=1, help="CPU threads of the model (%(default)s)")
    parser.add_argument("--provider", choices=get_args(Provider), default="auto", help="what runs it (%(default)s)")
    parser.add_argument(
        "--precision", choices=get_args(WantedPrecision), default="auto", help="of engine and server (%(default)s)"
    )
    parser.add_argument("--record", type=name, metavar="NAME", help="write bench/results/NAME.json")
    parser.add_argument(
        "--render", type=Path, metavar="PAGE", help="measure nothing: put the recorded results into the page"
    )
    return Options(**vars(parser.parse_args(arguments)))


def count(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def name(text: str) -> str:
    """The name of a record, for argparse."""
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of a-z, 0-9, dot, dash and underscore")
    return text


def _parts(text: str) -> tuple[Part, ...]:
    """In the order in which they are measured, however they were written."""
    asked = set(text.split(","))
    if not asked <= set(get_args(Part)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(get_args(Part))}")
    return tuple(part for part in get_args(Part) if part in asked)


def _widths(text: str) -> tuple[int, ...]:
    widths = tuple(map(count, text.split(",")))
    if list(widths) != sorted(set(widths)) or widths[-1] > _WIDEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not ascending numbers up to {_WIDEST} like 1,8,64")
    return widths


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
