"""The part of `evaluate` that measures partly given pieces."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from music.bundle import Bundle
    from training.evaluation.record import Ranking, Sampling

_REWRITE_OPTIONS = ("rewrite", "particles", "temperature", "top_k", "rank_by", "no_parallels")


class ParticleCounts(click.ParamType[tuple[int, ...]]):
    """Numbers of particles, separated by commas."""

    name = "numbers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Parse `1,4,16`; fails with a sentence for anything that is not numbers from 1 to 64."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")]
        if not all(word.isdecimal() and 1 <= int(word) <= 64 for word in words):
            self.fail(f"{value!r} are not numbers from 1 to 64, separated by commas", param, ctx)
        return tuple(sorted({int(word) for word in words}))


def check_rewrite_options(corpus: Path | None, split: str) -> Path:
    """Refuse options that have no effect on the evaluation of partly given pieces; the corpus.

    Raises:
        click.UsageError: there is one, or the pieces are missing.
    """
    used = {"bundle", "corpus", "split", "seed", "threads", "record", "skip_recorded", "as_json", *_REWRITE_OPTIONS}
    for option in _given_options():
        if option.name not in used:
            raise click.UsageError(f"{option.opts[0]} cannot be used with --rewrite")
    if corpus is None or split == "train":
        raise click.UsageError("--rewrite needs --corpus, and --split valid or test, for held-out pieces")
    return corpus


def check_no_rewrite_options() -> None:
    """Refuse options that only --rewrite uses.

    Raises:
        click.UsageError: there is one.
    """
    for option in _given_options():
        if option.name in _REWRITE_OPTIONS:
            raise click.UsageError(f"{option.opts[0]} needs --rewrite")


def _given_options() -> list[click.Parameter]:
    """The options of the command line."""
    context = click.get_current_context()
    sources = {parameter: context.get_parameter_source(parameter.name or "") for parameter in context.command.params}
    return [parameter for parameter, source in sources.items() if source is ParameterSource.COMMANDLINE]


@click.command()
@click.argument("page", type=click.Path(path_type=Path))
def harmonising(page: Path) -> None:
    """Write the recorded evaluations of partly given pieces into PAGE."""
    from training.evaluation.rewriting_tables import write_rewriting_page

    write_rewriting_page(page)
    click.echo(f"wrote {page}")


def evaluate_parts(
    bundle: "Bundle",
    corpus_path: Path,
    split: str,
    *,
    parts: Sequence[str],
    particles: Sequence[int],
    sampling: "Sampling",
    rankings: Sequence["Ranking"],
    no_parallels: bool,
    seed: int,
    record: Path | None,
    skip_recorded: bool,
    threads: int,
    as_json: bool,
) -> None:
    """Print and record the evaluation of partly given pieces. Recorded rows of other settings are kept."""
    from report import check_writable
    from training.corpus.store import Corpus, Split
    from training.evaluation.rewriting import evaluate_rewriting
    from training.evaluation.rewriting_record import RewritingRecord
    from training.evaluation.rewriting_tables import rewriting_text
    from training.evaluation.rewriting_tasks import Part, parts_of

    if record:
        check_writable(record.parent)
    possible = parts_of(bundle.tokenizer)
    chosen = possible if "all" in parts else [part for part in Part if part in parts]
    wanted = {part: tuple(particles) for part in chosen}
    if skip_recorded and record and record.exists():
        recorded = RewritingRecord.load(record)
        if (recorded.digest, recorded.split, recorded.seed) == (bundle.digest, split, seed):
            wanted = {
                part: counts
                for part in chosen
                if (
                    counts := tuple(
                        count
                        for count in particles
                        if not recorded.has_rows(part, sampling, count, rankings, no_parallels=no_parallels)
                    )
                )
            }
    if not wanted:
        click.echo(f"{bundle.name}: already evaluated in {record}")
        return

    def save(result: RewritingRecord) -> None:
        if record:
            earlier = RewritingRecord.load(record) if record.exists() else result
            result.merged_with(earlier).save(record)

    result = evaluate_rewriting(
        bundle,
        Corpus.load(corpus_path),
        Split[split.upper()],
        particles=wanted,
        sampling=sampling,
        rankings=rankings,
        no_parallels=no_parallels,
        seed=seed,
        threads=threads,
        progress=not as_json,
        on_result=save,
    )
    click.echo(result.model_dump_json(indent=2) + "\n" if as_json else rewriting_text(result), nl=False)
