"""`python -m training train`: a network from an array file."""

import re
import shlex
from pathlib import Path

import click

from music.manifest import NAME_PATTERN
from training.commands.interruption import interruptible
from training.commands.output import OutputPath
from training.commands.overrides import parsed


def exported(folder: Path, models: Path = Path("models")) -> str:
    """The command that writes a run as a bundle, under the name of its folder where a model can be called so."""
    name = folder.name if re.fullmatch(NAME_PATTERN, folder.name) else "NAME"
    return shlex.join([".venv/bin/python", "-m", "training", "export", str(folder), "--out", str(models / name)])


def run_training(
    config: str,
    corpus: Path,
    folder: Path,
    *,
    device: str,
    threads: int,
    changes: dict[str, str],
    quiet: bool,
    models: Path = Path("models"),
) -> None:
    """Train as the command does, and say what came of it. Ends the command where a signal asked for that.

    `models` is where the bundle is to go.

    Raises:
        FantasiaError: as of `automatic` and `train`.
    """
    from training.auto import AUTO
    from training.config import NOT_FOR_MUSIC, load_config
    from training.devices import chosen_device
    from training.distributed import leading
    from training.run import automatic, train
    from training.threads import use_threads

    device = chosen_device(device)
    then = (
        ", with more epochs if you add --set training.epochs=N (make train: EPOCHS=N)\n"
        f"write the model as it is:  {exported(folder, models)}"
    )
    with interruptible(folder, then):
        if config == AUTO:
            chosen, reasons = automatic(corpus, folder, changes, device=device)
        else:
            chosen, reasons = load_config(config, changes), ()
        used = use_threads(threads, chosen)
        if leading():
            for reason in reasons:
                click.echo(f"auto: {reason}")
            if config in NOT_FOR_MUSIC:
                click.echo(f"WARNING: {NOT_FOR_MUSIC[config]}")
            click.echo(f"training on {device}, {used} CPU thread{'s' if used > 1 else ''}")
        trained = train(chosen, corpus, folder, device=device, progress=not quiet, reasons=reasons, say=click.echo)
    if not leading():
        return
    best, settings = trained.best, chosen.training
    click.echo(f"best epoch {best.epoch}: {best.valid_loss:.4f} nats per note-step, accuracy {best.valid_accuracy:.2%}")
    if trained.epochs < settings.epochs:
        click.echo(
            f"ended after {trained.epochs} epochs, the last {settings.patience} of them without a better validation "
            "loss; a greater --set training.patience=N (make train: PATIENCE=N) goes on"
        )
    if trained.sharpness is not None:
        click.echo(f"logit scale {trained.sharpness:.2f} (lowest validation loss)")


@click.command()
@click.argument("config", default="auto")
@click.option("--corpus", type=click.Path(path_type=Path), required=True, help="What `prepare` wrote.")
@click.option("--run", "folder", type=OutputPath(file_okay=False, path_type=Path), required=True, help="Run folder.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to train.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 chooses by size and machine.")
@click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Change the configuration.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train(
    config: str, corpus: Path, folder: Path, device: str, threads: int, overrides: tuple[str, ...], quiet: bool
) -> None:
    """Train a network, or go on where a run stopped.

    CONFIG is a named configuration (`chorales`, `folk`, `piano`, `origin`), a TOML file, or `auto`, which looks at the
    corpus and chooses tokenizer, sizes and schedule for it. `smoke` is a network for tests.

    Ctrl-C, or SIGTERM, saves what the training has reached and stops; the same command goes on from there, with more
    epochs if you --set training.epochs. `export` writes the model as it is at any time.

    Under torchrun several processes share the rows of each step: torchrun --nproc-per-node 2 -m -- training train ...
    """
    from training.distributed import leading

    changes = parsed(overrides)
    run_training(config, corpus, folder, device=device, threads=threads, changes=changes, quiet=quiet)
    if leading():
        click.echo(f"write it as a bundle:  {exported(folder)}")
