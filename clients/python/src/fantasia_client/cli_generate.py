"""The commands that ask for pieces. All of them send one request; they differ in what is given and what is written."""

import json
from dataclasses import asdict
from typing import Any, Final

import click

from fantasia_client.cli_options import (
    NUMBERS,
    REGION,
    Connection,
    ModelChoice,
    any_request,
    client_arguments,
    continuing_request,
    rewriting_request,
)
from fantasia_client.cli_results import Results, check_outputs, piece_writer, result_options, stream_options
from fantasia_client.client import Client
from fantasia_client.request_types import Region
from fantasia_client.summary import note_summary, piece_summary
from fantasia_client.types import StreamUpdate

_LATE_NOTES: Final = (
    "With several candidates, all written notes come at the end; with --candidates 1, as they are written."
)


@click.command()
@result_options
@any_request
@click.pass_obj
def generate(connection: Connection, /, **values: Any) -> None:
    """Generate a piece: a new one, or one that is partly given.

    Give a length: without one, the model decides when the piece ends.

    Example: fantasia generate --bars 8 --seed 7 -o a.mid --plot a.png

    Example: fantasia generate --bars 8 --scale 'A minor' --chords 'Am F C G' -o b.mid
    """
    _run(connection, values)


@click.command("continue")
@result_options
@continuing_request
@click.pass_obj
def continue_piece(connection: Connection, /, **values: Any) -> None:
    """Continue the piece of the MIDI file SONG.

    Example: fantasia continue song.mid --bars 8 -o a.mid
    """
    _run(connection, values)


@click.command()
@result_options
@rewriting_request
@click.argument("rewrite", nargs=-1, required=True, type=REGION, metavar="BARS[:voices=V,V]...")
@click.pass_obj
def rewrite(connection: Connection, /, **values: Any) -> None:
    """Write parts of the MIDI file SONG anew. All other notes stay.

    A part is 9, 5-6, 5-6:voices=1,2, all:voices=3 or ticks=0-960, with 480 ticks in a quarter note. Bars are counted
    from 1, voices from 0, the highest.

    Example: fantasia rewrite song.mid 1 2:voices=1,2,3 --candidates 16 -o a.mid
    """
    _run(connection, values)


@click.command()
@result_options
@click.option(
    "--voice",
    "given_voices",
    type=NUMBERS,
    default="0",
    show_default=True,
    metavar="V",
    help="Voice of the model that the highest line of SONG is, 0 for the highest; of the highest two lines: 0,3.",
)
@rewriting_request
@click.pass_obj
def harmonize(connection: Connection, /, **values: Any) -> None:
    """Write the other voices to the melody of the MIDI file SONG: its highest voice. Its other voices are left out.

    Example: fantasia harmonize melody.mid --candidates 16 -o a.mid
    """
    results = _results(values)
    with connection.connect() as client:
        model = client.get_model(*(values["model"] or ModelChoice()))
        others = [voice for voice in range(model.voices) if voice not in values["given_voices"]]
        if not others:
            raise click.ClickException(f"the model {model.name} has no other voices to write")
        _generate(client, {**values, "rewrite": (Region(voices=others),)}, results)


@click.command()
@stream_options
@any_request
@click.pass_obj
def stream(connection: Connection, /, **values: Any) -> None:
    """Print the notes of a piece as soon as they are certain.

    With several candidates, all written notes come at the end. --rewrite has several unless --candidates says 1.

    Ctrl-C ends it; with --save-resume, --resume continues it then.

    Example: fantasia stream --bars 8 -o a.mid
    """
    output, save_resume, as_json = values["output"], values["save_resume"], values["as_json"]
    arguments = client_arguments(values)
    check_outputs({"-o": output, "--save-resume": save_resume}, as_json=as_json)
    write = piece_writer(output, values["soundfont"]) if output else None
    arguments["return_resume_token"] = save_resume is not None
    uses_stdout = any(item.shares_stdout for item in (output, save_resume) if item)
    if (arguments.get("candidates") or (2 if arguments.get("rewrite") else 1)) > 1:
        click.echo(_LATE_NOTES, err=True)
    with connection.connect() as client, client.stream(**arguments) as updates:
        try:
            for update in updates:
                lines = [_update_line(update)] if as_json else map(note_summary, update.notes)
                for line in lines:
                    click.echo(line, err=uses_stdout)
        finally:
            if save_resume and updates.resume_point:
                save_resume.write(updates.resume_point.request)
    piece = updates.piece
    assert piece is not None  # noqa: S101 -- else the stream has raised an error
    if output and write:
        output.write(write(piece))
    if as_json:
        click.echo(json.dumps({"output": output and str(output)} | piece.to_dict()))
    else:
        click.echo(piece_summary(piece, output, None), err=uses_stdout)


def _update_line(update: StreamUpdate) -> str:
    """An update as a line of JSON."""
    notes = {name: [asdict(note) for note in getattr(update, name)] for name in ("notes", "sounding")}
    return json.dumps({"watermark_ticks": update.watermark_ticks} | notes)


def _run(connection: Connection, values: dict[str, Any]) -> None:
    """Send the request of a command and write what comes back."""
    results = _results(values)
    with connection.connect() as client:
        _generate(client, values, results)


def _results(values: dict[str, Any]) -> Results:
    names = ("output", "soundfont", "plot", "save_resume", "as_json", "pieces")
    return Results(**{name: values[name] for name in names})


def _generate(client: Client, values: dict[str, Any], results: Results) -> None:
    arguments = client_arguments(values)
    arguments["return_resume_token"] = results.save_resume is not None
    results.write(client.generate_many(results.pieces, **arguments))
