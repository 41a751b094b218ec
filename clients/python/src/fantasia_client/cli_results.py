"""Where a command puts the pieces that it gets: files, piano rolls, JSON, resume points."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Final, TypeVar

import click

from fantasia_client import formats
from fantasia_client.cli_options import add_options
from fantasia_client.output import Output, output_option
from fantasia_client.summary import piece_summary
from fantasia_client.types import Generation, Piece

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

OUTPUT: Final = click.option(
    "-o",
    "--output",
    callback=output_option,
    metavar="FILE",
    help="Write the piece to this file; an existing file is replaced. The suffix selects the format: .mid, .wav, "
    ".musicxml, or .png, .svg and .pdf for a piano roll. - for MIDI on standard output.",
)
SOUNDFONT: Final = click.option(
    "--soundfont",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    envvar="FANTASIA_SOUNDFONT",
    show_envvar=True,
    help="SoundFont 2 file with the instruments of a .wav; without it, the client's own.",
)
PLOT: Final = click.option(
    "--plot",
    callback=output_option,
    metavar="FILE",
    help="Draw a piano roll to this PNG, SVG or PDF file; - for a PNG on standard output. It needs matplotlib.",
)
SAVE_RESUME: Final = click.option(
    "--save-resume",
    callback=output_option,
    metavar="FILE",
    help="Write a file from which --resume continues the piece.",
)
PIECES: Final = click.option(
    "--pieces",
    type=click.IntRange(1, 1000),
    metavar="K",
    help="Return the K best candidates. With -o a.mid, the files are a-1.mid, a-2.mid, ...",
)
AS_JSON: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print the response as JSON, without the MIDI bytes."
)


def result_options(function: FunctionT) -> FunctionT:
    """Decorator: the options of `Results`."""
    return add_options(function, [OUTPUT, SOUNDFONT, PLOT, AS_JSON, PIECES, SAVE_RESUME])


def stream_options(function: FunctionT) -> FunctionT:
    """Decorator: the options of a streamed piece."""
    return add_options(function, [OUTPUT, SOUNDFONT, AS_JSON, SAVE_RESUME])


def check_outputs(named: Mapping[str, Output | None], *, as_json: bool, numbers: Collection[int] = ()) -> None:
    """Check destinations before the server is called.

    Args:
        named: destination of each option; None if it was not given.
        as_json: whether JSON goes to standard output.
        numbers: numbers that the names of the files get.

    Raises:
        click.UsageError: the destinations exclude each other.
        click.ClickException: a file cannot be written.
    """
    outputs = {option: output for option, output in named.items() if output}
    for (option, output), (other_option, other) in combinations(outputs.items(), 2):
        if output.same_file(other):
            raise click.UsageError(f"{option} and {other_option} name the same file.")
    for option, output in outputs.items():
        if output.shares_stdout and as_json:
            raise click.UsageError(f"--json writes to standard output too: use a file for {option}.")
        if output.shares_stdout and numbers:
            raise click.UsageError(f"several pieces do not fit on standard output: use a file for {option}.")
    for output in outputs.values():
        for destination in [output.numbered(number) for number in numbers] or [output]:
            destination.check_writable()


@dataclass(frozen=True, slots=True)
class Results:
    """Destinations of pieces. With several pieces, the names of files get numbers: `a-1.mid`, `a-2.mid`.

    Args:
        output: file of the format of its suffix.
        soundfont: instruments of a `.wav`; None for the client's own.
        plot: piano roll.
        save_resume: file of the resume point.
        as_json: print JSON.
        pieces: number of pieces; None for one piece.

    Raises:
        click.UsageError: the destinations exclude each other, or there is none.
        click.ClickException: a file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """

    output: Output | None
    soundfont: Path | None
    plot: Output | None
    save_resume: Output | None
    as_json: bool
    pieces: int | None

    def __post_init__(self) -> None:
        if not (self.output or self.plot or self.as_json):
            raise click.UsageError("Give at least one of -o FILE, --plot FILE and --json.")
        if self.plot:
            _plotter(self.plot)
        named = {"-o": self.output, "--plot": self.plot, "--save-resume": self.save_resume}
        check_outputs(named, as_json=self.as_json, numbers=range(1, self._count + 1) if self._count > 1 else ())
        if self.output:
            piece_writer(self.output, self.soundfont)

    @property
    def _count(self) -> int:
        return max(self.pieces or 1, 1)

    def write(self, generation: Generation) -> None:
        """Write all files, then print the summaries or the JSON.

        Raises:
            click.ClickException: a file cannot be written.
        """
        uses_stdout = any(item.shares_stdout for item in (self.output, self.plot, self.save_resume) if item)
        summaries, documents = [], []
        for index, piece in enumerate(generation.pieces):
            output, plot, save_resume = (
                destination and self._numbered(destination, index)
                for destination in (self.output, self.plot, self.save_resume)
            )
            if output:
                output.write(piece_writer(output, self.soundfont)(piece))
            if plot:
                plot.write(_plotter(plot)(piece))
            if save_resume and piece.resume_point:
                save_resume.write(piece.resume_point.request)
            summaries.append(piece_summary(piece, output, plot, candidates=generation.candidates))
            documents.append({"output": output and str(output), "plot": plot and str(plot)} | piece.to_dict())
        if self.as_json:
            click.echo(json.dumps(documents if self.pieces is not None else documents[0], indent=2))
        else:
            click.echo("\n\n".join(summaries), err=uses_stdout)

    def _numbered(self, output: Output, index: int) -> Output:
        return output.numbered(index + 1) if self._count > 1 else output


def piece_writer(output: Output, soundfont: Path | None) -> Callable[[Piece], bytes]:
    """The function that gives the bytes of a piece's file: MIDI for standard output, a pipe or a device.

    Raises:
        MissingExtraError: the package that the format needs is not installed.
        click.UsageError: the suffix of the file is unknown.
    """
    special = output.shares_stdout or (output.path.exists() and not output.path.is_file())
    path = Path("a.mid") if special else output.path
    try:
        write = formats.writer(path, soundfont=soundfont if path.suffix.lower() == ".wav" else None)
    except ValueError:
        suffixes = ", ".join(formats.SUFFIXES)
        raise click.UsageError(f"the suffix of -o must be one of {suffixes}, not {output}.") from None
    return partial(_written, write)


def _written(write: Callable[[Piece], bytes], piece: Piece) -> bytes:
    """The bytes of the piece's file.

    Raises:
        click.ClickException: the SoundFont is invalid.
    """
    try:
        return write(piece)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _plotter(output: Output) -> Callable[[Piece], bytes]:
    """The function that draws a piece.

    Raises:
        MissingExtraError: matplotlib is not installed.
        click.UsageError: the suffix of the file is unknown.
    """
    from fantasia_client import piano_roll  # matplotlib is optional and slow to import

    suffix = ".png" if output.is_stdout else output.path.suffix.lower()
    if suffix not in piano_roll.SUFFIXES:
        suffixes = ", ".join(piano_roll.SUFFIXES)
        raise click.UsageError(f"the suffix of --plot must be one of {suffixes}, not {output}.")
    return partial(piano_roll.render_piano_roll, file_format=suffix[1:])
