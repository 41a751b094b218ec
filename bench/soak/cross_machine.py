"""`python -m bench.soak.cross_machine FILE`: compare the answers of two machines.

The first machine writes requests and answers into the file, the second writes the same requests and compares.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

import click
import numpy as np
from pydantic import ConfigDict, Field, model_validator

from bench.machine import Machine, describe_machine
from bench.options import BenchError, Provider, WantedPrecision, model_options
from bench.soak.answers import Answer, CandidateAnswer
from bench.soak.pool import RequestPool, answer_alone, make_pool, reference_runner
from bench.soak.requests import SoakRequest
from bench.systems import precision_of
from music.bundle import Bundle, load_bundle
from music.errors import FantasiaError
from report import Record, check_writable
from runtime.precision import Precision


class CandidateRecord(Record):
    """One candidate of an answer."""

    index: int = 0
    tokens: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...]
    reason: str


class AnswerRecord(Record):
    """One answer."""

    candidates: tuple[CandidateRecord, ...]

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """The record of an answer."""
        return cls(
            candidates=tuple(
                CandidateRecord(index=each.index, tokens=tuple(each.tokens.tolist()), reason=each.reason)
                for each in answer.candidates
            )
        )

    @property
    def answer(self) -> Answer:
        """The answer. Log-probabilities are not kept: they are floats, which machines round differently."""
        none = np.zeros(0, np.float32)
        return Answer(
            tuple(
                CandidateAnswer(each.index, np.array(each.tokens, np.int32), each.reason, none)
                for each in self.candidates
            )
        )


class MachineAnswers(Record):
    """The answers of one machine."""

    # A request may have a guide or a snapshot, which pydantic does not know; those of the soak have neither.
    model_config = ConfigDict(arbitrary_types_allowed=True)

    format_version: Literal[2] = 2
    machine: Machine
    digest: str
    """Of the bundle."""
    provider: str
    precision: Precision
    requests: tuple[SoakRequest, ...] = Field(min_length=1)
    answers: tuple[AnswerRecord, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.answers) != len(self.requests):
            raise ValueError(f"{len(self.requests)} requests have {len(self.answers)} answers")
        return self

    @classmethod
    def of(cls, bundle: Bundle, pool: RequestPool, provider: str, precision: Precision) -> Self:
        """The answers that this machine wrote."""
        return cls(
            machine=describe_machine(),
            digest=bundle.digest,
            provider=provider,
            precision=precision,
            requests=pool.requests,
            answers=tuple(map(AnswerRecord.of, pool.answers)),
        )

    @property
    def pool(self) -> RequestPool:
        """Requests and answers."""
        return RequestPool(self.requests, tuple(answer.answer for answer in self.answers))

    def __str__(self) -> str:
        machine = self.machine
        return f"{self.precision} on {self.provider}, {machine.processor}, ONNX Runtime {machine.onnxruntime}"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@model_options(provider="cpu")
@click.option("--distinct", type=click.IntRange(min=1), default=1000, help="Requests to write on the first machine.")
@click.option("--seed", type=click.IntRange(min=1), default=1, help="Seed of the requests.")
@click.pass_context
def main(
    context: click.Context,
    file: Path,
    bundle: Path,
    precision: WantedPrecision,
    provider: Provider,
    distinct: int,
    seed: int,
) -> None:
    """Write the answers of this machine into FILE. If FILE exists, compare them with its answers.

    The exit code is 1 if an answer differs. If FILE exists, `--precision auto` is the precision of its answers.
    """
    try:
        loaded = load_bundle(bundle)
        there = MachineAnswers.load(file) if file.exists() else None
        if there is None:
            check_writable(file.parent)  # now, not when all is written
        elif there.digest != loaded.digest:
            raise BenchError(
                f"{file} has the answers of bundle {there.digest[:12]}, but {bundle} has digest {loaded.digest[:12]}"
            )
        elif precision == "auto":
            precision = there.precision
        runner = reference_runner(loaded, provider, precision)
        ran_on, ran_in = runner.provider, precision_of(runner)
        if there is None:
            pool = make_pool(loaded, runner, count=distinct, seed=seed)
            written = MachineAnswers.of(loaded, pool, ran_on, ran_in)
            written.save(file)
            click.echo(f"{file}: {distinct:,} answers of {written}")
            return
        pool = RequestPool(there.requests, tuple(answer_alone(loaded, runner, there.requests)))
    except (FantasiaError, OSError) as error:
        raise click.ClickException(str(error)) from error
    here, positions = MachineAnswers.of(loaded, pool, ran_on, ran_in), pool.differences(there.pool.answers)
    where = f", from token {sum(positions) / len(positions):.0f} on average" if positions else ""
    click.echo(f"{len(positions):,} of {len(here.answers):,} answers differ{where}\nthere: {there}\n here: {here}")
    context.exit(1 if positions else 0)


if __name__ == "__main__":
    main(prog_name="python -m bench.soak.cross_machine")
