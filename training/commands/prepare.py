"""`python -m training prepare`: scores into one array file."""

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import click

from music.note_counts import in_words

_MOST_NAMED: Final = 50
"""More files or tunes than this are counted by reason instead of named."""


@click.command()
@click.argument("source")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Array file to write.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, help="Reading processes.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def prepare(source: str, out: Path, workers: int, quiet: bool) -> None:
    """Read a corpus into one array file.

    SOURCE is `chorales` (the Bach chorales that music21 brings, in their canonical split), `folk` (the dance tunes
    and airs that it brings and that may be used, split by tune family), or a folder of MIDI, MusicXML, ABC or
    Humdrum files, split by piece.
    """
    from training.corpus import Split
    from training.errors import CorpusError
    from training.folk import folk_sources, prepare_folk
    from training.origin import Origin
    from training.prepare import chorale_sources, folder_sources, prepare

    try:  # before the reading, which may take long
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise CorpusError(f"cannot write {out}: {error.strerror}") from error
    origin = None
    if source == "folk":
        corpus, report = prepare_folk(folk_sources(), workers=workers, progress=not quiet)
    else:
        if source == "chorales":
            sources, splits = chorale_sources()
            description = "Bach chorales bundled with music21, canonical JSB Chorales split"
        else:
            sources, splits = folder_sources(Path(source)), None
            description = f"{len(sources)} file{'s' if len(sources) > 1 else ''}"
            origin = Origin.of(Path(source), ((file.name, file.path) for file in sources))
        corpus, report = prepare(sources, splits, description=description, workers=workers, progress=not quiet)
    corpus.origin = origin
    corpus.save(out)
    if len(report.skipped) <= _MOST_NAMED:
        for name, reason in sorted(report.skipped.items()):
            click.echo(f"skipped {name}: {reason}")
    else:
        for reason, count in Counter(report.skipped.values()).most_common():
            click.echo(f"skipped {count}: {reason}")
    counts = report.counts
    click.echo(f"files: {report.read} read, {report.failed} failed")
    click.echo(f"notes: {counts.struck:,} struck, {counts.repeated:,} more by repeats, {corpus.note_count:,} kept")
    click.echo(f"  left out: {in_words(counts.left_out)}")
    click.echo(f"  changed: {in_words(counts.changed)}")
    click.echo(f"  beside notes: {in_words(counts.other)}")
    click.echo("pieces: " + ", ".join(f"{corpus.count(split)} {split.name.lower()}" for split in Split))
    click.echo(f"wrote {out}: {corpus.source}")
