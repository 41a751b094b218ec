"""Options of the benchmark's command lines."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import click

from music.errors import FantasiaError
from runtime.precision import Precision

Provider = Literal["auto", "cpu", "cuda"]
WantedPrecision = Literal["auto"] | Precision
Part = Literal["engine", "service", "peers", "load", "fairness", "neighbours", "precision", "prefill"]

PARTS: Final[tuple[Part, ...]] = get_args(Part)
MAX_WIDTH: Final = 256


class BenchError(FantasiaError):
    """The benchmark cannot run with these options, or a measurement failed."""


@dataclass(frozen=True)
class Options:
    """What `python -m bench` measures."""

    bundle: Path = Path("models/chorales")
    parts: tuple[Part, ...] = PARTS
    widths: tuple[int, ...] = (1, 8, 32, 64, 128)
    """Batch sizes of the engine, one measurement each."""
    clients: tuple[int, ...] = (1, 64)
    """Concurrent clients of the service, one measurement each; the last number everywhere else."""
    steps: int = 128
    """Length of a piece in steps of the model's grid."""
    seconds: float = 240.0
    """Approximate duration of all measurements."""
    threads: int = 1
    """Threads of one run of the model."""
    provider: Provider = "auto"
    precision: WantedPrecision = "auto"
    """Arithmetic of engine and server; `auto` for their own choice."""


def parse_parts(context: click.Context, parameter: click.Parameter, value: str) -> tuple[Part, ...]:
    """Parts separated by commas, in the order in which they are measured: a callback for click."""
    asked = set(value.split(","))
    if not asked <= set(PARTS):
        raise click.BadParameter(f"{value!r} is not a list of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in asked)


def parse_widths(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Ascending numbers separated by commas: a callback for click."""
    widths = tuple(int(text) if re.fullmatch("[0-9]+", text) else 0 for text in value.split(","))
    if list(widths) != sorted(set(widths)) or widths[0] < 1 or widths[-1] > MAX_WIDTH:
        raise click.BadParameter(f"{value!r} is not a list of ascending numbers from 1 to {MAX_WIDTH}, such as 1,8,64")
    return widths


def parse_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Name of a record, which becomes a file name: a callback for click."""
    if value is not None and not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", value):
        raise click.BadParameter(f"{value!r} may only have a-z, 0-9, dot, dash and underscore")
    return value


def model_options(provider: Provider) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that all commands have: bundle, precision and provider (with this default)."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--provider",
                type=click.Choice(get_args(Provider)),
                default=provider,
                show_default=True,
                help="Execution provider of ONNX Runtime.",
            ),
            click.option(
                "--precision",
                type=click.Choice(["auto", *get_args(Precision)]),
                default="auto",
                show_default=True,
                help="Precision of the model's arithmetic.",
            ),
            click.option(
                "--bundle",
                type=click.Path(path_type=Path),
                default=Options.bundle,
                show_default=True,
                help="Bundle to run.",
            ),
        ):
            command = option(command)
        return command

    return decorate
