"""`python -m training reproduce`: the experiment that Fantasia began as."""

from pathlib import Path

import click

from training.commands.interruption import interruptible
from training.commands.output import OutputPath


@click.command()
@click.argument("midi", type=click.Path(path_type=Path), required=False)
@click.option(
    "--work",
    type=OutputPath(file_okay=False, path_type=Path),
    default=Path("runs/reproduction"),
    help="Folder for the networks, which hold the music.",
)
@click.option(
    "--docs",
    type=OutputPath(file_okay=False, path_type=Path),
    default=Path("docs"),
    help="Folder of the page that shows the results.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to train.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 chooses by size and machine.")
@click.option("--network", help="Train only this one, and write nothing down: original, by-song or events.")
@click.option("--renew", is_flag=True, help="With --network: write it down among the results that DOCS holds.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def reproduce(
    midi: Path | None,
    work: Path,
    docs: Path,
    device: str,
    threads: int,
    network: str | None,
    renew: bool,
    quiet: bool,
) -> None:
    """Train as the original did and write down what came of it, or go on where a killed run stopped.

    MIDI is a folder of MIDI files. Without it, page and figures are made again from the results that DOCS holds.
    """
    from training.errors import ConfigurationError, CorpusError
    from training.files import check_writable
    from training.reproduce.figures import draw
    from training.reproduce.page import IMAGES, render
    from training.reproduce.results import Results

    page, recorded = docs / "reproduction.md", docs / "reproduction" / "results.json"
    if not page.is_file():  # before the training, which takes long
        raise CorpusError(f"there is no page {page} to write the results into")
    if renew and (midi is None or network is None):
        raise click.UsageError("--renew needs MIDI and --network")
    earlier = Results.load(recorded) if renew else None
    results = None
    if midi is None:
        results = Results.load(recorded) if recorded.exists() else None
    else:
        from training.devices import chosen_device
        from training.reproduce.experiment import NETWORKS, Experiment

        if network is not None and network not in NETWORKS:
            raise ConfigurationError(f"--network {network}: known are {', '.join(NETWORKS)}")
        device = chosen_device(device)
        check_writable(work)
        check_writable(recorded.parent)
        experiment = Experiment(midi, work, device=device, threads=threads, progress=not quiet)
        with interruptible(work):
            if network is None:
                results = experiment.results()
            elif earlier is None:
                experiment.train(network)
                return
            else:
                results = experiment.renewed(earlier, network)
        results.save(recorded)
    if results is not None:
        draw(results, docs / IMAGES)
    render(page, results)
    click.echo(f"wrote {page} and its figures")
