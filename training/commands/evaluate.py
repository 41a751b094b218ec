"""`python -m training evaluate`: what a bundle thinks of music."""

import json
import sys
from pathlib import Path

import click


@click.command()
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
