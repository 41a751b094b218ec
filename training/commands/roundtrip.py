"""`python -m training roundtrip`: what a configuration's tokenizer keeps of a corpus."""

from pathlib import Path

import click

from training.commands.overrides import parsed


@click.command()
@click.argument("config")
@click.option("--corpus", type=click.Path(path_type=Path), required=True, help="What `prepare` wrote.")
@click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Change the configuration.")
def roundtrip(config: str, corpus: Path, overrides: tuple[str, ...]) -> None:
    """Write every piece as tokens and as MIDI, read it again, and count what came back.

    CONFIG is a named configuration or a TOML file. Its tokenizer is fitted to all of the corpus.
    """
    from music.tokenizers import tokenizer_class
    from training.config import load_config
    from training.corpus import Corpus
    from training.errors import CorpusError
    from training.roundtrip import round_trip

    changes = parsed(overrides)
    chosen = load_config(config, changes).tokenizer
    scores = [piece.score for piece in Corpus.load(corpus).pieces()]
    try:
        tokenizer = tokenizer_class(chosen.name).fit(chosen.parameters, scores)
    except ValueError as error:
        raise CorpusError(f"{corpus} and this configuration do not fit: {error}") from error
    result = round_trip(tokenizer, scores)
    click.echo(
        f"pieces: {result.pieces}; tokens: {result.tokens:,} of {tokenizer.vocabulary_size} kinds, "
        f"{result.tokens / max(result.notes, 1):.2f} a note"
    )
    click.echo(_line("notes", result.notes, result.survived, result.struck))
    click.echo(_line("on the grid", result.on_grid, result.on_grid_survived, result.on_grid_struck))
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(result.dropped.items())) or "none"
    click.echo(f"dropped or moved: {dropped}")


def _line(what: str, notes: int, survived: int, struck: int) -> str:
    shares = (count / max(notes, 1) for count in (survived, struck))
    return "{}: {:,}; {:.2%} survive whole, {:.2%} are struck where they were".format(what, notes, *shares)
