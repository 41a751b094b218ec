"""The `fantasia` command."""

import json
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fantasia import __version__
from fantasia_client.address import DEFAULT_SERVER, is_local, normalize_address
from fantasia_client.base_client import DEFAULT_TIMEOUT_SECONDS, MIN_TIMEOUT_SECONDS
from fantasia_client.cli_generate import continue_piece, generate, harmonize, rewrite, stream
from fantasia_client.cli_options import INPUT_FILE, MODEL_OPTION, Connection, InputFile, ModelChoice, violation_sentence
from fantasia_client.connection import TLS
from fantasia_client.errors import (
    ConstraintsNotMetError,
    DeadlineExceededError,
    FantasiaClientError,
    FieldViolation,
    InvalidRequestError,
    ServerUnavailableError,
)
from fantasia_client.summary import evaluation_summary, model_summary, unavailable_summary
from fantasia_client.token import FILE_VARIABLE, InsecureTokenWarning, Token
from fantasia_client.types import Health

_EXPLAIN_SECONDS = 2.0
"""After `--wait` has timed out: maximum time to find out why the server cannot be reached."""


_READABLE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class _Interrupted(click.ClickException):
    """Ctrl-C. The exit code is that of shells: 128 plus the number of the signal."""

    exit_code = 130


class _Commands(click.Group):
    """Turns errors into one sentence on stderr and exit code 1 (click: 2 for wrong usage)."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FantasiaClientError as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            raise click.ClickException(_error_message(error, ctx.obj, command)) from error
        except KeyboardInterrupt as error:
            raise _Interrupted("interrupted") from error
        except BrokenPipeError:
            raise  # the reader has closed the pipe: click exits without a message
        except OSError as error:
            if error.filename is not None:
                raise
            # Without this, Python would report the unwritten buffer once more at exit.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
            raise click.ClickException(f"cannot write standard output: {error.strerror or error}") from error


def _error_message(error: FantasiaClientError, connection: Connection | None, command: click.Command | None) -> str:
    """The message of the error, with options in place of fields.

    If `--wait` timed out, it says why the server cannot be reached.
    """
    if command and isinstance(error, InvalidRequestError | ConstraintsNotMetError) and error.violations:
        return "; ".join(violation_sentence(violation, command) for violation in error.violations)
    if isinstance(error, DeadlineExceededError) and connection is not None and connection.wait:
        try:
            with connection.connect(wait=False) as client:
                client.health(timeout_seconds=_EXPLAIN_SECONDS)
        except ServerUnavailableError as reason:
            return f"{error}: {reason}"
        except FantasiaClientError:
            pass
    return str(error)


def _address(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return normalize_address(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def _timeout(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if not value >= MIN_TIMEOUT_SECONDS:
        raise click.BadParameter(f"must be at least {MIN_TIMEOUT_SECONDS}, not {value}.")
    return value


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 failure (stderr gives the reason), 2 wrong usage, 130 interrupted.",
)
@click.version_option(__version__, prog_name="fantasia")
@click.option(
    "--server",
    metavar="HOST:PORT",
    envvar="FANTASIA_SERVER",
    callback=_address,
    default=DEFAULT_SERVER,
    show_default=True,
    show_envvar=True,
    help="Address of the server; the default port is 50051.",
)
@click.option(
    "--timeout",
    type=float,
    callback=_timeout,
    metavar="SECONDS",
    default=DEFAULT_TIMEOUT_SECONDS,
    show_default=True,
    help="Maximum time for the response, at least 0.01 seconds; inf for no limit.",
)
@click.option("--wait", is_flag=True, help="If the server cannot be reached, wait for it until the timeout.")
@click.option("--tls", is_flag=True, help="Encrypt the connection.")
@click.option(
    "--ca",
    type=_READABLE,
    help="PEM file with the trusted authorities; implies --tls.",
)
@click.option("--cert", type=_READABLE, help="PEM file with a certificate of this client; needs --key, implies --tls.")
@click.option("--key", type=_READABLE, help="PEM file with the private key of --cert.")
@click.option(
    "--token-file",
    type=_READABLE,
    envvar=FILE_VARIABLE,
    show_envvar=True,
    help="File with the token that the server needs. Without it, the variable FANTASIA_TOKEN may hold the token.",
)
@click.pass_context
def main(
    context: click.Context,
    server: str,
    timeout: float,
    wait: bool,
    tls: bool,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    token_file: Path | None,
) -> None:
    """Generate music with a Fantasia server."""
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key must be given together.")
    try:
        trust = TLS.from_files(ca, cert, key) if ca or cert else TLS() if tls else None
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{error}.", param_hint="--ca, --cert or --key") from error
    try:
        token = Token.from_file(token_file) if token_file else Token.from_environment()
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{error}.", param_hint="--token-file") from error
    if token is not None and trust is None and not is_local(server):
        click.echo(f"Warning: the token is sent to {server} without TLS: any machine on the way can read it.", err=True)
        warnings.simplefilter("ignore", InsecureTokenWarning)
    context.obj = Connection(server, timeout, wait, trust, token)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the models as JSON.")
@click.pass_obj
def models(connection: Connection, as_json: bool) -> None:
    """List the loaded models, the default model first."""
    with connection.connect() as client:
        loaded, unavailable = client.list_models(), client.list_unavailable_models()
    if as_json:
        documents = [{"default": index == 0, **model.to_dict()} for index, model in enumerate(loaded)]
        click.echo(json.dumps(documents, indent=2))
        return
    # The contract says that the default model comes first.
    texts = [model_summary(model, default=index == 0) for index, model in enumerate(loaded)]
    texts += [unavailable_summary(model) for model in unavailable]
    click.echo("\n\n".join(texts) or "The server has not loaded a model.")


@main.command()
@click.pass_obj
def health(connection: Connection) -> None:
    """Print whether the server is ready; exit code 1 if it is not."""
    with connection.connect() as client:
        state = client.health()
    if state is not Health.SERVING:
        raise click.ClickException(f"{connection.server} is not ready: {state.value}")
    click.echo(f"{connection.server} is ready: {state.value}")


@main.command()
@click.argument("files", nargs=-1, required=True, type=INPUT_FILE, metavar="FILE...")
@MODEL_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print the evaluations as JSON, with the nats of each note.")
@click.pass_obj
def evaluate(connection: Connection, files: tuple[InputFile, ...], model: ModelChoice | None, as_json: bool) -> None:
    """Print how likely pieces are under a model. Fewer nats per note-step: likelier.

    Example: fantasia evaluate song.mid melody.mid
    """
    name, version = model or ModelChoice()
    with connection.connect() as client:
        try:
            evaluations = client.evaluate([file.data for file in files], model=name, model_version=version)
        except InvalidRequestError as error:
            sentences = [_file_sentence(item, files) for item in error.violations]
            raise click.ClickException("; ".join(sentences) or str(error)) from error
    if as_json:
        pairs = zip(files, evaluations, strict=True)
        click.echo(json.dumps([{"file": file.name, **item.to_dict()} for file, item in pairs], indent=2))
        return
    for file, evaluation in zip(files, evaluations, strict=True):
        click.echo(evaluation_summary(file.name, evaluation))


def _file_sentence(violation: FieldViolation, files: Sequence[InputFile]) -> str:
    """A violation of an `EvaluateRequest`, with the name of the file in place of the field."""
    match = re.match(r"pieces\[([0-9]+)\]", violation.field)
    name = files[int(match[1])].name if match and int(match[1]) < len(files) else violation.field
    return f"{name}: {violation.description}"


for _command in (generate, continue_piece, rewrite, harmonize, stream):
    main.add_command(_command)
