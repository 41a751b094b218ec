"""`python -m training roundtrip`: how much of a corpus survives a configuration's tokenizer."""

from pathlib import Path

import click

from training.commands.options import OVERRIDES, parse_overrides


@click.command()
@click.argument("config")
@click.option("--corpus", type=click.Path(path_type=Path), required=True, help="File that `prepare` wrote.")
@OVERRIDES
def roundtrip(config: str, corpus: Path, overrides: tuple[str, ...]) -> None:
    """Encode every piece, write it as MIDI, read it again, and count the notes that did not change.

    CONFIG is a named configuration or a TOML file. Its tokenizer is fitted to all of the corpus.
    """
    from music.tokenizers import tokenizer_class
    from training.config import load_config
    from training.corpus.roundtrip import round_trip
    from training.corpus.store import Corpus
    from training.errors import CorpusError

    changes = parse_overrides(overrides)
    chosen = load_config(config, changes).tokenizer
    scores = [piece.score for piece in Corpus.load(corpus).pieces()]
    try:
        tokenizer = tokenizer_class(chosen.name).fit(chosen.parameters, scores)
    except ValueError as error:
        raise CorpusError(f"{corpus} does not suit this configuration: {error}") from error
    result = round_trip(tokenizer, scores)
    click.echo(
        f"pieces: {result.pieces}; tokens: {result.tokens:,}, {result.tokens / max(result.notes, 1):.2f} per note; "
        f"vocabulary: {tokenizer.vocabulary_size}"
    )
    click.echo(_line("notes", result.notes, result.survived, result.onset_survived))
    click.echo(_line("notes on the grid", result.on_grid, result.on_grid_survived, result.on_grid_onset_survived))
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(result.dropped.items())) or "none"
    click.echo(f"dropped or moved: {dropped}")


def _line(what: str, notes: int, survived: int, onset_survived: int) -> str:
    shares = (count / max(notes, 1) for count in (survived, onset_survived))
    return "{}: {:,}; {:.2%} unchanged, {:.2%} with the same onset and pitch".format(what, notes, *shares)
