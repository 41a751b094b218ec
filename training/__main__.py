"""`python -m training`: build a bundle from scores, evaluate it, describe it."""

import click

from music.errors import FantasiaError
from training.commands.card import card
from training.commands.draw import draw
from training.commands.evaluate import evaluate, quality
from training.commands.export import export
from training.commands.pipeline import pipeline
from training.commands.prepare import prepare
from training.commands.rewriting import harmonising
from training.commands.roundtrip import roundtrip
from training.commands.train import train


class _Interrupted(click.ClickException):
    """Ctrl-C. The exit code is 128 plus the number of SIGINT, as in shells."""

    exit_code = 130


class Commands(click.Group):
    """Prints errors of ours and of the system as one sentence, with exit code 1."""

    def invoke(self, context: click.Context) -> object:
        """Run a command, and print its error to stderr."""
        try:
            return super().invoke(context)
        except FantasiaError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            raise _Interrupted("interrupted") from error
        except BrokenPipeError:
            raise  # the reader of the output has closed it: not an error
        except OSError as error:  # for example a full disk: the system's message is clear
            named = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{named}{error.strerror or error}") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Train music models on scores, export and evaluate them."""
    from training.loop.hardware import set_omp_wait_policy

    set_omp_wait_policy()


for command in (pipeline, prepare, train, export, evaluate, quality, harmonising, draw, card, roundtrip):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="python -m training")
