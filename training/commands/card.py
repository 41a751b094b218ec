"""`python -m training card`: write the model card of a bundle."""

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--text",
    "text_path",
    type=click.Path(path_type=Path),
    help="TOML file with the text.  [default: training/model_cards/NAME.toml]",
)
@click.option("--evaluation", type=click.Path(path_type=Path), help="File that `evaluate --record` wrote for it.")
def card(bundle: Path, text_path: Path | None, evaluation: Path | None) -> None:
    """Write a bundle's model card, README.md, with its samples as MIDI and piano roll.

    Numbers come from the bundle's manifest and from its recorded evaluation.
    """
    from music.bundle import load_bundle
    from report import check_writable, replace_file
    from training.errors import CardError
    from training.evaluation.record import RESULTS, EvaluationRecord
    from training.model_card import CARD, card_files, load_card_text, render_card
    from training.model_card_samples import write_samples

    loaded = load_bundle(bundle)
    text = load_card_text(loaded.name, text_path)
    if (bundle / CARD).exists() and CARD not in card_files(bundle):
        raise CardError(f"{bundle / CARD} was not written by this command; move it away")
    path = evaluation or RESULTS / f"{loaded.name}.json"
    record = EvaluationRecord.load(path) if evaluation or path.exists() else None
    if record is not None and record.digest != loaded.digest:
        if evaluation:
            raise CardError(f"{path} is the evaluation of another bundle: digest {record.digest}, not {loaded.digest}")
        click.echo(f"{path} is the evaluation of another bundle and is not used", err=True)
        record = None
    check_writable(bundle)  # before the samples are made
    samples = write_samples(bundle, text)
    replace_file(bundle / CARD, render_card(loaded, text, samples, record).encode())
    click.echo(f"wrote {bundle / CARD} and {len(samples)} samples")
