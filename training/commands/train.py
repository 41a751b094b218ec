"""`python -m training train`: a network from an array file."""

import re
import shlex
from pathlib import Path

import click

from music.manifest import NAME_PATTERN
from training.commands.output import OutputPath
from training.commands.overrides import parsed


def exported(folder: Path) -> str:
    """The command that writes a run as a bundle, under the name of its folder where a model can be called so."""
    name = folder.name if re.fullmatch(NAME_PATTERN, folder.name) else "NAME"
    return shlex.join([".venv/bin/python", "-m", "training", "export", str(folder), "--out", f"models/{name}"])


def run_training(
    config: str, corpus: Path, folder: Path, *, device: str, threads: int, changes: dict[str, str], quiet: bool
) -> None:
    """Train as the command does, and say what came of it.

    Raises:
        click.ClickException: it was interrupted.
        FantasiaError: as of `automatic` and `train`.
    """
    from training.auto import AUTO
    from training.config import load_config
    from training.devices import chosen_device
    from training.distributed import leading
    from training.run import automatic, train

    device = chosen_device(device, threads=threads)
    try:
        if config == AUTO:
            chosen, reasons = automatic(corpus, folder, changes, device=device)
        else:
            chosen, reasons = load_config(config, changes), ()
        if leading():
            for reason in reasons:
                click.echo(f"auto: {reason}")
        trained = train(chosen, corpus, folder, device=device, progress=not quiet, reasons=reasons)
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped; the same command goes on from the last epoch in {folder}") from None
    if not leading():
        return
    best = trained.best
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(trained.dropped.items())) or "none"
    click.echo(f"pieces: {trained.train_pieces} train, {trained.valid_pieces} valid; notes dropped or moved: {dropped}")
    click.echo(f"best epoch {best.epoch}: {best.valid_loss:.4f} nats per note-step, accuracy {best.valid_accuracy:.2%}")
    if trained.sharpness is not None:
        click.echo(f"logits times {trained.sharpness:.2f}, with which the validation pieces are known best")


@click.command()
@click.argument("config", default="auto")
@click.option("--corpus", type=click.Path(path_type=Path), required=True, help="What `prepare` wrote.")
@click.option("--run", "folder", type=OutputPath(file_okay=False, path_type=Path), required=True, help="Run folder.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to train.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 for one a core.")
@click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Change the configuration.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train(
    config: str, corpus: Path, folder: Path, device: str, threads: int, overrides: tuple[str, ...], quiet: bool
) -> None:
    """Train a network, or go on where a killed run stopped.

    CONFIG is a named configuration (`chorales`, `origin`, `smoke`), a TOML file, or `auto`, which looks at the
    corpus and chooses tokenizer, sizes and schedule for it.

    Under torchrun several processes share each step's lanes: torchrun --nproc-per-node 2 -m -- training train ...
    """
    from training.distributed import leading

    changes = parsed(overrides)
    run_training(config, corpus, folder, device=device, threads=threads, changes=changes, quiet=quiet)
    if leading():
        click.echo(f"write it as a bundle:  {exported(folder)}")
