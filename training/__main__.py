"""`python -m training`: prepare, train, export and evaluate."""

import json
import os
import sys
import tempfile
from pathlib import Path

import click

from music.errors import FantasiaError

# Each command imports what it needs: `evaluate` runs where neither torch nor music21 is installed.


class _Commands(click.Group):
    """Turns our own errors into one sentence and exit code 1."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except FantasiaError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Teach a network music from scores."""


@main.command()
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


@main.command()
@click.argument("config")
@click.option("--corpus", type=click.Path(path_type=Path), required=True, help="What `prepare` wrote.")
@click.option("--run", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Run folder.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to train.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 for one a core.")
@click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Change the configuration.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train(
    config: str, corpus: Path, folder: Path, device: str, threads: int, overrides: tuple[str, ...], quiet: bool
) -> None:
    """Train a network, or go on where a killed run stopped.

    CONFIG is a named configuration (`chorales`, `origin`, `smoke`) or a TOML file.
    """
    import torch

    from training.config import load_config
    from training.errors import ConfigurationError
    from training.run import train

    if threads:
        torch.set_num_threads(threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("--device cuda: PyTorch finds no CUDA device here")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    changes = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise click.BadParameter(f"{override!r} is not TABLE.KEY=VALUE", param_hint="--set")
        changes[key] = value
    try:
        trained = train(load_config(config, changes), corpus, folder, device=device, progress=not quiet)
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped; the same command goes on from the last epoch in {folder}") from None
    best = trained.best
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(trained.dropped.items())) or "none"
    click.echo(f"pieces: {trained.train_pieces} train, {trained.valid_pieces} valid; notes dropped or moved: {dropped}")
    click.echo(f"best epoch {best.epoch}: {best.valid_loss:.4f} nats per note-step, accuracy {best.valid_accuracy:.2%}")
    click.echo(f"next: python -m training export {folder} --out models/NAME")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Bundle to write.")
@click.option("--name", help="Name of the model.  [default: the folder's name]")
@click.option("--corpus", type=click.Path(path_type=Path), help="The run's corpus, if it has moved.")
def export(run: Path, out: Path, name: str | None, corpus: Path | None) -> None:
    """Write a run's best checkpoint as a bundle that the server loads."""
    from training.run import export_run

    bundle = export_run(run, out, name=name or out.name, corpus_path=corpus)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    click.echo(f"wrote {out}: {bundle.network.parameters:,} parameters, {size:.1f} MB, digest {bundle.digest}")
    for metric, value in sorted(bundle.metrics.items()):
        click.echo(f"{metric}: {value}")
    click.echo(f"next: python -m server --models {out.parent} --default-model {bundle.name}")


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--midi", type=click.Path(path_type=Path), help="Folder of MIDI files, a track for each voice.")
@click.option("--corpus", type=click.Path(path_type=Path), help="What `prepare` wrote.")
@click.option("--split", type=click.Choice(["train", "valid", "test"]), default="valid", help="Side of the corpus.")
@click.option(
    "--clock",
    type=click.Choice(["stated", "hidden", "mixture"]),
    help="What the network is told of the meter.  [default: mixture for MIDI, stated for a corpus]",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 for one a core.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    bundle: Path, midi: Path | None, corpus: Path | None, split: str, clock: str | None, threads: int, as_json: bool
) -> None:
    """Charge a bundle for every token of music it has not written."""
    from music.bundle import load_bundle
    from training.corpus import Corpus, Split
    from training.evaluation import ClockMode, evaluate_folder, evaluate_split

    if (midi is None) == (corpus is None):
        raise click.UsageError("give either --midi or --corpus")
    mode = ClockMode(clock or ("mixture" if midi else "stated"))
    loaded = load_bundle(bundle)
    if midi is not None:
        result = evaluate_folder(loaded, midi, mode, threads=threads)
    else:
        assert corpus is not None
        result = evaluate_split(loaded, Corpus.load(corpus), Split[split.upper()], mode, threads=threads)
    report = {"model": loaded.name, "digest": loaded.digest, "clock": mode.value, **result.as_json()}
    if as_json:
        json.dump(report, sys.stdout, indent=2)
        click.echo()
        return
    for name, reason in sorted(result.skipped.items()):
        click.echo(f"skipped {name}: {reason}")
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(result.dropped.items())) or "none"
    click.echo(
        f"{result.pieces} pieces, {result.steps} steps, {result.tokens} tokens; notes dropped or moved: {dropped}"
    )
    click.echo(
        f"{result.nats:.1f} nats, {result.nats_per_note_step:.4f} nats per note-step, accuracy {result.accuracy:.2%}"
    )


if __name__ == "__main__":
    main(prog_name="python -m training")
