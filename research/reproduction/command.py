"""`python -m research reproduction`: the experiment from which Fantasia began."""

from pathlib import Path

import click

from research.options import folder_options, page_and_record
from training.commands.options import DEVICE, QUIET, THREADS
from training.commands.train import exit_on_stop


@click.command()
@click.argument("midi", type=click.Path(path_type=Path), required=False)
@folder_options("reproduction")
@DEVICE
@THREADS
@click.option("--network", help="Train only this network and record nothing: original, by-song or events.")
@click.option("--retrain", is_flag=True, help="With --network: replace the recorded results of that network.")
@QUIET
def reproduction(
    midi: Path | None,
    work: Path,
    docs: Path,
    device: str,
    threads: int,
    network: str | None,
    retrain: bool,
    quiet: bool,
) -> None:
    """Repeat the original experiment on a folder of MIDI files and record the results. An interrupted run is resumed.

    Without MIDI, only the page and its figures are made, from the record in DOCS.
    """
    from report import check_writable
    from research.reproduction.page import REGION, draw, render
    from research.reproduction.record import ReproductionRecord
    from training.errors import ConfigurationError

    page, path = page_and_record(docs, "reproduction")
    if retrain and (midi is None or network is None):
        raise click.UsageError("--retrain needs MIDI and --network")
    earlier = ReproductionRecord.load(path) if retrain else None
    record = None
    if midi is None:
        record = ReproductionRecord.load(path) if path.exists() else None
    else:
        from research.reproduction.experiment import NETWORKS, Experiment
        from training.loop.hardware import resolve_device

        if network is not None and network not in NETWORKS:
            raise ConfigurationError(f"--network {network}: known are {', '.join(NETWORKS)}")
        device = resolve_device(device)
        check_writable(work)
        check_writable(path.parent)
        experiment = Experiment(midi, work, device=device, threads=threads, progress=not quiet)
        with exit_on_stop(work):
            if network is None:
                record = experiment.run()
            elif earlier is None:
                experiment.train(network)
                return
            else:
                record = experiment.retrain(earlier, network)
        record.save(path)
    if record is not None:
        draw(record, docs)
    REGION.write(page, render(record))
    click.echo(f"wrote {page} and its figures")
