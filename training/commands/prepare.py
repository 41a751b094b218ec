"""`python -m training prepare`: read scores into a corpus file."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import click

from music.note_counts import format_counts
from training.commands.options import OutputPath

if TYPE_CHECKING:
    from training.corpus.prepare import Report
    from training.corpus.sources import Source
    from training.corpus.store import Corpus

_MAX_NAMED: Final = 50
"""If more files or tunes than this are skipped, the summary counts them by reason, with a few names."""
_EXAMPLES: Final = 3
_NUMBER: Final = re.compile(r"\d+(?:[,.]\d+)*")


@click.command()
@click.argument("source")
@click.option("--out", type=OutputPath(dir_okay=False, path_type=Path), required=True, help="Corpus file to write.")
@click.option(
    "--source",
    "folders",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="Folder with copies of the files of `piano`; may be given several times.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Processes that read files.",
    show_default="the number of usable cores",
)
@click.option(
    "--file-seconds", type=click.FloatRange(min=0, min_open=True), default=600.0, help="Time limit for one file."
)
@click.option("--no-repeats", is_flag=True, help="Read every bar once, as written, instead of playing repeats.")
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
def prepare(
    source: str,
    out: Path,
    folders: tuple[Path, ...],
    workers: int | None,
    file_seconds: float,
    no_repeats: bool,
    quiet: bool,
) -> None:
    """Read scores into one corpus file, split into training, validation and test pieces.

    SOURCE is a folder of MIDI, MusicXML, ABC, Humdrum or MEI files, or one such file, split by piece; `chorales`, the
    Bach chorales of music21 in their canonical split; `folk`, dance tunes and airs of music21 with free licences,
    split by tune family; or `piano`, piano pieces with free licences from the folders of --source.
    """
    from training.corpus.folk import folk_sources, prepare_folk
    from training.corpus.piano import piano_sources, prepare_piano
    from training.corpus.prepare import prepare
    from training.corpus.provenance import Origin
    from training.corpus.reading_pool import ReadLimits
    from training.corpus.sources import chorale_sources, folder_sources
    from training.readers import ReadOptions, printable_text

    if no_repeats and source in ("chorales", "folk", "piano"):
        raise click.UsageError(f"--no-repeats is for a folder, not for {source}")
    if bool(folders) != (source == "piano"):
        raise click.UsageError("piano needs --source, and nothing else takes it")
    ignored: dict[str, str] = {}
    splits = origin = description = None
    if source == "folk":
        sources = folk_sources()
    elif source == "chorales":
        sources, splits = chorale_sources()
        description = "Bach chorales bundled with music21, canonical JSB Chorales split"
    elif source == "piano":
        piano = piano_sources(folders)
        sources, splits, ignored = piano.sources, piano.splits, piano.ignored
    else:
        listing = folder_sources(Path(source), ReadOptions(play_repeats=not no_repeats))
        sources, ignored = listing.sources, listing.ignored
        origin = Origin.of(Path(source), ((file.name, file.path) for file in sources))
    _check_output(out, sources)  # before the reading, which may take long
    limits = ReadLimits.of_machine(workers, seconds=file_seconds)
    if workers is not None and limits.workers < workers:
        click.echo(f"{limits.workers} of {workers} processes: there is not enough memory for more")
    if source == "folk":
        corpus, report = prepare_folk(sources, limits=limits, progress=not quiet)
    elif source == "piano":
        corpus, report = prepare_piano(sources, splits or {}, limits=limits, progress=not quiet)
    else:
        corpus, report = prepare(sources, splits, description=description, limits=limits, progress=not quiet)
    corpus.origin = origin
    corpus.save(out)
    for line in _summary(corpus, report, ignored):
        click.echo(printable_text(line))
    names = _write_names(out.with_suffix(".skipped.tsv"), {"ignored": ignored, "skipped": report.skipped})
    if names is not None:
        click.echo(printable_text(names))
    click.echo(printable_text(f"wrote {out}: {corpus.source}"))


def _check_output(out: Path, sources: Iterable["Source"]) -> None:
    """Check that the output can be written and is not one of the files to read.

    Raises:
        CorpusError: it cannot be written, or is one of them.
    """
    from report.files import check_writable
    from training.errors import CorpusError
    from training.readers import printable

    if out.exists() and any(out.samefile(source.path) for source in sources):
        raise CorpusError(f"{printable(out)} is one of the files to read; name another file with --out")
    try:
        check_writable(out.parent)
    except OSError as error:
        raise CorpusError(f"cannot write {printable(out)}: {error.strerror}") from error


def _summary(corpus: "Corpus", report: "Report", ignored: Mapping[str, str]) -> Iterator[str]:
    from training.corpus.store import Split

    yield from _named("ignored", ignored, lambda name, reason: f"{_suffix(name)}: {reason}")
    yield from _named("skipped", report.skipped, lambda name, reason: reason)
    counts = report.counts
    yield f"files: {report.read:,} read, {report.failed:,} failed, {len(ignored):,} ignored"
    yield (
        f"notes: {counts.written:,} written + {counts.repeated:,} added by repeats = "
        f"{counts.kept:,} kept + {counts.left_out.total():,} left out"
    )
    yield f"  left out: {format_counts(counts.left_out)}"
    yield f"  changed: {format_counts(counts.changed)}"
    yield f"  other: {format_counts(counts.other)}"
    if report.unbalanced or not counts.balanced or counts.kept != corpus.note_count:
        named = ", ".join(sorted(report.unbalanced)[:_EXAMPLES]) or "the corpus as a whole"
        yield f"warning: the note counts of {named} do not add up. This is a defect of Fantasia; the corpus is usable"
    if report.duplicates:
        groups = "1 group" if len(report.duplicates) == 1 else f"{len(report.duplicates)} groups"
        where = "cut into sections, so in all splits" if report.sections else "each group in one split"
        yield f"near-duplicates: {sum(report.duplicates):,} pieces in {groups}, {where}"
    yield "pieces: " + ", ".join(f"{corpus.count(split)} {split.name.lower()}" for split in Split)


def _named(what: str, reasons: Mapping[str, str], kind: Callable[[str, str], str]) -> Iterator[str]:
    """Every name with its reason. If there are many, their number by kind of reason, with a few names."""
    if len(reasons) <= _MAX_NAMED:
        yield from (f"{what} {name}: {reason}" for name, reason in sorted(reasons.items()))
        return
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    for name, reason in sorted(reasons.items()):
        label = kind(name, reason)
        kinds[_NUMBER.sub("N", label)][name] = label  # reasons that differ only in a number are of one kind
    largest = sorted(kinds.items(), key=lambda item: -len(item[1]))
    for pattern, labels in largest[:_MAX_NAMED]:
        different = len(set(labels.values())) > 1
        examples = ", ".join(list(labels)[:_EXAMPLES]) + (", ..." if len(labels) > _EXAMPLES else "")
        yield f"{what} {len(labels):,}: {pattern if different else next(iter(labels.values()))} ({examples})"
    if len(kinds) > _MAX_NAMED:
        rest = sum(len(labels) for _, labels in largest[_MAX_NAMED:])
        yield f"{what} {rest:,}: for {len(kinds) - _MAX_NAMED:,} other reasons"


def _write_names(path: Path, left_out: Mapping[str, Mapping[str, str]]) -> str | None:
    """Write the names that the summary left out, and return a line that says where.

    If it left out none, remove an older file.
    """
    from report.files import replace_file
    from training.errors import CorpusError
    from training.readers import printable, printable_text

    try:
        if all(len(reasons) <= _MAX_NAMED for reasons in left_out.values()):
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
