"""`python -m bench.churn.elsewhere FILE`: do two machines give the same answers?

The first one writes requests and answers down, the second writes the same requests and compares. Neither has anybody
beside them: `python -m bench.churn` sees to that.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import numpy as np
from pydantic import Field, ValidationError, model_validator

from bench.churn.episode import partings
from bench.churn.pool import Answer, Pool, answers_alone, lone_runner, make_pool
from bench.comparison import Table
from bench.errors import BenchError
from bench.machine import Machine, describe_machine
from bench.options import Provider, WantedPrecision, count
from bench.runners import precision_of
from music.bundle import Bundle, load_bundle
from music.errors import FantasiaError
from music.invalid import problems
from server.engine.precision import Precision
from server.engine.request import EngineRequest


class Written(Table):
    """One answer."""

    tokens: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...]
    reason: str


class Answers(Table):
    """What one machine wrote."""

    format_version: Literal[1] = 1
    machine: Machine
    digest: str
    """Of the bundle."""
    provider: str
    precision: Precision
    requests: tuple[EngineRequest, ...] = Field(min_length=1)
    answers: tuple[Written, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.answers) != len(self.requests):
            raise ValueError(f"{len(self.requests)} requests have {len(self.answers)} answers")
        return self

    @property
    def circumstances(self) -> str:
        """What wrote them, in words."""
        machine = self.machine
        return f"{self.precision} on {self.provider}, {machine.processor}, ONNX Runtime {machine.onnxruntime}"

    @property
    def pool(self) -> Pool:
        """The same as a pool."""
        answers = (Answer(np.array(answer.tokens, np.int32), answer.reason) for answer in self.answers)
        return Pool(self.requests, tuple(answers))


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, parsed."""

    file: Path
    bundle: Path
    distinct: int
    precision: WantedPrecision
    provider: Provider
    seed: int


def parse_options(arguments: Sequence[str]) -> Options:
    """Parse the command line (without the program's name).

    Raises:
        SystemExit: it cannot be read (code 2), or asks for help (code 0).
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench.churn.elsewhere",
        description="Write answers into a file, or, where there is one, compare with it: on another machine.",
    )
    parser.add_argument("file", type=Path, help="written if it is not there, else compared with")
    parser.add_argument("--bundle", type=Path, default=Path("models/chorales"), help="bundle to run (%(default)s)")
    parser.add_argument("--distinct", type=count, default=1000, help="requests, where they are written (%(default)s)")
    parser.add_argument("--precision", choices=get_args(WantedPrecision), default="auto", help="(%(default)s)")
    parser.add_argument("--provider", choices=get_args(Provider), default="cpu", help="(%(default)s)")
    parser.add_argument("--seed", type=count, default=1, help="of the requests (%(default)s)")
    return Options(**vars(parser.parse_args(arguments)))


def write(options: Options) -> Answers:
    """Write requests on this machine, one at a time, and keep them with their answers.

    Raises:
        BenchError: there is no folder for the file.
        FantasiaError: the bundle is refused, or the provider does not run here.
    """
    bundle = load_bundle(options.bundle)
    if not options.file.parent.is_dir():  # now, not when all is written
        raise BenchError(f"{options.file.parent} is no folder to write answers into")
    runner = lone_runner(bundle, options.provider, options.precision)
    provider, precision = runner.provider, precision_of(runner)
    pool = make_pool(bundle, runner, count=options.distinct, seed=options.seed)
    found = _answers(bundle, pool, provider, precision)
    scratch = options.file.with_name(f".{options.file.name}.part")
    scratch.write_text(found.model_dump_json() + "\n")
    scratch.replace(options.file)  # half of it would be taken for answers
    return found


def compare(options: Options, there: Answers) -> tuple[Answers, list[int]]:
    """Write the same requests here.

    Args:
        options: where and in what; `auto` is the precision that they were written in there.
        there: what another machine wrote.

    Returns:
        what this one wrote, and for each answer that differs its first token that does.

    Raises:
        BenchError: they are of another bundle.
        FantasiaError: the bundle is refused, or provider or precision does not run here.
    """
    bundle = load_bundle(options.bundle)
    if there.digest != bundle.digest:
        raise BenchError(f"{options.file} is of bundle {there.digest[:12]}, {options.bundle} is {bundle.digest[:12]}")
    precision = there.precision if options.precision == "auto" else options.precision
    runner = lone_runner(bundle, options.provider, precision)
    provider = runner.provider
    pool = Pool(there.requests, tuple(answers_alone(bundle, runner, there.requests)))
    here = _answers(bundle, pool, provider, precision)
    return here, partings(pool.answers, there.pool.answers)


def read(file: Path) -> Answers:
    """Read what `write` wrote.

    Raises:
        BenchError: it is not that.
    """
    try:
        return Answers.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BenchError(f"{file} cannot be read: {error}") from error
    except ValidationError as error:
        raise BenchError(f"{file} holds no answers: {problems(error, most=1)}") from error


def main(arguments: Sequence[str]) -> int:
    """Run and print; the exit code: 0 written or all the same, 1 could not, or some were not, 2 bad arguments."""
    options = parse_options(arguments)
    try:
        if not options.file.exists():
            written = write(options)
            print(f"{options.file}: {len(written.answers):,} answers of {written.circumstances}")
            return 0
        there = read(options.file)
        here, places = compare(options, there)
    except (FantasiaError, OSError) as error:
        sys.stderr.write(f"python -m bench.churn.elsewhere: error: {error}\n")
        return 1
    where = f", from token {sum(places) / len(places):.0f} on, on average" if places else ""
    print(f"{len(places):,} of {len(here.answers):,} answers differ{where}")
    print(f"there: {there.circumstances}\n here: {here.circumstances}")
    return 1 if places else 0


def _answers(bundle: Bundle, pool: Pool, provider: str, precision: Precision) -> Answers:
    return Answers(
        machine=describe_machine(),
        digest=bundle.digest,
        provider=provider,
        precision=precision,
        requests=pool.requests,
        answers=tuple(Written(tokens=tuple(answer.tokens.tolist()), reason=answer.reason) for answer in pool.answers),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
