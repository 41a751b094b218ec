"""`python -m training prepare`: scores into one array file."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import click

from music.note_counts import in_words
from training.commands.output import OutputPath

if TYPE_CHECKING:
    from training.corpus import Corpus
    from training.prepare import Report
    from training.sources import Source

_MOST_NAMED: Final = 50
"""More files or tunes than this are counted by reason, with a few of their names."""
_EXAMPLES: Final = 3
_NUMBER: Final = re.compile(r"\d+(?:[,.]\d+)*")


@click.command()
@click.argument("source")
@click.option("--out", type=OutputPath(dir_okay=False, path_type=Path), required=True, help="Array file to write.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Reading processes.",
    show_default="as many as this process may use cores for",
)
@click.option(
    "--file-seconds", type=click.FloatRange(min=0, min_open=True), default=600.0, help="Longest time for one file."
)
@click.option("--no-repeats", is_flag=True, help="Read every bar once, as written; otherwise repeats are played out.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def prepare(source: str, out: Path, workers: int | None, file_seconds: float, no_repeats: bool, quiet: bool) -> None:
    """Read a corpus into one array file.

    SOURCE is `chorales` (the Bach chorales that music21 brings, in their canonical split), `folk` (the dance tunes
    and airs that it brings and that may be used, split by tune family), or a folder of MIDI, MusicXML, ABC,
    Humdrum or MEI files, split by piece.
    """
    from training.folk import folk_sources, prepare_folk
    from training.origin import Origin
    from training.prepare import prepare
    from training.readers import ReadOptions, printable_text
    from training.reading_pool import ReadLimits
    from training.sources import chorale_sources, folder_sources

    if no_repeats and source in ("chorales", "folk"):
        raise click.UsageError(f"--no-repeats is for a folder; {source} are read once, as written")
    passed_over: dict[str, str] = {}
    splits = origin = None
    if source == "folk":
        sources, description = folk_sources(), ""
    elif source == "chorales":
        sources, splits = chorale_sources()
        description = "Bach chorales bundled with music21, canonical JSB Chorales split"
    else:
        listing = folder_sources(Path(source), ReadOptions(play_repeats=not no_repeats))
        sources, passed_over = listing.sources, listing.passed_over
        description = f"{len(sources)} file{'s' if len(sources) > 1 else ''}"
        origin = Origin.of(Path(source), ((file.name, file.path) for file in sources))
    _try_to_write(out, sources)  # before the reading, which may take long
    limits = ReadLimits.of_machine(workers, seconds=file_seconds)
    if workers is not None and limits.workers < workers:
        click.echo(f"{limits.workers} of {workers} processes: there is no memory for more")
    if source == "folk":
        corpus, report = prepare_folk(sources, limits=limits, progress=not quiet)
    else:
        corpus, report = prepare(sources, splits, description=description, limits=limits, progress=not quiet)
    corpus.origin = origin
    corpus.save(out)
    for line in _summary(corpus, report, passed_over):
        click.echo(printable_text(line))
    names = _write_names(out.with_suffix(".skipped.tsv"), {"passed over": passed_over, "skipped": report.skipped})
    if names is not None:
        click.echo(printable_text(names))
    click.echo(printable_text(f"wrote {out}: {corpus.source}"))


def _try_to_write(out: Path, sources: Iterable["Source"]) -> None:
    """Refuse an output that cannot be written, or that is one of the files to read."""
    from training.errors import CorpusError
    from training.files import check_writable
    from training.readers import printable

    if out.exists() and any(out.samefile(source.path) for source in sources):
        raise CorpusError(f"{printable(out)} is one of the files to read; name another file with --out")
    try:
        check_writable(out.parent)
    except OSError as error:
        raise CorpusError(f"cannot write {printable(out)}: {error.strerror}") from error


def _summary(corpus: "Corpus", report: "Report", passed_over: Mapping[str, str]) -> Iterator[str]:
    from training.corpus import Split

    yield from _named("passed over", passed_over, lambda name, reason: f"{_suffix(name)}: {reason}")
    yield from _named("skipped", report.skipped, lambda name, reason: reason)
    counts = report.counts
    yield f"files: {report.read:,} read, {report.failed:,} failed, {len(passed_over):,} passed over"
    yield (
        f"notes: {counts.struck:,} struck + {counts.repeated:,} by repeats = "
        f"{counts.kept:,} kept + {counts.left_out.total():,} left out"
    )
    yield f"  left out: {in_words(counts.left_out)}"
    yield f"  changed: {in_words(counts.changed)}"
    yield f"  beside notes: {in_words(counts.other)}"
    if report.unbalanced or not counts.balanced or counts.kept != corpus.note_count:
        named = ", ".join(sorted(report.unbalanced)[:_EXAMPLES]) or "the corpus as a whole"
        yield f"warning: the counts do not add up, which is a defect of Fantasia, in {named}; the corpus is usable"
    if report.duplicates:
        groups = "1 group" if len(report.duplicates) == 1 else f"{len(report.duplicates)} groups"
        where = "cut into sections, so each is on all sides" if report.sections else "each on one side of the split"
        yield f"near-duplicates: {sum(report.duplicates):,} pieces in {groups}, {where}"
    yield "pieces: " + ", ".join(f"{corpus.count(split)} {split.name.lower()}" for split in Split)


def _named(what: str, reasons: Mapping[str, str], kind: Callable[[str, str], str]) -> Iterator[str]:
    """Every name with its reason; of many, how many there are of each kind, and some of their names."""
    if len(reasons) <= _MOST_NAMED:
        yield from (f"{what} {name}: {reason}" for name, reason in sorted(reasons.items()))
        return
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    for name, reason in sorted(reasons.items()):
        label = kind(name, reason)
        kinds[_NUMBER.sub("N", label)][name] = label  # reasons that tell a line or an offset are of one kind
    largest = sorted(kinds.items(), key=lambda item: -len(item[1]))
    for pattern, labels in largest[:_MOST_NAMED]:
        different = len(set(labels.values())) > 1
        examples = ", ".join(list(labels)[:_EXAMPLES]) + (", ..." if len(labels) > _EXAMPLES else "")
        yield f"{what} {len(labels):,}: {pattern if different else next(iter(labels.values()))} ({examples})"
    if len(kinds) > _MOST_NAMED:
        rest = sum(len(labels) for _, labels in largest[_MOST_NAMED:])
        yield f"{what} {rest:,}: for {len(kinds) - _MOST_NAMED:,} other reasons"


def _write_names(path: Path, left_out: Mapping[str, Mapping[str, str]]) -> str | None:
    """Write every name that the summary does not tell, and say where; without any, remove what was written before."""
    from training.errors import CorpusError
    from training.files import replace_file
    from training.readers import printable, printable_text

    try:
        if all(len(reasons) <= _MOST_NAMED for reasons in left_out.values()):
            path.unlink(missing_ok=True)
            return None
        lines = [
            f"{what}\t{name}\t{' '.join(printable_text(reason).split())}\n"
            for what, reasons in left_out.items()
            for name, reason in sorted(reasons.items())
        ]
        replace_file(path, "".join(lines).encode())
    except OSError as error:
        raise CorpusError(f"cannot write {printable(path)}: {error.strerror or error}") from error
    return f"every name with its reason: {path}"


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower() or "no suffix"
