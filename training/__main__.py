"""`python -m training`: from scores to a bundle, and what is to be known of one."""

import click

from music.errors import FantasiaError
from training.commands.card import card
from training.commands.draw import draw
from training.commands.evaluate import evaluate
from training.commands.export import export
from training.commands.pipeline import pipeline
from training.commands.prepare import prepare
from training.commands.reproduce import reproduce
from training.commands.roundtrip import roundtrip
from training.commands.study import study
from training.commands.train import train


class _Interrupted(click.ClickException):
    """Ctrl-C, with the exit code that shells give it: 128 and the number of the signal."""

    exit_code = 130


class _Commands(click.Group):
    """Turns our own errors, and the system's, into one sentence and exit code 1."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except FantasiaError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            raise _Interrupted("interrupted") from error
        except BrokenPipeError:
            raise  # whoever read the output has heard enough
        except OSError as error:  # a full disk, a folder that nobody may read: the system's sentence is clear enough
            named = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{named}{error.strerror or error}") from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Teach a network music from scores."""
    from training.threads import sleep_between_operations

    sleep_between_operations()


for command in (pipeline, prepare, train, export, evaluate, draw, reproduce, study, card, roundtrip):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="python -m training")
