"""`python -m training prepare`: scores into one array file."""

import os
import tempfile
from pathlib import Path

import click


@click.command()
@click.argument("source")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Array file to write.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, help="Reading processes.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def prepare(source: str, out: Path, workers: int, quiet: bool) -> None:
    """Read a corpus into one array file.

    SOURCE is `chorales` (the Bach chorales that music21 brings, in their canonical split) or a folder of MIDI,
    MusicXML, ABC or Humdrum files, split by piece.
    """
    from training.corpus import Split
    from training.errors import CorpusError
    from training.prepare import chorale_sources, folder_sources, prepare

    try:  # before the reading, which may take long
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise CorpusError(f"cannot write {out}: {error.strerror}") from error
    if source == "chorales":
        sources, splits = chorale_sources()
        description = "Bach chorales bundled with music21, canonical JSB Chorales split"
    else:
        sources, splits = folder_sources(Path(source)), None
        description = f"{len(sources)} files, split by piece"
    corpus, report = prepare(sources, splits, description=description, workers=workers, progress=not quiet)
    corpus.save(out)
    for name, reason in sorted(report.skipped.items()):
        click.echo(f"skipped {name}: {reason}")
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(report.dropped.items())) or "none"
    click.echo(f"files: {report.read} read, {len(report.skipped)} skipped")
    click.echo(f"notes: {corpus.note_count} kept, dropped: {dropped}")
    click.echo("pieces: " + ", ".join(f"{corpus.count(split)} {split.name.lower()}" for split in Split))
    click.echo(f"wrote {out}")
