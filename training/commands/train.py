"""`python -m training train`: train a network on a corpus."""

import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from music.manifest import NAME_PATTERN
from training.commands.options import OutputPath, check_start, parse_overrides, training_options

if TYPE_CHECKING:
    from training.run import StartingPoint


@contextmanager
def exit_on_stop(folder: Path, next_steps: str = "") -> Iterator[None]:
    """If a signal stops the training, say how to resume it, and exit with 128 plus the signal's number.

    Args:
        folder: where its checkpoints are.
        next_steps: text after "the same command".
    """
    from training.errors import StoppedError

    try:
        yield
    except StoppedError as stopped:
        click.echo(f"{stopped}; a checkpoint is saved in {folder}\nresume:  the same command{next_steps}", err=True)
        raise SystemExit(128 + stopped.signal) from None
    except KeyboardInterrupt:
        click.echo(
            f"stopped without a new checkpoint: progress since the last checkpoint in {folder} is lost. The same "
            "command resumes from that checkpoint",
            err=True,
        )
        raise SystemExit(128 + signal.SIGINT) from None


def export_command(folder: Path, models: Path = Path("models")) -> str:
    """The command that exports a run, under the name of its folder if that is a valid model name."""
    name = folder.name if re.fullmatch(NAME_PATTERN, folder.name) else "NAME"
    return shlex.join([".venv/bin/python", "-m", "training", "export", str(folder), "--out", str(models / name)])


def run_training(
    config: str | None,
    corpus: Path,
    folder: Path,
    *,
    device: str,
    threads: int,
    changes: dict[str, str],
    quiet: bool,
    previews: bool,
    models: Path = Path("models"),
    start: "StartingPoint | None" = None,
) -> None:
    """Train as the command does, and print the result. Exits if a signal stops the training.

    Args:
        config: name or file of the configuration, or `auto`, which is the default; ignored if there is a `start`.
        corpus: file that `prepare` wrote.
        folder: of the run.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads; 0 for automatic.
        changes: overrides of the configuration.
        quiet: whether to show no progress bar.
        previews: whether to write sampled pieces into the folder.
        models: folder for the bundle, for the printed export command.
        start: trained model to start from.

    Raises:
        FantasiaError: see `resolve_auto_config`, `resolve_tuning_config` and `train`.
    """
    from training.auto_config import AUTO
    from training.config import TEST_CONFIGS, load_config
    from training.fine_tuning import resolve_tuning_config
    from training.loop.distributed import is_main_process
    from training.loop.hardware import resolve_device, set_threads
    from training.run import resolve_auto_config, train

    device = resolve_device(device)
    next_steps = (
        "; for more epochs add --set training.epochs=N (make train: EPOCHS=N)\n"
        f"export the model as it is:  {export_command(folder, models)}"
    )
    with exit_on_stop(folder, next_steps):
        config = config or AUTO
        if start is not None:
            chosen, reasons = resolve_tuning_config(start, corpus, folder, changes)
        elif config == AUTO:
            chosen, reasons = resolve_auto_config(corpus, folder, changes, device=device)
        else:
            chosen, reasons = load_config(config, changes), ()
        used = set_threads(threads, chosen)
        if is_main_process():
            for reason in reasons:
                click.echo(f"{AUTO if start is None else 'tuning'}: {reason}")
            if start is None and config in TEST_CONFIGS:
                click.echo(f"WARNING: {TEST_CONFIGS[config]}")
            click.echo(f"training on {device}, {used} CPU thread{'s' if used > 1 else ''}")
        result = train(
            chosen,
            corpus,
            folder,
            device=device,
            progress=not quiet,
            reasons=reasons,
            report=click.echo,
            start=start,
            previews=previews,
        )
    if not is_main_process():
        return
    best, settings = result.best, chosen.training
    click.echo(f"best epoch {best.epoch}: {best.valid_loss:.4f} nats per note-step, accuracy {best.valid_accuracy:.2%}")
    if start is not None and result.starting_loss is not None:
        click.echo(f"{start.path} before the tuning: {result.starting_loss:.4f} nats per note-step")
        if best.valid_loss >= result.starting_loss:
            click.echo(
                f"WARNING: the tuning has not improved the prediction of the validation pieces. Use {start.path} "
                "itself, or tune it on more scores"
            )
    if result.epochs < settings.epochs:
        click.echo(
            f"stopped early after {result.epochs} epochs: the validation loss did not improve in the last "
            f"{settings.patience}. To continue, raise --set training.patience=N (make train: PATIENCE=N)"
        )
    if result.logit_scale is not None:
        click.echo(f"logit scale {result.logit_scale:.2f} (lowest validation loss)")


def _load_start(path: Path, folder: Path, changes: dict[str, str]) -> "StartingPoint":
    from training.fine_tuning import check_start_folder, check_tuning_overrides, load_starting_point

    check_start_folder(path, folder)
    start = load_starting_point(path)
    check_tuning_overrides(start, changes)
    return start


@click.command()
@click.argument("config", required=False)
@click.option("--corpus", type=click.Path(path_type=Path), required=True, help="File that `prepare` wrote.")
@click.option("--run", "folder", type=OutputPath(file_okay=False, path_type=Path), required=True, help="Run folder.")
@training_options
def train(
    config: str | None,
    corpus: Path,
    folder: Path,
    start: Path | None,
    device: str,
    threads: int,
    overrides: tuple[str, ...],
    previews: bool,
    quiet: bool,
) -> None:
    """Train a network, or resume a run.

    CONFIG is a named configuration (`chorales`, `folk`, `piano`, `origin`), a TOML file, or `auto`, the default, which
    chooses tokenizer, network size and schedule for the corpus. `smoke` is a network for tests.

    With --from there is no CONFIG: the training starts from the weights of a bundle or of another run, and takes
    minutes. Only values of `training` and `bundle` can be --set then.

    RUN/previews gets a sampled piece, as MIDI and piano roll, after an epoch, at most one a minute.

    Ctrl-C or SIGTERM saves a checkpoint and stops. The same command resumes from it, with more epochs if you
    --set training.epochs. `export` works at any time.

    Under torchrun several processes share each batch: torchrun --nproc-per-node 2 -m -- training train ...
    """
    from training.loop.distributed import is_main_process

    check_start(start, config)
    changes = parse_overrides(overrides)
    point = None if start is None else _load_start(start, folder, changes)
    run_training(
        config,
        corpus,
        folder,
        device=device,
        threads=threads,
        changes=changes,
        quiet=quiet,
        previews=previews,
        start=point,
    )
    if is_main_process():
        click.echo(f"export the model:  {export_command(folder)}")
