"""`python -m training card`: what a bundle is, beside it."""

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--words", type=click.Path(path_type=Path), help="TOML file.  [default: training/cards/NAME.toml]")
@click.option("--judgement", type=click.Path(path_type=Path), help="What `evaluate --record` wrote for it.")
def card(bundle: Path, words: Path | None, judgement: Path | None) -> None:
    """Write a bundle's model card, README.md, with three samples as MIDI and piano roll.

    Numbers come from the bundle's manifest, and from the judge's record if that is of this very bundle.
    """
    from music.bundle import load_bundle
    from training.card import CARD, card_files, load_prose, render_card
    from training.errors import CardError
    from training.files import check_writable, replace_file
    from training.judge.judgement import load_judgement
    from training.judge.page import RESULTS
    from training.samples import write_samples

    loaded = load_bundle(bundle)
    prose = load_prose(loaded.name, words)
    if (bundle / CARD).exists() and CARD not in card_files(bundle):
        raise CardError(f"{bundle / CARD} was not written by this command; move it away")
    path = judgement or RESULTS / f"{loaded.name}.json"
    record = load_judgement(path) if judgement or path.exists() else None
    if record is not None and record.digest != loaded.digest:
        if judgement:
            raise CardError(f"{path} judges another bundle: digest {record.digest}, not {loaded.digest}")
        click.echo(f"{path} judges another bundle and is left out", err=True)
        record = None
    check_writable(bundle)  # before the samples are made
    samples = write_samples(bundle, prose.samples)
    replace_file(bundle / CARD, render_card(loaded, prose, samples, record).encode())
    click.echo(f"wrote {bundle / CARD} and {len(samples)} samples")
